"""Typed questions: how they are put, how answers are read, and pictures that are left out."""

from __future__ import annotations

import base64
import io
import json
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded_server import FOLDER, RecordedServer, _Server, frames_of

from wrappers import CalibratedScorer, make_scorer
from wrappers.calibrated import Calibration, FittedOn
from wrappers.generative import Limits, SystemOneScorer, TypedQuestion
from wrappers.generative.outcomes import NoLabel
from wrappers.generative.server import ChatServerError
from wrappers.generative.systemone_scorer import make_systemone_scorer
from wrappers.generative.typed_question import PictureField

QUICK = Limits(attempts=1, first_wait=0.01)
FRAMES = np.arange(4, dtype=np.uint8)[:, None, None, None] * 60 + np.zeros((1, 8, 8, 3), np.uint8)


class Typed(_Server):
    """Answers with the brightness of the pictures that it finds; some it leaves out."""

    def __init__(
        self, knows: str = "assets", drops: tuple[int, ...] = (), refuses: str = ""
    ) -> None:
        super().__init__()
        self.knows, self.drops, self.refuses = knows, drops, refuses
        self.bodies: list[Any] = []

    def answer(self, path: str, body: Any) -> tuple[int, str, bytes]:
        self.bodies.append(body)
        if self.refuses and self.refuses in body:
            said = [
                {"type": "extra_forbidden", "loc": ["body", self.refuses], "msg": "Extra inputs"}
            ]
            return 422, "application/json", json.dumps({"detail": said}).encode()
        known = {"images": self._images, "assets": self._assets, "nothing": lambda _: []}
        found = known[self.knows](body)
        frames = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]
        seen = [frame for frame in frames if int(frame[0, 0, 0]) not in self.drops]
        value = float(np.mean([frame.mean() for frame in seen])) / 255 if seen else 0.5
        tokens = len(body["state"]) + 50 * len(seen)
        answer = {"type": "noul", "noul": value}
        if body["questions"]["safety"]["type"] == "score":
            count = len(body["questions"]["safety"]["criteria"])
            likely = {str(n): 0.0 for n in range(count)} | {"0": 1 - value, str(count - 1): value}
            answer = {"type": "score", "probabilities": likely}
        reply = {"model": body["model"], "answers": {"safety": answer}}
        reply["usage"] = {"input_tokens": tokens, "output_tokens": 0}
        return 200, "application/json", json.dumps(reply).encode()

    def _images(self, body: Any) -> list[str]:
        urls = body.get("images", [])
        assert all(url.startswith("data:image/png;base64,") for url in urls)
        return [url.partition(",")[2] for url in urls]

    def _assets(self, body: Any) -> list[str]:
        assets = body.get("assets", {})
        return [asset["data_base64"] for name, asset in assets.items() if name in body["state"]]


def scorer_of(server: Typed, **options: Any) -> SystemOneScorer:
    return SystemOneScorer("judge", f"{server.root}/v1", **({"limits": QUICK} | options))


@pytest.mark.parametrize("answer", ["noul", "score"])
@pytest.mark.parametrize(
    ("knows", "refuses"), [("assets", ""), ("images", "assets"), ("images", "")]
)
def test_each_form_of_the_protocol_is_found(answer: str, knows: str, refuses: str) -> None:
    """A server that does not know a field may say so, or leave it out without a word."""
    with Typed(knows, refuses=refuses) as server:
        scorer = scorer_of(server, question=TypedQuestion(answer=answer))
        np.testing.assert_allclose(scorer(FRAMES), FRAMES[:, 0, 0, 0] / 255, atol=1e-6)
        assert scorer.features == PictureField(knows)
        assert scorer.identity["asked_for"] == {"pictures": knows}
        assert scorer.identity["reading"] == "probabilities"
        copy = pickle.loads(pickle.dumps(scorer))
        assert copy.question == scorer.question


def test_each_picture_has_one_placeholder_and_there_is_no_other() -> None:
    clip = np.stack([FRAMES[0]] * 4)
    question = TypedQuestion()
    body = question.body("judge", clip, PictureField())
    assert list(body["assets"]) == ["img-1", "img-2", "img-3", "img-4"]
    text = json.dumps([body["state"], body["questions"]])
    assert [text.count(name) for name in body["assets"]] == [1, 1, 1, 1]
    places = [body["state"].index(name) for name in body["assets"]]
    assert places == sorted(places)
    blind = question.blind_body("judge", clip, PictureField())
    assert blind == {key: body[key] for key in ("model", "state", "questions")}
    images = question.body("judge", clip, PictureField("images"))
    assert "img-" not in json.dumps([images["state"], images["questions"]])
    assert len(images["images"]) == 4


def test_a_picture_that_the_server_leaves_out_gives_no_label() -> None:
    with Typed(drops=(60,)) as server:
        scorer = scorer_of(server)
        scores = scorer(FRAMES)
        assert np.isnan(scores).tolist() == [False, True, False, False]
        assert "left the picture out" in (scorer.last_reasons[1] or "")


