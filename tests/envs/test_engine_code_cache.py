"""Cached machine code of the engine does not outlive its sources."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlsafe_envs.engine import code_cache


@pytest.mark.parametrize(("age", "dropped"), [(-10.0, 1), (10.0, 0)])
def test_only_indices_older_than_the_sources_are_dropped(
    tmp_path: Path, age: float, dropped: int
) -> None:
    sources = Path(code_cache.__file__).parent.glob("*.py")
    newest = max(source.stat().st_mtime for source in sources)
    index, other = tmp_path / "drivers.drive-1.py311.nbi", tmp_path / "state.cpython-311.pyc"
    for file in (index, other):
        file.touch()
        os.utime(file, (newest + age, newest + age))
    function = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    assert code_cache.drop_stale_code(function) == dropped
    assert index.exists() != bool(dropped)
    assert other.exists()
