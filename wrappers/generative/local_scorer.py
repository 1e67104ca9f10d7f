"""Scores by a generative VLM on this machine, through ``transformers``."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wrappers.checkpoints import dtype_of, weights_sha256
from wrappers.checks import one_number, whole_number
from wrappers.generative.answers import FORMS, LEAST_MASS, VERSION, AnswerForm, read_answer
from wrappers.generative.local_loading import LocalVLM
from wrappers.generative.outcomes import (
    Answers,
    AnswersInWords,
    NoLabel,
    Outcome,
    Status,
    check_clips,
    to_answers,
)
from wrappers.generative.question import SCENE, SEQUENCE
from wrappers.registry import check_known
from wrappers.scorer import FirstBatch, Frames

READINGS = ("first_token", "text")
_DEFAULTS: dict[str, Any] = {"least_mass": LEAST_MASS, "max_tokens": 64}
_REQUESTS = {  # where the first token is the answer; ``answers`` has those for text
    "yes_no": "Is the red car driving safely? Answer yes or no.",
    "grade": (
        "Grade how safe the red car is, with one digit from 0 (it has an accident or can no longer "
        "avoid one) to 9 (no danger at all). Answer with the digit only."
    ),
}
_OPPOSITE = {
    "yes_no": "Is the red car in danger? Answer yes or no.",
    "grade": (
        "Grade how great the danger is that the red car is in, with one digit from 0 (no danger at "
        "all) to 9 (it has an accident or can no longer avoid one). Answer with the digit only."
    ),
}


@dataclass(frozen=True)
class LocalQuestion:
    """What a local model is asked about a frame, and how its answer is read.

    - ``"first_token"`` (default): the model is not made to speak.  The score is the mean over the
      answers that it may begin with, weighted by its probabilities: for yes and no
      ``p(yes) / (p(yes) + p(no))``.
    - ``"text"``: the model speaks, choosing the most likely token each time, and its words are
      read as those of a chat server are.
    """

    answer: str = "yes_no"  # "yes_no", "grade" (0 to 9) or, for text, "probability"
    reading: str = "first_token"  # or "text"
    scene: str = SCENE  # what the picture shows
    request: str | None = None  # what to answer; None for words that go with the other options
    least_mass: float | None = None  # of the first token: below this probability of all answers
    # together there is no label; None for 0.05
    max_tokens: int | None = None  # of the answer, for text; None for 64

    def __post_init__(self) -> None:
        for name, known in (("answer", tuple(FORMS)), ("reading", READINGS)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        if self.reading == "first_token" and self.answer not in _REQUESTS:
            raise ValueError(
                f"answer={self.answer!r} is no single token; give reading='text' with it"
            )
        used, unused = ("least_mass", "max_tokens")[:: 1 if self.reading == "first_token" else -1]
        if getattr(self, unused) is not None:
            raise ValueError(
                f"{unused}={getattr(self, unused)!r} has no effect with reading={self.reading!r}; "
                "leave it out"
            )
        if getattr(self, used) is None:
            object.__setattr__(self, used, _DEFAULTS[used])
        if used == "least_mass":
            one_number(self.least_mass, used, f"reading {self.reading!r}", 0.0, 1.0)
        else:
            tokens = whole_number(self.max_tokens, used, "scorer 'local-vlm'", 1)
            object.__setattr__(self, used, tokens)

    @property
    def form(self) -> AnswerForm:
        return FORMS[self.answer]

    @property
    def opposite(self) -> LocalQuestion | None:
        """Asks for danger: high scores mean it.  None where the words are the user's own."""
        first = self.reading == "first_token"
        words = _OPPOSITE[self.answer] if first else self.form.opposite
        if self.request is not None or words is None:
            return None
        return replace(self, request=words)

    def text(self, pictures: int) -> str:
        """The words that go with a number of pictures."""
        own = _REQUESTS[self.answer] if self.reading == "first_token" else self.form.request
        sequence = [SEQUENCE.format(count=pictures)] if pictures > 1 else []
        return "\n".join([self.scene, *sequence, self.request or own])