def test_a_server_that_never_looks_is_refused() -> None:
    with Typed(knows="nothing") as server, pytest.raises(ChatServerError, match="does not see"):
        scorer_of(server)(FRAMES)


def test_frames_that_all_get_one_probability_are_warned_of() -> None:
    class Same(Typed):
        def answer(self, path: str, body: Any) -> tuple[int, str, bytes]:
            status, kind, text = super().answer(path, body)
            reply = json.loads(text)
            reply["answers"]["safety"]["noul"] = 0.5
            return status, kind, json.dumps(reply).encode()

    with Same() as server, pytest.warns(UserWarning, match="the same probabilities"):
        scorer_of(server)(FRAMES)


NOUL = TypedQuestion()
SCORE = TypedQuestion(answer="score", levels=["bad", "so so", "good"])


def reply_of(**answer: Any) -> dict[str, Any]:
    return {"answers": {"safety": answer}}


def test_the_mean_level_is_brought_to_one() -> None:
    found = SCORE.read(reply_of(probabilities={"0": 0.2, "1": 0.5, "2": 0.3}), "probabilities")
    assert found == pytest.approx((0.5 + 2 * 0.3) / 2)
    rounded = SCORE.read(reply_of(probabilities={"0": 0.33, "1": 0.33, "2": 0.33}), "probabilities")
    assert rounded == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("question", "reply", "word"),
    [
        (NOUL, None, "answers no typed question"),
        (NOUL, {"choices": []}, "answers no typed question"),
        (NOUL, {"answers": {"other": {"noul": 0.5}}}, "answers no typed question"),
        (NOUL, reply_of(noul="0.5"), "no probability"),
        (NOUL, reply_of(noul=True), "no probability"),
        (NOUL, reply_of(noul=float("nan")), "no probability"),
        (NOUL, reply_of(noul=1.2), "not in 0 to 1"),
        (NOUL, reply_of(), "no probability"),
        (SCORE, reply_of(score=1.0), "no probabilities of 3 levels"),
        (SCORE, reply_of(probabilities={"0": 0.5, "1": 0.5}), "no probabilities of 3 levels"),
        (SCORE, reply_of(probabilities={"0": 0.5, "1": 0.5, "2": 0.5}), "sum of 1.5"),
        (SCORE, reply_of(probabilities={"0": -0.1, "1": 0.6, "2": 0.5}), "not in 0 to 1"),
    ],
)
def test_what_is_no_answer_is_no_label(question: TypedQuestion, reply: Any, word: str) -> None:
    with pytest.raises(NoLabel, match=word):
        question.read(reply, "probabilities")


@pytest.mark.parametrize(
    ("argument", "options", "word"),
    [
        (None, {}, "needs a model and an address"),
        ("judge", {}, "needs a model and an address"),
        ("m@http://h/v1", {"answer": "grade"}, "unknown answer 'grade'; known: noul, score"),
        ("m@http://h/v1", {"levels": ["a", "b"]}, "no effect"),
        ("m@http://h/v1", {"answer": "score", "levels": ["a"]}, "two different sentences"),
        ("m@http://h/v1", {"answer": "score", "levels": ["a", "a"]}, "two different sentences"),
        ("m@http://h/v1", {"answer": "score", "levels": "ab"}, "two different sentences"),
        ("m@http://h/v1", {"scene": "See img-3."}, "img-3"),
        ("m@http://h/v1", {"request": 5}, "must be words"),
        ("m@http://h/v1", {"context_frames": 5}, "4 pictures at most"),
        ("m@http://h/v1", {"max_tokens": 5}, "no option 'max_tokens'; known: answer, scene"),
        ("m@http://h/v1", {"api_key": "k"}, "environment variable"),
        ("m@http://u:p@h/v1", {}, "no user, password"),
    ],
)
def test_impossible_settings_are_refused_by_name(argument: Any, options: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make_systemone_scorer(argument, **options)


def test_clips_of_more_than_four_frames_are_refused() -> None:
    scorer = make_systemone_scorer("m@http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="4 pictures at most"):
        scorer.ask_clips(np.zeros((1, 5, 4, 4, 3), np.uint8))


def test_its_probabilities_can_be_calibrated(tmp_path: Any) -> None:
    (case,) = [
        case
        for case in json.loads((FOLDER / "transformers-5.23.0.json").read_text())["cases"]
        if case["spec"] == "systemone:./tiny@URL/v1"
    ]
    with RecordedServer(case) as server:
        spec = case["spec"].replace("URL", server.root)
        scorer: Any = make_scorer(spec)
        raw = scorer(frames_of(case))
        fitted_on = FittedOn("collision", 9, 3, "abc", "2026-12-01")
        fitted = Calibration("platt", ((0.5, 0.3),), scorer.identity, fitted_on)
        fitted.save(tmp_path / "c.json", spec)
        calibrated: Any = make_scorer(f"calibrated:{tmp_path / 'c.json'}")
        assert isinstance(calibrated, CalibratedScorer)
        np.testing.assert_allclose(calibrated(frames_of(case)), fitted(raw), atol=1e-6)
