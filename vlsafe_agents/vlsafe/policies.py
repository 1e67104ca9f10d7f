"""The recurrent SB3 policy of :class:`~vlsafe_agents.vlsafe.VLSafe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import get_device
from torch import Tensor

from vlsafe_agents.common.agent_file import space_from_json, space_to_json
from vlsafe_agents.common.border import check_seen
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.actions import UNITS, check_units
from vlsafe_agents.vlsafe.actor_critic import ActorCritic
from vlsafe_agents.vlsafe.batch import (
    TensorBatch,
    is_image,
    named_observation,
    named_spaces,
    observation_spaces,
)
from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.gates import SCORE, Source
from vlsafe_agents.vlsafe.limits import CostLimit
from vlsafe_agents.vlsafe.presets import changed
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import WorldModel
from wrappers.files import reading, replacing

Array = npt.NDArray[Any]
RecurrentState = tuple[Array, ...]  # deter (N, D), stoch (N, S, K), prev_action (N, A)


class VLSafePolicy(BasePolicy):
    """World model and actor-critic behind SB3's ``predict``.

    The recurrent state is a tuple of arrays ``(deter, stoch, prev_action)``; ``evaluate_policy``
    and SB3's callbacks thread it.  Images may be channels-last or channels-first.

    Args:
        update: "gated", "lagrangian" or "none"; this and what follows as in :class:`ActorCritic`.
        gate: where p comes from, such as "score" or 0.5.
        cost_limit: allowed cost per episode [sum], or a range of such limits.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        config: VLSafeConfig,
        *,
        update: str,
        gate: Source | None,
        cost_limit: CostLimit,
    ) -> None:
        super().__init__(observation_space, action_space)
        self._config = config
        self._named = named_spaces(observation_space)
        self._spaces = observation_spaces(observation_space)
        self.world_model = WorldModel(observation_space, action_space, config.world_model)
        self.actor_critic = ActorCritic(
            self.world_model.feat_size,
            action_space,
            config,
            update=update,
            gate=gate,
            cost_limit=cost_limit,
        )

    @property
    def observation_kinds(self) -> dict[str, spaces.Box]:
        """What is seen, by the names that the world model has for it."""
        return self._spaces

    def named(self, observation: Any) -> dict[str, Array]:
        """What an environment shows, one observation or a batch, by those names."""
        return named_observation(observation, self._named)

    @property
    def reads_safety_score(self) -> bool:
        """Whether the policy improves by the safety score of frames."""
        return self.actor_critic.update == "gated" and self.actor_critic.source == SCORE

    # --- learning ---------------------------------------------------------------------------------

    def warm_up_loss(
        self, batch: TensorBatch, context: TensorBatch | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of the world model and, on its features, of prior and gate; metrics.

        Args:
            context: the rows before the batch, ``(B, K, ...)``, where there are any.
        """
        shaping, seen = self._config.shaping, {}

        def prior_loss(feat: Tensor) -> Tensor:  # (B, T, F)
            loss = self.actor_critic.behaviour_loss(
                feat if shaping else feat.detach(), batch, self.world_model
            )
            seen["train/behaviour_loss"] = loss.item()
            return shaping * loss if shaping else loss

        foreign = self.world_model.foreign_actions(batch, self._config.forget_actions, context)
        loss, posterior, metrics = self.world_model.loss(batch, prior_loss, foreign, context)
        gate_loss = self.actor_critic.gate.recorded_loss(self.world_model.feat(posterior), batch)
        return loss + gate_loss, metrics | seen

    @torch.no_grad()
    def states(
        self, batch: TensorBatch, context: TensorBatch | None, posterior: RSSMState | None
    ) -> tuple[RSSMState, RSSMState]:
        """Posterior states of the batch, and those that the prior is fitted on, without gradients.

        Args:
            context: the rows before the batch, ``(B, K, ...)``, where there are any.
            posterior: those of the batch, where they are known already.
        """
        world_model, share = self.world_model, self._config.forget_actions
        if posterior is not None and not share:
            return posterior, posterior
        embed = world_model.embed(batch)  # (B, T, E); costs more than what follows
        foreign = world_model.foreign_actions(batch, share, context)
        own = (world_model.action_vector(batch.action), None)
        variants = [*([own] if posterior is None else []), *([foreign] if foreign else [])]
        start = world_model.burn_in(context, *(before for _, before in variants))
        actions = torch.cat([vectors for vectors, _ in variants])  # (V * B, T, A)
        states = world_model.observe(batch, embed, actions, start).split(len(embed))
        return states[0] if posterior is None else posterior, states[-1]

    @torch.no_grad()
    def encoded(self, dataset: EpisodeDataset) -> EpisodeDataset:
        """The data as the world model's encoder sees them, for as long as it does not change."""

        def encode(obs: dict[str, Array]) -> Array:
            tensors = {name: torch.as_tensor(x, device=self.device) for name, x in obs.items()}
            observation = self.world_model.observation
            return observation.embed(observation.prepare(tensors)).cpu().numpy()

        return dataset.encoded(encode, self.world_model.observation.embed_size)

    # --- saving -----------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Write the policy alone, without optimisers; an agent is saved by ``VLSafe.save``."""
        data = {
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "config": self._config.to_dict(),
            "action_units": UNITS,
            "settings": {
                "update": self.actor_critic.update,
                "gate": self.actor_critic.source,
                "cost_limit": self.actor_critic.cost_limit,
            },
            "acting_limit": self.acting_limit,
        }
        with replacing(Path(path)) as temporary:
            torch.save({"data": json.dumps(data), "state_dict": self.state_dict()}, temporary)

    @classmethod
    def load(cls, path: str, device: torch.device | str = "auto") -> Self:
        """Inverse of :meth:`save`; no code in the file is run.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is damaged, or another policy's.
        """

        def read(file: Path) -> Any:
            stored = torch.load(file, map_location=get_device(device), weights_only=True)
            data = json.loads(stored["data"])
            action_space = space_from_json(data["action_space"])
            check_units(action_space, data.get("action_units"))
            # JSON knows no tuples, and episode_steps was there until 11/2026
            settings: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in data["settings"].items()
                if name != "episode_steps"
            }
            policy = cls(
                space_from_json(data["observation_space"]),
                action_space,
                changed(VLSafeConfig(), data["config"]),
                **settings,
            )
            policy.load_state_dict(stored["state_dict"])
            if isinstance(policy.actor_critic.cost_limit, tuple):
                policy.acting_limit = data["acting_limit"]
            return policy.to(get_device(device))

        policy: Self = reading(Path(path), "a policy saved by VLSafePolicy.save", read)
        return policy

    # --- acting -----------------------------------------------------------------------------------

    @property
    def acting_limit(self) -> float:
        """The cost limit of whoever does not ask for one: of a range the lowest, unless set."""
        return self.actor_critic.limits.default

    @acting_limit.setter
    def acting_limit(self, limit: float) -> None:
        self.actor_critic.limits.act_under(limit)

    def predict(
        self,
        observation: Array | dict[str, Array],
        state: RecurrentState | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
        cost_limit: float | Array | None = None,
    ) -> tuple[Array, RecurrentState | None]:
        """Actions for one observation or a batch of N, and the next recurrent state.

        Args:
            state: from the last call; None at the start of an episode.
            episode_start: ``(N,)`` bool; where true, the state is forgotten.
            deterministic: modes of latent and action instead of samples.
            cost_limit: of agents for a range of limits, what an episode may cost: a number, or
                ``(N,)``; None: ``acting_limit``.

        Raises:
            ValueError: if shapes do not fit the observation space or the state, if the observation
                is not finite, or for a limit that the agent was not trained for.
        """
        check_seen(observation)
        self.set_training_mode(False)
        obs, batched = self._to_batch(observation)
        count = len(next(iter(obs.values())))
        first = np.ones(count, bool) if state is None else np.zeros(count, bool)
        if episode_start is not None:
            first |= np.asarray(episode_start, bool).reshape(-1)
        if state is not None and len(state[0]) != count:
            raise ValueError(
                f"predict got {count} observations but a state of {len(state[0])}; "
                "pass state=None when the number of environments changes"
            )
        with torch.no_grad():
            latent, previous = self._to_latent(state, count)
            is_first = torch.as_tensor(first, device=self.device)
            latent = self.world_model.observe_step(latent, previous, obs, is_first, deterministic)
            limits, actor = self.actor_critic.limits, self.actor_critic.actor
            feat = self.world_model.feat(latent)
            feat = limits.seen(feat, limits.asked(cost_limit, count, self.device))
            action = actor.mode(feat) if deterministic else actor.sample(feat)
        next_state = tuple(x.cpu().numpy() for x in (latent.deter, latent.stoch, action))
        env_action = self.world_model.actions.to_env(action.cpu().numpy())
        return (env_action if batched else env_action.squeeze(0)), next_state

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """SB3's stateless hook: the action at the first step of an episode."""
        arrays = (
            {k: v.cpu().numpy() for k, v in observation.items()}
            if isinstance(observation, dict)
            else observation.cpu().numpy()
        )
        return torch.as_tensor(self.predict(arrays, deterministic=deterministic)[0])

    def _to_batch(self, observation: Array | dict[str, Array]) -> tuple[dict[str, Tensor], bool]:
        """Tensors by observation kind, with a batch axis; whether there was one before."""
        if isinstance(observation, tuple):
            raise ValueError(
                "predict got a tuple; with Gymnasium, unpack it first: obs, info = env.reset()"
            )
        if isinstance(self.observation_space, spaces.Dict):
            if not isinstance(observation, dict):
                raise ValueError(f"expected a dict with the keys {sorted(self._spaces)}")
        else:
            assert not isinstance(observation, dict), "expected an array, got a dict"
        tensors, batched = {}, True
        for key, value in self.named(observation).items():
            shape = self._spaces[key].shape
            array = np.asarray(value)
            batched = array.ndim == len(shape) + 1
            array = array if batched else array[None]
            turned = is_image(self._spaces[key]) and len(shape) == 3
            if turned and array.shape[1:] == (shape[2], *shape[:2]) != shape:
                array = array.transpose(0, 2, 3, 1)  # SB3's VecTransposeImage: (N, C, H, W)
            if array.shape[1:] != shape:
                raise ValueError(f"{key} has shape {array.shape[1:]}, the model expects {shape}")
            tensors[key] = torch.as_tensor(np.ascontiguousarray(array), device=self.device)
        return tensors, batched

    def _to_latent(self, state: RecurrentState | None, count: int) -> tuple[RSSMState, Tensor]:
        """Latent state and previous action vector ``(N, A)``."""
        if state is None:
            size = self.world_model.action_size
            previous = torch.zeros(count, size, device=self.device)
            return self.world_model.initial(count, self.device), previous
        deter, stoch, previous = (torch.as_tensor(x, device=self.device) for x in state)
        return RSSMState(deter, stoch), previous


CnnPolicy = VLSafePolicy
MlpPolicy = VLSafePolicy
MultiInputPolicy = VLSafePolicy
