"""What is asked of a server besides the answer, and doing without what it does not know.

Servers that speak the chat API know different parts of it: some take no JSON schema, some give no
log-probabilities, reasoning models take no temperature.  One that says so in an error gets the
same question again without that part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from wrappers.generative.answers import AnswerForm

STRUCTURES = ("json_schema", "json_object", "text")
_FEWER_LOGPROBS = {20: 5, 5: 0}  # alternatives a token; some servers allow 5 at most


@dataclass(frozen=True)
class Features:
    """Which optional parts of the API a request uses."""

    structure: str = "json_schema"  # how the answer is held to its form
    top_logprobs: int = 20  # alternatives a token; 0 for no log-probabilities
    temperature: bool = True
    seed: bool = True
    detail: bool = True
    length_key: str = "max_tokens"  # or "max_completion_tokens", as reasoning models want

    def without(self, complaint: str) -> Features | None:
        """Less of what a server's error complains of; ``None`` when it names nothing of it."""
        text = complaint.lower()
        names = {name for name, words in _COMPLAINTS.items() if words.search(text)}
        if "structure" in names and self.structure != "text":
            return replace(self, structure=STRUCTURES[STRUCTURES.index(self.structure) + 1])
        if "logprobs" in names and self.top_logprobs:
            return replace(self, top_logprobs=_FEWER_LOGPROBS.get(self.top_logprobs, 0))
        if "temperature" in names and self.temperature:
            return replace(self, temperature=False)
        if "seed" in names and self.seed:
            return replace(self, seed=False)
        if "detail" in names and self.detail:
            return replace(self, detail=False)
        if "length_key" in names and self.length_key == "max_tokens":
            return replace(self, length_key="max_completion_tokens")
        return None

    def without_logprobs(self) -> Features:
        """The same without log-probabilities."""
        return replace(self, top_logprobs=0)

    def options(
        self, form: AnswerForm, temperature: float, seed: int, max_tokens: int
    ) -> dict[str, Any]:
        """The request's fields besides model and messages."""
        fields: dict[str, Any] = {self.length_key: max_tokens}
        if self.temperature:
            fields["temperature"] = temperature
        if self.seed:
            fields["seed"] = seed
        if self.top_logprobs:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.structure == "json_schema":
            schema = {"name": form.name, "strict": True, "schema": form.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.structure == "json_object":
            fields["response_format"] = {"type": "json_object"}
        return fields


_COMPLAINTS = {
    "structure": re.compile(r"response_format|json_schema|json_object|grammar|structured|guided"),
    "logprobs": re.compile(r"logprobs"),
    "temperature": re.compile(r"\btemperature\b"),
    "seed": re.compile(r"\bseed\b"),
    "detail": re.compile(r"image_url\W+detail|\bdetail\b.*\b(image|unsupported|unknown|extra)"),
    "length_key": re.compile(r"max_completion_tokens|max_tokens"),
}
