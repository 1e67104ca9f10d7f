"""Who a scorer is can be told without loading it, unless anything about it has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wrappers import make_scorer
from wrappers.remembered_scorer import RememberedScorer, facts_of, remember


class Loader:
    """Counts how often the scorer was loaded."""

    def __init__(self, spec: str = "random:3") -> None:
        self.spec = spec
        self.loaded = 0

    def __call__(self) -> Any:
        self.loaded += 1
        return make_scorer(self.spec)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLSAFE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1234")
    return folder


def test_the_second_time_a_scorer_is_loaded_only_to_score(own_cache: Path) -> None:
    first, second = Loader(), Loader()
    known = remember(str(own_cache), first).identity
    scorer = remember(str(own_cache), second)
    assert scorer.identity == known == {"name": "random", "seed": 3}
    assert (first.loaded, second.loaded) == (1, 0)
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    for _ in range(2):
        np.testing.assert_array_equal(scorer(frames), make_scorer("random:3")(frames))
    assert second.loaded == 1
    assert scorer.seed == 3  # type: ignore[attr-defined]


def test_facts_that_callers_ask_for_are_remembered(own_cache: Path) -> None:
    spec = str(own_cache)
    remember(spec, Loader("frames:4:random"))
    loader = Loader("frames:4:random")
    scorer = remember(spec, loader)
    assert scorer.context_frames == 4  # type: ignore[attr-defined]
    assert not scorer.reads_infos  # type: ignore[attr-defined]
    assert not hasattr(scorer, "_anything")
    assert loader.loaded == 0


@pytest.mark.parametrize("change", ["content", "time", "new file", "options"])
def test_any_change_of_the_files_means_loading_again(own_cache: Path, change: str) -> None:
    spec = str(own_cache)
    remember(spec, Loader())
    if change == "content":
        (own_cache / "weights").write_bytes(b"12345")
    elif change == "time":
        os.utime(own_cache / "weights", ns=(1, 1))
    elif change == "new file":
        (own_cache / "config.json").write_text("{}")
    else:
        spec += ",form=cosine"
    again = Loader()
    assert not isinstance(remember(spec, again), RememberedScorer)
    assert again.loaded == 1


@pytest.mark.parametrize(
    "spec", ["openai/clip-vit-base-patch32", "ensemble:bundled+oracle", "chat"]
)
def test_scorers_whose_files_cannot_be_told_are_not_remembered(spec: str) -> None:
    for _ in range(2):
        loader = Loader()
        remember(spec, loader)
        assert loader.loaded == 1


def test_an_option_that_names_a_file_is_not_remembered(own_cache: Path) -> None:
    spec = f"bundled,prompts={own_cache / 'weights'}"
    for _ in range(2):
        loader = Loader()
        remember(spec, loader)
        assert loader.loaded == 1


def test_a_damaged_note_is_not_believed(own_cache: Path, tmp_path: Path) -> None:
    remember(str(own_cache), Loader())
    (note,) = (tmp_path / "cache" / "identities").iterdir()
    note.write_text(note.read_text().replace('"seed": 3', '"seed": 4'))
    assert remember(str(own_cache), Loader()).identity == {"name": "random", "seed": 3}


def test_a_scorer_that_turns_out_to_be_another_does_not_score() -> None:
    facts = facts_of(make_scorer("random:5"))
    with pytest.raises(RuntimeError, match="'random' has changed"):
        RememberedScorer(Loader("random:3"), facts)(np.zeros((1, 4, 4, 3), np.uint8))


def test_without_a_place_to_write_all_goes_on(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLSAFE_CACHE", str(own_cache / "weights"))  # a file, not a folder
    assert remember(str(own_cache), Loader()).identity["seed"] == 3
