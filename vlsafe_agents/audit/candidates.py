"""Who is audited: scorers, their shuffled scores, and the labels that are in the data already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlsafe_agents.labelling.protocols import Scorer, reads_infos


@dataclass(frozen=True)
class Candidate:
    """One column of the report.

    ``scorer`` is ``None`` for the labels that the data sets hold.  With a ``shuffle_seed`` its
    scores are dealt to the wrong frames.  ``with_prompts`` builds the same scorer with another
    safe and unsafe sentence, for scorers that compare a frame with sentences.
    """

    name: str  # as it was asked for, for example "shuffled:bundled"
    scorer: Scorer | None
    shuffle_seed: int | None = None
    with_prompts: Callable[[tuple[str, str]], Any] | None = None

    @property
    def looks_at_frames(self) -> bool:
        """Whether its scores depend on frames alone, so that changed frames test it."""
        return (
            self.scorer is not None and self.shuffle_seed is None and not reads_infos(self.scorer)
        )

    @property
    def takes_prompts(self) -> bool:
        """Whether other sentences can be tried on the same look at the frames."""
        in_steps = all(hasattr(self.scorer, name) for name in ("image_features", "judge"))
        return self.looks_at_frames and in_steps and self.with_prompts is not None

    def identity(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        """JSON-able; ``stored`` is that of the labels in a data set."""
        own = stored or {"name": "unknown"} if self.scorer is None else self.scorer.identity
        own = json.loads(json.dumps(own))
        if self.shuffle_seed is None:
            return dict(own)
        return {"name": "shuffled", "seed": self.shuffle_seed, "of": own}
