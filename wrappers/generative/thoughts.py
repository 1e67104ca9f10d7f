"""Where in a text the answer is, after what a model thinks aloud, and what marks it as final."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wrappers.generative.outcomes import NoLabel, Status

_NAMES = (
    "(?:think(?:ing)?|thoughts?|thought[_ ]process|reason(?:ing)?|analysis|reflect(?:ion)?|"
    "scratch[_ ]?pad|cot|chain[_ ]of[_ ]thought|rationale|deliberation|draft|plan(?:ning)?|"
    "inner[_ ]monologue|commentary)"
)
_OPEN, _CLOSE = "[<\\[◁〈⟨《«【]", "[>\\]▷〉⟩》»】]"
# <think>, [THINK], ◁think▷, <seed:think>, <|begin_of_thought|>, <|START_THINKING|>, ...
_BEGIN = re.compile(
    rf"{_OPEN}\|?\s*(?:(?:begin|start)(?:_of)?[_ ]|\w{{1,9}}:)?{_NAMES}(?:\s[^<>\[\]\n]{{0,40}})?"
    rf"\s*\|?{_CLOSE}"
    r"|<\|channel\|?>\s*(?:analysis|commentary|thought)|<unused94>|\A\s*analysis(?=[A-Z])",
    re.IGNORECASE,
)
_END = re.compile(
    rf"{_OPEN}\|?\s*(?:/\s*|end(?:_of)?[_ ])(?:\w{{1,9}}:)?{_NAMES}\s*\|?{_CLOSE}"
    r"|<\|channel\|>\s*final(?:\s*<\|constrain\|>\s*\w+)?\s*<\|message\|>|<channel\|>|<unused95>"
    r"|assistantfinal",
    re.IGNORECASE,
)
_CLOSING = re.compile(  # one of a server's own marks after an answer, of at most 40 letters
    r"(?:\s+|<\|[^<>|]{1,30}\|>|</s>|<eos>|<end_of_turn>|<end_of_utterance>)\Z", re.IGNORECASE
)
_LONGEST, _LONGEST_ANSWER = 1_000_000, 20_000  # letters, with all thoughts and without
_BLANK = re.compile(r"[\s*`_\"'$.!>#=-]{300}")  # more signs in a row than any answer has
_TAGS = "(?:final[_ ]?answer|answer|final|response|output|solution|result)"
_CONTAINERS = (  # what a model puts its final answer into
    re.compile(r"\\f?boxed\s*\{(?P<inner>(?:[^{}]|\{[^{}]*\})*)\}"),
    re.compile(rf"<(?P<tag>{_TAGS})>(?P<inner>.*?)</(?P=tag)>", re.IGNORECASE | re.DOTALL),
    re.compile(rf"\[(?P<tag>{_TAGS})\](?P<inner>.*?)\[/(?P=tag)\]", re.IGNORECASE | re.DOTALL),
    re.compile(
        r"<\|(?:begin_of_(?P<tag>box|solution|answer)|START_RESPONSE)\|>(?P<inner>.*?)"
        r"(?:<\|end_of_(?P=tag)\|>|<\|END_RESPONSE\|>|\Z)",
        re.IGNORECASE | re.DOTALL,
    ),
)


def answer_part(text: str) -> tuple[int, int]:
    """Where the answer begins and ends: after all thoughts, before a server's closing marks.

    Raises:
        NoLabel: for a text that ends within a thought, or that no model says: reading it could take
            for ever.
    """
    useless = NoLabel(Status.MALFORMED, f"the answer is {len(text):,} letters of no use")
    if len(text) > _LONGEST:
        raise useless
    ends = [found.end() for found in _END.finditer(text)]
    begin = ends[-1] if ends else 0
    if len(text) - begin > _LONGEST_ANSWER or _BLANK.search(text, begin):
        raise useless
    if _BEGIN.search(text, begin):
        raise NoLabel(Status.TRUNCATED, "the model had not finished thinking")
    end = len(text)
    while closing := _CLOSING.search(text, max(begin, end - 40), end):
        end = closing.start()
    return begin, end


def containers(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Boxes and tags for final answers: begin and end, begin of the content, the content."""
    found = [match for pattern in _CONTAINERS for match in pattern.finditer(text)]
    for match in sorted(found, key=lambda one: one.start()):
        start, inner = match.start("inner"), match["inner"]
        dressed = re.fullmatch(r"\s*\\(?:text|math)\w*\{(?P<inner>[^{}]*)\}\s*", inner)
        if dressed:
            start, inner = start + dressed.start("inner"), dressed["inner"]
        yield match.start(), match.end(), start, inner
