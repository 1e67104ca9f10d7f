"""The three packages depend on each other in one direction only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"vlsafe_envs", "vlsafe_agents", "wrappers"}
ALLOWED = {
    "wrappers": {"wrappers"},  # a leaf
    "vlsafe_envs": {"vlsafe_envs", "wrappers"},
    "vlsafe_agents": {"vlsafe_agents", "wrappers"},
}


def imported_packages(file: Path) -> set[str]:
    """Our own top-level packages that a file names in absolute imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found & OURS


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_it_may(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no files found in {package}"
    for file in files:
        if file.is_relative_to(ROOT / "vlsafe_agents" / "cli"):
            continue  # the command line is where the three meet
        extra = imported_packages(file) - ALLOWED[package]
        assert not extra, f"{file.relative_to(ROOT)} imports {sorted(extra)}"


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    offender = tmp_path / "offender.py"
    offender.write_text("def f():\n    from wrappers.scorer import make_scorer\n")
    assert imported_packages(offender) == {"wrappers"}
