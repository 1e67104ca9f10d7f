"""Scorers in text, with paths of every kind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrappers import fit_calibration, make_scorer
from wrappers.remembered_scorer import RememberedScorer, remember
from wrappers.specs import quoted, split_members, split_spec, unquoted

ODD = [
    "with=odd,chars",
    "a,b=c",
    "a,form=cosine",
    "run[seed=1]",
    "a+b",
    "a b",
    "zürich",
    "横浜",
    'in "quotes"',
    "50%",
    "a:b",
    "2*x",
    "x,y=1,z=2",
]


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest, tmp_path: Path, tiny_clip: Path) -> Path:
    """A checkpoint in a folder of an odd name."""
    return Path(shutil.copytree(tiny_clip, tmp_path / request.param))


@pytest.mark.parametrize("write", [str, quoted])
def test_odd_folders_work_in_every_kind_of_scorer(odd: Path, write: object) -> None:
    name = write(odd)  # type: ignore[operator]
    scorer = make_scorer(f"clip:{name}")
    assert scorer.identity["model"] == str(odd)
    for spec in (
        f"clip:{name},form=cosine",
        name,
        f"{name},form=cosine,batch_size=3",
        f"shuffled:clip:{name},seed=3",
        f"cached:clip:{name},form=cosine",
        f"frames:2:clip:{name},combine=mean",
        f"ensemble:clip:{name}+constant:1",
        f"ensemble:constant:1+2*clip:{name}",
        f"ensemble:clip:{name}+clip:{name},quorum=2",
    ):
        assert str(odd) in _models(make_scorer(spec).identity), spec


def _models(identity: object) -> list[str]:
    """The checkpoints that an identity names."""
    if isinstance(identity, list):
        return [model for part in identity for model in _models(part)]
    if not isinstance(identity, dict):
        return []
    return [str(identity.get("model")), *_models(identity.get("of"))]


def test_odd_files_work_as_options_and_arguments(odd: Path) -> None:
    prompts = odd / "prompts.json"
    prompts.write_text(json.dumps({"safe": "all is well", "unsafe": "an accident"}))
    scorer = make_scorer(f"clip:{quoted(odd)},prompts={quoted(prompts)}")
    assert scorer.identity["prompts"] == ["all is well", "an accident"]
    unsafe = np.arange(40) % 3 == 0
    scores = np.where(unsafe, 0.2, 0.8) + np.arange(40) / 1000
    judge = make_scorer(f"clip:{odd}")
    fitted = fit_calibration(scores, unsafe, judge.identity, "collision", "platt")
    fitted.save(odd / "judge.json", spec=f"clip:{odd}")
    assert make_scorer(f"calibrated:{odd / 'judge.json'}").identity["of"] == judge.identity


def test_odd_folders_are_remembered(odd: Path) -> None:
    for spec in (str(odd), quoted(odd)):
        remember(spec, lambda spec=spec: make_scorer(spec))  # type: ignore[misc]
        assert isinstance(remember(spec, lambda: make_scorer("random")), RememberedScorer)


@pytest.mark.parametrize(
    ("spec", "bare", "options"),
    [
        ("bundled", "bundled", {}),
        ("bundled,form=cosine", "bundled", {"form": "cosine"}),
        ("a:b,c=1,d=true,e=x y", "a:b", {"c": 1, "d": True, "e": "x y"}),
        ('a,b="c,d=1+2",e=3', "a", {"b": "c,d=1+2", "e": 3}),
        ('a:"x,y=1",b=2', 'a:"x,y=1"', {"b": 2}),
        ('a,b="say \\"no\\", please"', "a", {"b": 'say "no", please'}),
        ("ensemble:a,x=1+b", "ensemble:a,x=1+b", {}),
        ("a,b", "a,b", {}),
        ("a,b=", "a", {"b": ""}),
    ],
)
def test_options_are_split_off(spec: str, bare: str, options: dict[str, object]) -> None:
    assert split_spec(spec) == (bare, options)


def test_what_is_written_wrongly_is_refused() -> None:
    with pytest.raises(ValueError, match="'form' is written twice"):
        split_spec("bundled,form=cosine,form=margin")
    with pytest.raises(ValueError, match="quotation mark"):
        make_scorer('clip:"/a,b')


def test_members_are_split_at_signs_outside_of_quotes() -> None:
    assert split_members('a,x="1+2"+2*b:"c+d"+e') == ['a,x="1+2"', '2*b:"c+d"', "e"]
    for wrong in ("+a", "a+", "a++b", ""):
        with pytest.raises(ValueError, match=r"several scorers|names nothing"):
            make_scorer(f"ensemble:{wrong}")


@given(st.text(min_size=1))
def test_whatever_is_quoted_comes_back(text: str) -> None:
    if not text.startswith('"') or quoted(text) != text:
        bare, options = split_spec(f"a:{quoted(text)},form=cosine")
        if quoted(text) != text:
            assert unquoted(bare.removeprefix("a:")) == text
            assert options == {"form": "cosine"}


def test_the_names_that_the_documents_give_can_be_built() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scorers.md").read_text("utf-8")
    names = ("bundled", "ensemble", "frames", "oracle", "constant", "random", "shuffled", "blind")
    specs = {
        spec
        for spec in re.findall(r"`([a-z-]+(?:[:,][^` ]+)?)`", text)
        if re.split("[:,]", spec)[0] in names and "<" not in spec and "/" not in spec
    }
    assert len(specs) >= 8
    for spec in specs:
        make_scorer(spec)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("bundled,tempreature=1", "'tempreature'"),
        ("bundled,temperature=hot", "temperature"),
        ("bundled,temperature=0", "temperature"),
        ("bundled,form=cosine,temperature=0.1", "no effect"),
        ("bundled,margin=0.1", "no effect"),
        ("bundled,alpha=0.1", "no effect"),
        ("bundled,threshold=0.1", "no effect"),
        ("bundled,batch_size=2.5", "batch_size"),
        ("bundled,batch_size=true", "batch_size"),
        ("bundled,device=abacus", "device"),
        ("bundled,prompts=5", "prompts"),
        ("bundled:x", "no argument"),
        ("constant:0.9,seed=1", "has no option 'seed'; it has none"),
        ("constant:nan", "nan"),
        ("constant:2", "2"),
        ("random:1,seed=2", "has no option"),
        ("random:-1", "at least 0"),
        (f"random:{1 << 200}", "2\\*\\*128"),
        ("shuffled:bundled,seed=-1", "at least 0"),
        ("shuffled:bundled,seed=x", "seed"),
        ("shuffled:bundled,pool_size=0", "pool_size"),
        ("oracle,headway=1", "'headway'"),
        ("oracle,headway_width=wide", "headway_width"),
        ("oracle,headway_width=0", "headway_width"),
        ("distilled,form=cosine", "'form'"),
        ("distilled,batch_size=0", "batch_size"),
        ("frames:1:bundled", "at least 2"),
        ("frames:2:bundled,combine=max", "combine"),
        ("ensemble:bundled+oracle,quorum=x", "quorum"),
        ("ensemble:bundled+oracle,seed=1", "no option"),
        ("cached:bundled,limit=0", "limit"),
        ("random-weights:0,ratio=1", "'ratio'"),
        ("calibrated", "needs a file"),
    ],
)
def test_options_that_are_wrong_unknown_or_without_effect_are_refused(spec: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make_scorer(spec)
