"""``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of risk models.

A shared risk model is a folder as a shared agent's (:mod:`vlsafe_agents.pretrained`), with
``risk.zip`` in the place of ``model.zip``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gymnasium import spaces

from vlsafe_agents.pretrained.bundle import Bundle
from vlsafe_agents.pretrained.kinds import RISK
from vlsafe_agents.pretrained.sharing import folder_to_share, push
from vlsafe_agents.pretrained.sources import CARD_FILE, FACTS_FILE, find_folder
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import SETTINGS_FILE

if TYPE_CHECKING:
    from vlsafe_agents.common.agent_file import AgentPath

MODEL_FILE = RISK.model  # in the folder of a training
FILES = (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE, FACTS_FILE, CARD_FILE)  # of a repository of one
FOLDER = Path(__file__).parent / "bundled_models"
RISKS = Bundle(FOLDER, MODEL_FILE, "risk model", "train one with `vlsafe train-risk`")


class SharedRisk:
    """Mixin of risk models: trained ones to take and to share.

    Unlike agents they are shared as they are, in full precision: a file has 0.1 MB.
    """

    observation_space: spaces.Dict
    tails: tuple[str, ...]
    config: Any  # RiskConfig
    facts: dict[str, Any]
    judge: str
    _taken_from: Path | None = None  # where it is from, as long as it has not learnt since

    @classmethod
    def load(cls, path: AgentPath) -> Self:
        """As of the class that this is mixed into."""
        raise NotImplementedError

    def save(self, path: AgentPath) -> None:
        """As of the class that this is mixed into."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """A trained risk model; no code in its files is run.

        Args:
            name: of one that is bundled, ``"VLSafe-Highway-v0"`` or in short ``"highway"``; a
                folder that :meth:`save_pretrained` or ``vlsafe train-risk`` has written; or a
                Hugging Face repository, ``"owner/name"``.
            revision: of a repository: branch, tag or commit; a commit for what must not change.
            token: this and what follows as of ``huggingface_hub.snapshot_download``.

        Raises:
            ValueError: for a name of nothing, which says what there is; a damaged file.
            FileNotFoundError: for a folder without a risk model.
            OSError: where a repository cannot be had.
        """
        folder = find_folder(
            name,
            RISKS,
            FILES,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        model = cls.load(folder / MODEL_FILE)
        model._taken_from = folder
        return model

    def save_pretrained(self, folder: str | Path, *, notes: Sequence[str] = ()) -> Path:
        """Write a folder to share: the model, what is known of it, and a model card of that.

        What is known comes from where the model was taken (:meth:`from_pretrained` of a folder of
        ``vlsafe train-risk``): settings, what learning cost, how good it is on held-out drives, and
        evaluations.  Of a model that has learnt since, none of it is.

        Args:
            notes: sentences for the card, such as where the model fails.

        Raises:
            FileExistsError: where the folder holds a risk model that was not written here.
        """
        from vlsafe_agents.pretrained.card import write_card

        out = folder_to_share(folder, MODEL_FILE)
        self.save(out / MODEL_FILE)
        write_card(RISK, out, self._taken_from, notes, model=self.told_in_card())
        return out

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        message: str = "A risk model",
        notes: Sequence[str] = (),
    ) -> str:
        """Write to a Hugging Face repository what :meth:`save_pretrained` writes to a folder.

        The repository is made where there is none.  Returns the commit's address.

        Args:
            repository: ``"owner/name"``.
            private: of a repository that is made; None: as the account has it.
            token: with the right to write; None: the one that ``hf auth login`` has stored.
            revision: the branch to write to.
            notes: as of :meth:`save_pretrained`.
        """
        return push(
            repository,
            lambda place: self.save_pretrained(place, notes=notes),
            private=private,
            token=token,
            revision=revision,
            message=message,
        )

    def told_in_card(self) -> Mapping[str, Any]:
        """What the card says of the model itself."""
        return {
            "sees": list(self.observation_space.spaces),
            "tails": list(self.tails),
            "horizon": self.config.horizon,
            "threshold": self.config.threshold,
            "judge": self.judge,
            "learnt_from": dict(self.facts),
        }
