"""``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of agents."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from vlsafe_agents.common.agent_file import read_agent, write_agent
from vlsafe_agents.pretrained.kinds import AGENT
from vlsafe_agents.pretrained.sharing import folder_to_share, push
from vlsafe_agents.pretrained.sources import find_folder
from vlsafe_agents.pretrained.weights import completed, halved
from vlsafe_agents.training.settings import MODEL_FILE
from wrappers.files import replacing

SHARED = "shared"  # entry of a file's data: what was made of the weights


class SharedAgent(BaseAlgorithm):
    """Mixin of agents with files that run no code (``SavedAgent``): trained ones to take and share.

    A shared agent acts as the one that it was saved from, but for the rounding of its matrices to
    float16; what only learning needs is left out.
    """

    _not_shared: ClassVar[tuple[str, ...]] = ()  # beginnings of the names of weights
    _taken_from: tuple[Path, int] | None = None  # where it is from, and its updates then

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        **changes: Any,
    ) -> Self:
        """A trained agent; no code in its files is run.

        Args:
            name: of one that comes with vlsafe, such as ``"highway"``; a folder that
                :meth:`save_pretrained` or ``vlsafe train`` has written; or a Hugging Face
                repository, ``"owner/name"``.
            env: where to go on learning; must have the agent's spaces.
            revision: of a repository: branch, tag or commit; a commit for what must not change.
            token: this and what follows as of ``huggingface_hub.snapshot_download``.
            changes: constructor's arguments to replace, as of :meth:`load`.

        Raises:
            ValueError: for a name of nothing, which says what there is; a damaged file; another
                algorithm's.
            FileNotFoundError: for a folder without an agent.
            OSError: where a repository cannot be had.
        """
        folder = find_folder(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        kind: Any = cls  # whose class has ``load`` of ``SavedAgent``
        model = kind.load(folder / MODEL_FILE, env=env, device=device, **changes)
        model._taken_from = folder, model._n_updates
        agent: Self = model
        return agent

    def save_pretrained(
        self, folder: str | Path, *, learnable: bool = False, notes: Sequence[str] = ()
    ) -> Path:
        """Write a folder to share: the agent, what is known of it, and a model card of that.

        What is known comes from where the agent was loaded (:meth:`from_pretrained` of a folder of
        ``vlsafe train``): settings, costs of learning, evaluations, the data set's metadata.  Of an
        agent that has learned since, none of it is.

        Args:
            learnable: keep all that learning needs, in full precision; such a file is several
                times larger.
            notes: sentences for the card, such as where the agent fails.

        Raises:
            FileExistsError: where the folder holds an agent that was not written here.
            ValueError: for weights that are not finite.
        """
        from vlsafe_agents.pretrained.card import write_card

        out = folder_to_share(folder, MODEL_FILE)
        content = io.BytesIO()
        self.save(content)
        if learnable:
            with replacing(out / MODEL_FILE) as temporary:
                temporary.write_bytes(content.getbuffer())
        else:
            data, params = read_agent(content)
            weights = halved(params["policy"], self._not_shared)
            made = {"matrices": "float16", "left_out": list(self._not_shared)}
            write_agent(
                out / MODEL_FILE, {**self._as_shared(data), SHARED: made}, {"policy": weights}
            )
        known = self._taken_from is not None and self._taken_from[1] == self._n_updates
        write_card(AGENT, out, self._taken_from[0] if known and self._taken_from else None, notes)
        return out

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        message: str = "A trained agent",
        learnable: bool = False,
        notes: Sequence[str] = (),
    ) -> str:
        """Write to a Hugging Face repository what :meth:`save_pretrained` writes to a folder.

        The repository is made where there is none.  Returns the commit's address.

        Args:
            repository: ``"owner/name"``.
            private: of a repository that is made; None: as the account has it.
            token: with the right to write; None: the one that ``hf auth login`` has stored.
            revision: the branch to write to.
            learnable: this and ``notes`` as of :meth:`save_pretrained`.
        """
        return push(
            repository,
            lambda place: self.save_pretrained(place, learnable=learnable, notes=notes),
            private=private,
            token=token,
            revision=revision,
            message=message,
        )

    def _as_shared(self, data: dict[str, Any]) -> dict[str, Any]:
        """A file's data without what belongs to parts that are left out."""
        return data

    def _take_shared(self, weights: Mapping[str, Any]) -> None:
        """Load weights that :meth:`save_pretrained` has written."""
        whole = completed(weights, self.policy.state_dict(), self._not_shared)
        self.policy.load_state_dict(whole)
