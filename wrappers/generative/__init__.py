"""Scorers that answer in words: behind a chat server, or run here through ``transformers``."""

from wrappers.generative.budget import Budget
from wrappers.generative.chat_scorer import ChatScorer, ChatServerError
from wrappers.generative.client import Limits
from wrappers.generative.local_scorer import LocalQuestion, LocalVLMScorer
from wrappers.generative.outcomes import Answers, Outcome, Status
from wrappers.generative.question import Question
from wrappers.generative.systemone_scorer import SystemOneScorer
from wrappers.generative.typed_question import TypedQuestion

__all__ = [
    "Answers",
    "Budget",
    "ChatScorer",
    "ChatServerError",
    "Limits",
    "LocalQuestion",
    "LocalVLMScorer",
    "Outcome",
    "Question",
    "Status",
    "SystemOneScorer",
    "TypedQuestion",
]
