"""Names of scorers: built in, and added by other packages through entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wrappers import ConstantScorer, known_scorers, make_scorer
from wrappers.registry import GROUP

FRAMES = np.zeros((2, 4, 4, 3), np.uint8)

MODULE = """
from wrappers import ConstantScorer

def make(argument, **options):
    return ConstantScorer(float(argument or 0.25), **options)

def make_nonsense(argument):
    return object()

number = 3
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a distribution with entry points on the path, as pip would."""

    def put(distribution: str, **entries: str) -> None:
        folder = tmp_path / distribution
        folder.mkdir()
        module = distribution.replace("-", "_")
        (folder / f"{module}.py").write_text(MODULE)
        info = folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2")
        lines = [f"{name.replace('_', '-')} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def test_another_package_adds_a_scorer_with_arguments(install):
    install("their-judge", their_judge="their_judge:make")
    assert make_scorer("their-judge")(FRAMES)[0] == 0.25
    assert make_scorer("their-judge:0.5")(FRAMES)[0] == 0.5
    assert make_scorer("shuffled:their-judge:0.5")(FRAMES)[0] == 0.5
    assert known_scorers()["their-judge"] == (
        "their-judge: from their-judge 1.2 (their_judge:make)"
    )


def test_an_added_scorer_is_named_when_a_name_is_unknown(install):
    install("their-judge", their_judge="their_judge:make")
    with pytest.raises(ValueError, match=r"unknown scorer 'theirs'.*constant:0\.9.*their-judge 1"):
        make_scorer("theirs")


def test_a_built_in_name_cannot_be_taken(install):
    install("thief", constant="thief:make_nonsense")
    with pytest.warns(UserWarning, match=r"thief 1\.2 .*'constant' and is ignored"):
        assert "thief" not in known_scorers()["constant"]
    assert isinstance(make_scorer("constant:0.5"), ConstantScorer)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:make", "ModuleNotFoundError"),
        ("broken:no_such_function", "AttributeError"),
        ("broken:number", "no function: 3"),
    ],
)
def test_a_broken_entry_point_names_its_distribution(install, value, reason):
    install("broken", mine=value)
    with pytest.raises(ValueError, match=rf"'mine' of broken 1\.2 .*{reason}"):
        make_scorer("mine")
    assert make_scorer("constant:0.5")(FRAMES)[0] == 0.5  # the others go on working


def test_an_added_factory_that_returns_no_scorer_is_refused(install):
    install("broken", mine="broken:make_nonsense")
    with pytest.raises(TypeError, match="no scorer"):
        make_scorer("mine")


def test_two_packages_with_one_name_are_told_apart(install):
    install("first", mine="first:make")
    install("second", mine="second:make")
    with pytest.raises(ValueError, match=r"claimed by first 1\.2 .* and second 1\.2"):
        make_scorer("mine")


def test_options_can_be_written_after_the_name(tiny_clip):
    written = make_scorer(f"clip:{tiny_clip},form=margin,margin=0.05")
    given = make_scorer(tiny_clip, form="margin", margin=0.05)
    assert written.identity == given.identity
    assert make_scorer("oracle,headway_centre=0.5").identity["headway_centre"] == 0.5
    shuffled = make_scorer(f"shuffled:clip:{tiny_clip},form=cosine,seed=3").identity
    assert (shuffled["seed"], shuffled["of"]["form"]) == (3, "cosine")


def test_an_option_given_twice_or_unknown_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="'form' is given twice"):
        make_scorer(f"clip:{tiny_clip},form=margin", form="cosine")
    with pytest.raises(ValueError, match="no option 'ratio'; known: prompts, form"):
        make_scorer(f"clip:{tiny_clip},ratio=2")


def test_nothing_is_imported_before_its_name_is_asked_for():
    import subprocess

    code = "import sys, wrappers; wrappers.known_scorers(); wrappers.make_scorer('constant:1'); "
    code += "print([m for m in ('torch', 'transformers', 'sklearn') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


@pytest.mark.parametrize("spec", ["oracle:1", "bundled:x", "random:x", "ensemble:oracle", "frames"])
def test_a_wrong_argument_is_refused(spec):
    with pytest.raises(ValueError, match=spec.partition(":")[0]):
        make_scorer(spec)
