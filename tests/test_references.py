"""What docstrings, comments and documents name of our own code exists."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = r"(?:vlsafe_agents|vlsafe_envs|wrappers)"
DOTTED = re.compile(rf"(?<![.\w]){OURS}(?:\.[A-Za-z_]\w*)+")
PATH = re.compile(
    rf"\b(?:{OURS}|tests|benchmarks|examples|docs)/[\w./-]*\.(?:py|md|json|html|j2)\b"
)


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    logs = ("docs/experiments.md", "CHANGELOG.md")  # they name what was
    names = [name for name in listed.stdout.split() if name not in logs]
    return [ROOT / name for name in names]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something inside one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name is not None and not name.startswith(error.name):
                return True  # an optional package is missing, not our module
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def names_in(files: list[Path], pattern: re.Pattern[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in files:
        for name in pattern.findall(file.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found


def test_dotted_names_resolve() -> None:
    found = names_in(tracked("*.py", "*.md", "*.j2"), DOTTED)
    assert len(found) > 100
    wrong = {name: files for name, files in found.items() if not resolves(name)}
    assert not wrong


def test_paths_exist() -> None:
    found = names_in(tracked("*.py", "*.md", "Makefile", "*.toml"), PATH)
    assert len(found) > 10
    assert not {path: files for path, files in found.items() if not (ROOT / path).exists()}


@pytest.mark.parametrize("name", ["vlsafe.normaliser.Scale", "vlsafe.nothing", "nothing"])
def test_the_check_sees_what_does_not_exist(name: str) -> None:
    assert not resolves(f"vlsafe_agents.{name}")
    assert resolves("vlsafe_agents.vlsafe.critics.Scale")


def test_docstrings_name_their_errors_under_raises() -> None:
    """In one form, which documentation tools read: no sentence says "Raises ``X``"."""
    files = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    own = Path(__file__).relative_to(ROOT).as_posix()
    said = re.compile(r"[Rr]aises ``\w+``")
    assert [f for f in files if f != own and said.search((ROOT / f).read_text("utf-8"))] == []