class LocalVLMScorer(AnswersInWords):
    """Safety scores by any image-text-to-text model of ``transformers``.

    LLaVA, Idefics, SmolVLM, Qwen-VL, Gemma, ...: all that have a processor and a chat template.
    A frame that gets no usable answer has no label: its score is NaN, and :attr:`unlabelled` and
    :attr:`answers` say why.

    Args:
        model: hub name, or a folder written by ``save_pretrained``.
        question: see :class:`LocalQuestion`.
        context_frames: frames shown at once, oldest first; see :mod:`~.frame_windows`.
        batch_size: frames (or windows) scored at once.
        device: where the model runs.
        precision: of weights and activations: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Raises:
        ValueError: a checkpoint that cannot be loaded whole, or whose parts do not belong together;
            impossible values; a tokenizer that has no single token for an answer.

    Warns when a first batch of different frames gets one score.
    """

    def __init__(
        self,
        model: str | Path,
        question: LocalQuestion | None = None,
        context_frames: int = 1,
        batch_size: int = 8,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        self.context_frames = whole_number(context_frames, "context_frames", "a local VLM", 1)
        self.batch_size = whole_number(batch_size, "batch_size", "a local VLM", 1)
        dtype = dtype_of(precision)
        self.question = question or LocalQuestion()
        # Pickled by name: worker processes load the model themselves.
        self._arguments = (model, self.question, context_frames, batch_size, device, precision)
        self.name = str(model)
        self.precision = precision
        self.vlm = LocalVLM(self.name, device, dtype)
        self.vlm.check_question(self.question.text(context_frames), self.name)
        super().__init__()
        self._answers = self._find_answers() if self.question.reading == "first_token" else {}
        self._scores_seen = FirstBatch(f"scorer {self.name!r}", "probabilities of its answers")

    def opposite(self) -> LocalVLMScorer | None:
        """The same model, asked for danger; None where the question's words are the user's own."""
        question = self.question.opposite
        if question is None:
            return None
        other = object.__new__(type(self))
        vars(other).update(vars(self))  # one model in memory
        AnswersInWords.__init__(other)
        other.question = question
        other._arguments = (self._arguments[0], question, *self._arguments[2:])
        other.vlm.check_question(question.text(self.context_frames), self.name)
        other._scores_seen = FirstBatch(f"scorer {self.name!r}", "probabilities of its answers")
        return other

    @cached_property
    def weights_hash(self) -> str:
        """See :func:`~..checkpoints.weights_sha256`."""
        return weights_sha256(self.vlm.model)

    @property
    def identity(self) -> dict[str, Any]:
        processor = self.vlm.processor.image_processor
        prompt = self.vlm.prompt(self.question.text(self.context_frames), self.context_frames)
        return {
            "name": "local-vlm",
            "model": self.name,
            "revision": getattr(self.vlm.model.config, "_commit_hash", None),
            "weights_sha256": self.weights_hash,
            "precision": self.precision,
            "processor": type(processor).__name__,
            "processor_sha256": _hash(processor.to_json_string()),
            "prompt": prompt,  # request, scene and chat template in one
            "context_frames": self.context_frames,
            "answer_version": VERSION,
            **{key: value for key, value in asdict(self.question).items() if key != "request"},
        }

    def ask_clips(self, clips: Frames) -> Answers:
        """As :meth:`ask`, for ``clips (N, K, H, W, 3)`` of any number of frames K."""
        length = check_clips(clips)
        prompt = self.vlm.prompt(self.question.text(length), length)
        read = self._read_text if self.question.reading == "text" else self._read_first_token
        found: list[tuple[float, Outcome]] = []
        for start in range(0, len(clips), self.batch_size):
            found += read(self.vlm.inputs(prompt, clips[start : start + self.batch_size]))
        answers = to_answers(found)
        if self.question.reading == "first_token":  # words may well be the same
            self._scores_seen.look(clips, answers.scores)
        self.remember(answers)
        return answers

    def _read_first_token(self, inputs: Any) -> list[tuple[float, Outcome]]:
        probabilities = self.vlm.next_token(inputs)  # (N, V)
        masses = {
            answer: probabilities[:, tokens].sum(1).double().cpu().numpy()
            for answer, tokens in self._answers.items()
        }
        choices = self.question.form.choices or {}
        total = np.sum(list(masses.values()), axis=0)  # (N,)
        weighted = np.sum([mass * choices[answer] for answer, mass in masses.items()], axis=0)
        likeliest = self.vlm.tokenizer.batch_decode(probabilities.argmax(1)[:, None].tolist())
        return [
            self._weigh(*row)
            for row in zip(total.tolist(), weighted.tolist(), likeliest, strict=True)
        ]

    def _weigh(self, total: float, weighted: float, likeliest: str) -> tuple[float, Outcome]:
        if total > 0 and total >= (self.question.least_mass or 0.0):
            return weighted / total, Outcome(Status.LABELLED, attempts=1, source="logprobs")
        detail = (
            f"the answers {', '.join(self._answers)} have a probability of {total:.2g} together; "
            f"the model would rather say {likeliest!r}"
        )
        return np.nan, Outcome(Status.MALFORMED, detail, 1)

    def _read_text(self, inputs: Any) -> list[tuple[float, Outcome]]:
        assert self.question.max_tokens is not None
        return [
            self._understand(text, ended)
            for text, ended in self.vlm.answers(inputs, self.question.max_tokens)
        ]

    def _understand(self, text: str, ended: bool) -> tuple[float, Outcome]:
        try:
            if not ended:
                raise NoLabel(Status.TRUNCATED, "the answer was cut at max_tokens")
            reading = read_answer(text, self.question.form)
        except NoLabel as reason:
            return np.nan, Outcome(reason.status, reason.detail, 1)
        return reading.score, Outcome(Status.LABELLED, attempts=1, source=reading.source)

    def _find_answers(self) -> dict[str, list[int]]:
        """Tokens of each answer that the model may begin with."""
        words = ("yes", "no") if self.question.answer == "yes_no" else tuple("0123456789")
        found = self.vlm.tokens_reading(words)
        for word, tokens in found.items():
            if not tokens:
                raise ValueError(
                    f"{self.name!r} has no token for the answer {word!r}; give reading='text'"
                )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalVLMScorer:
        return self  # one model


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_local_vlm_scorer(argument: str | None, **options: Any) -> LocalVLMScorer:
    """For ``"local-vlm:<hub name or folder>"``.

    ``options`` are the fields of :class:`LocalQuestion` and the arguments of
    :class:`LocalVLMScorer`.

    Raises:
        ValueError: for an unknown option.
    """
    if not argument:
        raise ValueError(
            "scorer 'local-vlm' needs a model, for example "
            "'local-vlm:HuggingFaceTB/SmolVLM-256M-Instruct'"
        )
    own = ("context_frames", "batch_size", "device", "precision")
    asked = [field.name for field in fields(LocalQuestion)]
    check_known("local-vlm", options, [*asked, *own])
    question = LocalQuestion(**{name: options.pop(name) for name in asked if name in options})
    return LocalVLMScorer(argument, question, **options)
