"""Teaching a small network to score frames as another scorer does.

    taught = held_out(episodes, share=0.9)
    pupil = train_pupil(frames, scores, np.flatnonzero(taught))
    record = Record(teacher=scorer.identity, agreement={"all": compare(p, pupil_p)}, training={})
    save_pupil("runs/pupil", pupil, record)
    scorer = make_scorer("distilled:runs/pupil")

``vlsafe distill`` does all of this with labelled data sets.
"""

from .agreement import compare
from .folder import Record, load_pupil, save_pupil
from .network import Pupil, PupilConfig
from .training import DistillConfig, train_pupil

__all__ = [
    "DistillConfig",
    "Pupil",
    "PupilConfig",
    "Record",
    "compare",
    "load_pupil",
    "save_pupil",
    "train_pupil",
]
