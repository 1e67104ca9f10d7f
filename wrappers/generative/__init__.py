"""Judges that answer in words: behind a chat server, or run here through ``transformers``."""

from .budget import Budget
from .chat_scorer import ChatScorer, ChatServerError
from .client import Limits
from .local_scorer import LocalQuestion, LocalVLMScorer
from .outcomes import Judgement, Outcome, Status
from .question import Question

__all__ = [
    "Budget",
    "ChatScorer",
    "ChatServerError",
    "Judgement",
    "Limits",
    "LocalQuestion",
    "LocalVLMScorer",
    "Outcome",
    "Question",
    "Status",
]
