"""Teaching a small network to score frames as another scorer does.

    taught = held_out(episodes, share=0.9)
    pupil = train_pupil(frames, scores, np.flatnonzero(taught))
    record = Record(teacher=scorer.identity, agreement={"all": compare(p, pupil_p)}, training={})
    save_pupil("runs/pupil", pupil, record)
    scorer = make_scorer("distilled:runs/pupil")

``vlsafe distill`` does all of this with labelled data sets.
"""

from wrappers.distillation.agreement import compare
from wrappers.distillation.folder import Record, load_pupil, save_pupil
from wrappers.distillation.network import Pupil, PupilConfig
from wrappers.distillation.training import DistillConfig, train_pupil

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
