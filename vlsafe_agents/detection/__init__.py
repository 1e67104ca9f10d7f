"""Finding vehicles in pictures from above, where the simulator does not say where they are."""

from vlsafe_agents.detection.detector import Detector, DetectorConfig
from vlsafe_agents.detection.figures import Finds, finds
from vlsafe_agents.detection.grid import View
from vlsafe_agents.detection.training import DetectionConfig, train_detector

__all__ = [
    "DetectionConfig",
    "Detector",
    "DetectorConfig",
    "Finds",
    "View",
    "finds",
    "train_detector",
]
