"""The packages depend on each other in one direction only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"vlsafe", "vlsafe_envs", "vlsafe_agents", "wrappers"}
ALLOWED = {
    "vlsafe": OURS,  # a door to the others, which nobody inside goes through
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


def imports_of(file: Path, names: dict[str, Path]) -> set[str]:
    """Our own files that a file imports, in functions too; not those for type checkers alone."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(file.read_text(), str(file))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                inner if (inner := f"{node.module}.{alias.name}") in names else node.module
                for alias in node.names
            }
        else:
            todo += ast.iter_child_nodes(node)
    return found & set(names)


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The files of one circle in the order in which they import each other; none: empty."""
    done: set[str] = set()
    way: list[str] = []

    def visit(name: str) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        found = next(filter(None, map(visit, sorted(imports[name]))), [])
        way.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, sorted(imports))), [])


def test_no_files_import_each_other_in_a_circle() -> None:
    files = [file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))]
    names = {module_name(file.relative_to(ROOT)): file for file in files}
    imports = {name: imports_of(file, names) - {name} for name, file in names.items()}
    assert sum(map(len, imports.values())) > 100, "hardly any imports were found"
    assert not (found := circle(imports)), " -> ".join(found)


def module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_circles_are_found(tmp_path: Path) -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    lazy = tmp_path / "lazy.py"
    lazy.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from a import x\n"
        "def f():\n    from b import c\n    import d\n"
    )
    names = dict.fromkeys(["a", "b", "b.c", "d"], lazy)
    assert imports_of(lazy, names) == {"b.c", "d"}
