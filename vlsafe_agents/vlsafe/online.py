"""The agent in its environments: how it acts while it learns, what it keeps and what it causes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import safe_mean

from vlsafe_agents.common.checked_steps import CheckedSteps, count_collisions
from vlsafe_agents.common.cost_stream import EpisodeCosts, read_costs
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.common.running import to_arrays
from vlsafe_agents.common.vector_episodes import pick
from vlsafe_agents.vlsafe.gates import OF_RECORDED_DRIVES
from vlsafe_agents.vlsafe.limits import middle
from wrappers.checks import one_number

if TYPE_CHECKING:
    from vlsafe_agents.vlsafe.learning import LearningLoop

_RECENT = 100  # episodes that mean costs and lengths are taken over


def drive_and_learn(
    agent: LearningLoop,
    total_timesteps: int,
    callback: BaseCallback,
    log_interval: int,
    report: ProgressReport,
) -> None:
    """Drive until ``agent.num_timesteps`` is ``total_timesteps``, and update as often as is due.

    Args:
        log_interval: updates between two rows of the log; 0: none.
    """
    collector = agent.collector
    _learn_what_is_due(agent, log_interval)  # a callback may have stopped it before that
    callback.on_rollout_start()
    while agent.num_timesteps < total_timesteps:
        agent._update_current_progress_remaining(agent.num_timesteps, total_timesteps)
        new_obs, rewards, dones, infos = collector.step()
        agent.num_timesteps += len(dones)
        agent._update_info_buffer(infos, dones)
        report.update(agent.num_timesteps, collector.note())
        callback.update_locals(locals())
        if not callback.on_step():
            return
        if collector.updates_due:
            callback.on_rollout_end()
            _learn_what_is_due(agent, log_interval)
            callback.on_rollout_start()
    callback.on_rollout_end()


def _learn_what_is_due(agent: LearningLoop, log_interval: int) -> None:
    while agent.collector.updates_due:
        agent.collector.updates_due -= 1
        agent.train()
        if log_interval and agent._n_updates % log_interval == 0:
            agent.dump_logs()


class Collector:
    """Steps the environments of an agent, keeps what happens, and counts what it costs.

    Args:
        agent: whose ``env``, ``replay_buffer`` and SB3 attributes (``_last_obs``) are used.
    """

    def __init__(self, agent: LearningLoop) -> None:
        self._agent, self._settings = agent, agent.config.online
        self.cost_caused = 0.0  # of all steps that the agent has driven to learn
        self.collisions_caused: int | None = (
            None  # None: none was reported, nor that there was none
        )
        self.lengths: deque[int] = deque(maxlen=_RECENT)  # [steps] of finished episodes
        self._costs = EpisodeCosts(agent.n_envs, _RECENT)
        self.updates_due = 0  # by what was driven so far
        self._owed = 0.0  # and of the next one this part
        self._limit: float | None = None
        self._costs_known = False  # whether the environments report any
        self._seen, self._explored, self._collided = 0, 0, 0  # since the last row of the log
        self._state: Any = None  # of the policy in each episode
        self._running = np.zeros(agent.n_envs, np.int64)  # [steps] of each episode
        # the limit that each episode is driven under, of an agent for a range; None: one for all
        self._limits = np.zeros(agent.n_envs) if isinstance(agent.cost_limit, tuple) else None
        self._kept_limits: list[float | None] = []  # of the episodes that have just ended

    def start(self, afresh: bool) -> None:
        """Get ready to drive; resets the environments if they have to be, or ``afresh``.

        Raises:
            ValueError: where the replay is another number of environments', and for
                ``VecNormalize``.
            KeyError: where the environments do not report what the agent learns from.
        """
        agent = self._agent
        env = agent.env
        assert env is not None
        if agent.get_vec_normalize_env() is not None:
            raise ValueError(
                "VecNormalize changes what it gives as it goes, and a replay outlives that; take "
                "it off: the world model scales its inputs, and advantages their spread"
            )
        actor_critic = agent.policy.actor_critic
        if actor_critic.update == "gated" and actor_critic.source in OF_RECORDED_DRIVES:
            raise ValueError(
                f'safety="{actor_critic.source}" is made of recorded drives; to '
                'learn online choose "score", "reachability" or a number'
            )
        if agent.replay_buffer is None:
            agent.replay_buffer = agent.empty_replay(env.num_envs)
        if agent.replay_buffer.n_envs != env.num_envs:
            raise ValueError(
                f"the replay was filled by {agent.replay_buffer.n_envs} environments side by side, "
                f"and there are {env.num_envs} now; give as many, or drop it: "
                "agent.replay_buffer = None"
            )
        limit = self._settings.explore_cost_limit
        if limit is None and agent.dataset is not None:
            limit = middle(agent.cost_limit)
        self._limit = limit
        if afresh or agent._last_obs is None:
            self._steps = CheckedSteps(env, from_zero=False)
            if afresh:
                self.updates_due = 0
            self._costs = EpisodeCosts(env.num_envs, _RECENT, self._costs.recent)
            self._running = np.zeros(env.num_envs, np.int64)
            with self._steps.explaining():
                agent._last_obs = self._steps.reset()  # type: ignore[assignment]
            agent._last_episode_starts = np.ones(env.num_envs, bool)
            self._state = None
            for slot in range(env.num_envs):
                self._begin(slot, agent._last_obs)

    # --- acting -----------------------------------------------------------------------------------

    def step(self) -> tuple[Any, npt.NDArray[Any], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """One step of every environment, as SB3's ``VecEnv.step`` gives it."""
        agent = self._agent
        actions, explores = self._act()
        observation, rewards, dones, infos = self._steps.step(actions)
        costs = self._read_costs(infos)
        for slot, info in enumerate(infos):
            self._keep(slot, observation, actions, rewards, costs, dones, info)
        self._running += 1
        self._costs.add(costs, dones)
        for slot in np.flatnonzero(dones).tolist():
            self.lengths.append(int(self._running[slot]))
            self._running[slot] = 0
        agent._episode_num += int(dones.sum())
        self._count(costs, dones, infos, explores)
        agent._last_obs = observation  # type: ignore[assignment]
        agent._last_episode_starts = dones
        self._tell_actor_critic()
        self._plan_updates()
        return observation, rewards, dones, infos

    def _act(self) -> tuple[npt.NDArray[Any], bool]:
        """Actions ``(N, ...)``, and whether they explore."""
        agent = self._agent
        if agent._n_updates == 0 and agent.dataset is None:  # nothing is known yet
            space = agent.action_space
            return np.stack([np.asarray(space.sample()) for _ in range(agent.n_envs)]), True
        explores = self.explores
        actions, self._state = agent.policy.predict(
            agent._last_obs,  # type: ignore[arg-type]
            self._state,
            agent._last_episode_starts,
            deterministic=not explores,
            cost_limit=self._limits,
        )
        return actions, explores

    @property
    def explores(self) -> bool:
        """Whether the mean cost of the last episodes lets the agent explore."""
        if self._limit is None or not self._costs.recent:
            return True
        return self._costs.mean(self._settings.explore_episodes) <= self._limit

    # --- keeping ----------------------------------------------------------------------------------

    def _begin(self, slot: int, observation: Any) -> None:
        assert self._agent.replay_buffer is not None
        if self._limits is not None:
            assert isinstance(self._agent.cost_limit, tuple)
            self._limits[slot] = self._agent._sampler.uniform(*self._agent.cost_limit)
        info = self._steps.unwrapped.reset_infos[slot]
        score = self._read_score(slot, info, " of its reset")
        self._agent.replay_buffer.begin(slot, self._seen_in(pick(observation, slot)), score)

    def _keep(
        self,
        slot: int,
        observation: Any,
        actions: npt.NDArray[Any],
        rewards: npt.NDArray[Any],
        costs: npt.NDArray[Any],
        dones: npt.NDArray[np.bool_],
        info: dict[str, Any],
    ) -> None:
        """Put a step into the replay; what an episode ended with, where it ended."""
        assert self._agent.replay_buffer is not None
        over = bool(dones[slot])
        last = info["terminal_observation"] if over else pick(observation, slot)
        self._agent.replay_buffer.add(
            slot,
            self._seen_in(last),
            actions[slot],
            float(rewards[slot]),
            float(costs[slot]),
            self._read_score(slot, info, ""),
            terminated=over and not info.get("TimeLimit.truncated", False),
        )
        if over:
            self._kept_limits.append(None if self._limits is None else float(self._limits[slot]))
            self._begin(slot, observation)

    def _seen_in(self, observation: Any) -> Mapping[str, Any]:
        return self._agent.policy.named(observation)

    def _read_costs(self, infos: list[dict[str, Any]]) -> npt.NDArray[Any]:
        """Costs ``(N,)``; 0 where there are none and none are needed."""
        update = self._agent.policy.actor_critic.update
        self._costs_known = update != "none" or all("cost" in info for info in infos)
        if not self._costs_known:
            return np.zeros(len(infos), np.float32)
        what = f'VLSafe(update="{update}")'
        remedy = "learn blind to cost: safety=None (--safety none)"
        return read_costs(infos, self._steps, what, remedy)

    def _read_score(self, slot: int, info: Mapping[str, Any], when: str) -> float:
        """The frame's safety score; NaN where there is none and none is needed."""
        if "safety_score" in info:
            where = self._steps.where(slot)
            return one_number(info["safety_score"], "info['safety_score']", where, 0.0, 1.0)
        if self._agent.policy.reads_safety_score:
            raise KeyError(
                f"{self._steps.where(slot)}: there is no info['safety_score']{when}; "
                'VLSafe(update="gated", safety="score") needs one of every frame. Wrap the '
                "environment in wrappers.VLMCost, which asks a scorer, or choose "
                'update="lagrangian" (it needs info["cost"] only), or safety=None'
            )
        self._agent.scores_learned = False
        return np.nan

    # --- learning ---------------------------------------------------------------------------------

    def _plan_updates(self) -> None:
        """Count the updates that the last step of all environments makes due."""
        agent, train = self._agent, self._agent.config.train
        assert agent.replay_buffer is not None
        first = 0 if agent.dataset is not None else self._settings.learning_starts
        enough = agent.replay_buffer.num_rows >= min(first, self._settings.buffer_size // 2)
        if not enough or not agent.replay_buffer.holds(train.sequence_length, train.burn_in):
            return
        per_step = self._settings.train_ratio / (train.batch_size * train.sequence_length)
        if agent.train_freq is not None or agent.gradient_steps is not None:
            steps = agent.gradient_steps or 1
            per_step = (1 if steps == -1 else steps / agent.n_envs) / (agent.train_freq or 1)
        self._owed += agent.n_envs * per_step
        due = int(self._owed + 1e-9)
        self._owed -= due
        self.updates_due += due

    def _tell_actor_critic(self) -> None:
        """Costs of the episodes that have just ended, and how long episodes are."""
        agent, actor_critic = self._agent, self._agent.policy.actor_critic
        finished = list(self._costs.recent)[len(self._costs.recent) - self._costs.ended :]
        self._costs.start_rollout()
        if agent.config.multiplier.episode_steps is None:
            steps = self.lengths or [max(int(self._running.max()), 1)]
            actor_critic.episode_steps = float(np.mean(steps))
        if actor_critic.multiplier is not None and agent._n_updates:
            # as measured: dreams are not asked
            limits = self._kept_limits[-len(finished) or None :]
            for cost, limit in zip(finished, limits, strict=True):
                actor_critic.limits.see_episode(actor_critic.multiplier, cost, limit)
        self._kept_limits.clear()

    # --- telling ----------------------------------------------------------------------------------

    def _count(self, costs: Any, dones: Any, infos: list[dict[str, Any]], explores: bool) -> None:
        self.cost_caused += float(costs.sum())
        collisions = count_collisions(dones, infos)
        if collisions is not None:
            self.collisions_caused = (self.collisions_caused or 0) + collisions
            self._collided += collisions
        self._seen += 1
        self._explored += explores

    def note(self) -> str:
        """A few words for the progress report."""
        episodes = self._agent.ep_info_buffer
        if not episodes:
            return ""
        text = f"return {safe_mean([episode['r'] for episode in episodes]):.1f}"
        known = self._costs_known and self._costs.recent
        return f"{text}, cost {self._costs.mean(_RECENT):.1f}" if known else text

    def record(self, logger: Logger) -> None:
        """Note down what has been driven since the last row of the log."""
        agent = self._agent
        if agent.ep_info_buffer:
            for name, key in (("rew", "r"), ("len", "l")):
                mean = safe_mean([episode[key] for episode in agent.ep_info_buffer])
                logger.record(f"rollout/ep_{name}_mean", mean)
        if agent.ep_success_buffer:
            logger.record("rollout/success_rate", safe_mean(agent.ep_success_buffer))
        if self._costs_known:
            if self._costs.recent:
                logger.record("rollout/ep_cost_mean", self._costs.mean(_RECENT))
            logger.record("rollout/cost_caused", self.cost_caused)
        logger.record("rollout/exploring", self._explored / max(self._seen, 1))
        if self.collisions_caused is not None:
            logger.record("rollout/collisions", self._collided)
            logger.record("rollout/collisions_caused", self.collisions_caused)
        logger.record("time/episodes", agent._episode_num, exclude="tensorboard")
        self._seen = self._explored = self._collided = 0

    # --- saving -----------------------------------------------------------------------------------

    def running(self) -> dict[str, Any]:
        """What goes on from one step to the next in the episodes that are under way."""
        replay = self._agent.replay_buffer
        return {
            "state": None if self._state is None else list(self._state),
            "lengths": self._running.copy(),
            "limits": None if self._limits is None else self._limits.copy(),
            "costs": self._costs.state_dict()["running"],
            "logged": [self._seen, self._explored, self._collided],
            "rows": None if replay is None else replay.rows_added.copy(),
        }

    def return_to_episodes(self, running: Mapping[str, Any], steps: list[int]) -> None:
        """Inverse of :meth:`running`, once the environments are in those episodes.

        Args:
            steps: of each episode so far.
        """
        env, state = self._agent.env, to_arrays(running["state"])
        assert env is not None
        self._steps = CheckedSteps(env, from_zero=False)
        self._steps.go_on(steps)
        self._state = None if state is None else tuple(state)
        self._running = to_arrays(running["lengths"])
        if self._limits is not None:
            self._limits = to_arrays(running["limits"])
        self._costs = EpisodeCosts(env.num_envs, _RECENT, self._costs.recent)
        recent = list(self._costs.recent)
        self._costs.load_state_dict({"running": to_arrays(running["costs"]), "recent": recent})
        self._seen, self._explored, self._collided = running["logged"]

    def state(self) -> dict[str, Any]:
        """What a saved agent keeps; plain data."""
        return {
            "cost_caused": self.cost_caused,
            "collisions_caused": self.collisions_caused,
            "lengths": list(self.lengths),
            "costs": list(self._costs.recent),
            "owed": self._owed,
            "updates_due": self.updates_due,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""
        self.cost_caused, self._owed = float(state["cost_caused"]), float(state["owed"])
        self.updates_due = int(state.get("updates_due", 0))  # not in files up to November 2026
        self.collisions_caused = state["collisions_caused"]
        self.lengths.extend(state["lengths"])
        self._costs.recent.extend(state["costs"])
