"""Evaluating agents on fixed seeds: records of episodes, metrics, intervals, recordings."""

from vlsafe_agents.evaluation.comparison import Algorithm, Comparison, compare
from vlsafe_agents.evaluation.evaluate import Evaluation, evaluate
from vlsafe_agents.evaluation.intervals import aggregate_seeds, summarise
from vlsafe_agents.evaluation.metrics import METRICS, EpisodeRecord
from vlsafe_agents.evaluation.recording import Recording, load_recording
from vlsafe_agents.evaluation.stored import StoredEvaluation, read_evaluation

__all__ = [
    "METRICS",
    "Algorithm",
    "Comparison",
    "EpisodeRecord",
    "Evaluation",
    "Recording",
    "StoredEvaluation",
    "aggregate_seeds",
    "compare",
    "evaluate",
    "load_recording",
    "read_evaluation",
    "summarise",
]
