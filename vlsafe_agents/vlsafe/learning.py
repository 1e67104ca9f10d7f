"""What is trained when and on what: the loops of ``learn``, on recorded drives and online."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from vlsafe_agents.common.devices import gathered, team_size
from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.data.batches import SequenceSource
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.mixture import Mixture
from vlsafe_agents.data.replay import Replay
from vlsafe_agents.vlsafe.config import SMALL_PRESETS, VLSafeConfig, online_config
from vlsafe_agents.vlsafe.online import Collector, drive_and_learn
from vlsafe_agents.vlsafe.optimisation import Schedule, torch_threads
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from wrappers.files import read_npz, write_npz


class LearningLoop(OfflineAlgorithm):
    """``learn`` of an agent that reads recorded drives, or drives itself."""

    shares_batches = True
    policy: VLSafePolicy
    config: VLSafeConfig
    preset: str
    dataset: EpisodeDataset | None
    collector: Collector
    model_optimizer: LaProp
    actor_critic_optimizer: LaProp
    replay_buffer: Replay | None = None  # what was driven online
    world_model_frozen = False
    scores_learned: bool  # whether the world model's data had safety scores
    train_freq: int | None = None
    gradient_steps: int | None = None
    cost_limit: float
    _encoded: EpisodeDataset | None = None  # the data as a resting model's encoder sees them
    _schedule: Schedule | None = None  # of the last call of learn
    _online: bool | None = None  # whether that drove; None before it

    def train(self) -> None:
        """One update."""
        raise NotImplementedError

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "VLSafe",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        online: bool | None = None,
    ) -> Self:
        """Train for ``total_timesteps`` gradient updates on the data set, or steps of ``env``.

        Without a data set, or with ``online=True``, it drives and learns in turn; a data set then
        stays in the mix (``online.data_share``).  On the data set alone another call starts a fresh
        schedule from the weights as they are (first the world model and the prior, then the
        critics, then the policy again from the prior, each with learning rates from the top); with
        ``reset_num_timesteps=False`` it goes on where the last call was: nothing warms up again,
        and only the end of the schedule moves.

        Args:
            log_interval: updates between two rows of the log.
            online: whether to drive; None: unless there is a data set.

        In a team (:mod:`~vlsafe_agents.common.devices`) its processes share every batch.

        Raises:
            ValueError: where there is nothing to learn from, for a negative number, and for what a
                team cannot share.
            KeyError: if the environment does not report what ``update`` and ``safety`` need.
        """
        online = self._drives(online, reset_num_timesteps)
        self._check_team(online)
        if progress_bar and self.env is None:
            raise ValueError("SB3's progress bar needs an environment: call set_env first")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._online = online
        self._plan(total_timesteps - self.num_timesteps, reset_num_timesteps)
        if online:
            self.collector.start(afresh=reset_num_timesteps)
        callback.on_training_start(locals(), globals())
        unit = "steps" if online else "updates"
        shown = self.verbose > 0 and not progress_bar
        with (
            torch_threads(self._thread_count()),
            ProgressReport(tb_log_name, total_timesteps, unit, enabled=shown) as report,
        ):
            report.update(self.num_timesteps)
            if online:
                drive_and_learn(self, total_timesteps, callback, log_interval, report)
            else:
                self._learn_from_data(total_timesteps, callback, log_interval, report)
        callback.on_training_end()
        return self

    def _drives(self, online: bool | None, afresh: bool) -> bool:
        """Whether a call of :meth:`learn` is to drive."""
        if online is None:
            online = self.dataset is None and self._online is not False
        if not online and self.dataset is None:
            raise ValueError(
                "there is no data set to learn from (saved agents hold none): call set_dataset "
                "first, or learn(n, online=True) to go on in the environment"
            )
        if online and self.env is None:
            raise ValueError("to learn online an environment is needed: call set_env first")
        if not afresh and self._online is not None and online != self._online:
            before, now = ("updates", "steps")[:: 1 if online else -1]
            raise ValueError(
                f"num_timesteps has counted {before} so far and would count {now} now; leave "
                "reset_num_timesteps=False out"
            )
        return online

    def _check_team(self, online: bool) -> None:
        """Whether this can be learned on several devices, where it is to be."""
        size = team_size()
        if size == 1:
            return
        if online:
            raise ValueError(
                "only learning from recorded drives is shared among several devices; start one "
                "process to drive"
            )
        train, imagination = self.config.train, self.config.imagination
        shared = {"train.batch_size": train.batch_size, "imagination.starts": imagination.starts}
        for name, number in shared.items():
            if number % size:
                raise ValueError(
                    f"{name} is {number}, which {size} processes cannot share evenly; choose a "
                    f"multiple of {size}"
                )
        assert self.dataset is not None
        total = sum(float(p.double().sum()) for p in self.policy.parameters())
        facts = [total, self.dataset.num_steps, self.dataset.num_episodes]
        own = torch.tensor([facts], dtype=torch.float64, device=self.device)
        if not (gathered(own) == own).all():
            raise ValueError(
                "the processes do not begin with the same weights and data; give all of them the "
                "same seed and data set"
            )

    def _learn_from_data(
        self, total: int, callback: BaseCallback, log_interval: int, report: ProgressReport
    ) -> None:
        while self.num_timesteps < total:
            self._update_current_progress_remaining(self.num_timesteps, total)
            self.train()
            self.num_timesteps += 1
            report.update(self.num_timesteps)
            callback.update_locals(locals())
            if not callback.on_step():
                return
            if log_interval and self.num_timesteps % log_interval == 0:
                self.dump_logs()

    def _source(self) -> SequenceSource:
        """What this update draws its sequences from."""
        if not self._online:
            return self._data()
        assert self.replay_buffer is not None
        if self.dataset is None:
            return self.replay_buffer
        share = self.config.online.data_share
        return Mixture([self.dataset, self.replay_buffer], [share, 1 - share], exact=True)

    def _data(self) -> EpisodeDataset:
        """Recorded drives, encoded where the model rests and that pays."""
        assert self.dataset is not None
        schedule, train = self.schedule, self.config.train
        rests = self.world_model_frozen or not self.config.model_every
        if not rests or schedule.warming_up(self._n_updates):
            return self.dataset
        if self._encoded is None:
            # a matter of the plan, not of what is left of it: runs that go on decide alike
            updates = schedule.end - max(schedule.begin, schedule.model_until)
            read = updates * train.batch_size * (train.sequence_length + train.burn_in)
            rows = self.dataset.num_steps + self.dataset.num_episodes
            size = self.policy.world_model.observation.embed_size
            pays = read > 2 * rows and rows * size * 4 <= train.encoded_memory * 2**30
            self._encoded = self.policy.encoded(self.dataset) if pays else self.dataset
        return self._encoded

    def _model_learns(self) -> bool:
        """Whether this update trains the world model."""
        if self.schedule.warming_up(self._n_updates):
            return True
        every = self.policy.actor_critic.config.model_every
        return not self.world_model_frozen and every > 0 and self._n_updates % every == 0

    def _plan(self, updates: int, afresh: bool) -> None:
        """What the next ``updates`` train."""
        self._encoded = None
        if updates < 1:
            return
        online = self._online
        self.policy.actor_critic.config = online_config(self.config) if online else self.config
        if online:
            self._schedule = Schedule.constant(self._n_updates)
            return
        if self._schedule is not None and not afresh:
            self._schedule = self._schedule.going_on(self._n_updates + updates)
            return
        share = 0.0 if self.world_model_frozen else self.config.model_warmup
        self._schedule = Schedule.fresh(self._n_updates, updates, share, self.config.critic_warmup)

    @property
    def schedule(self) -> Schedule:
        """What is trained when.

        Raises:
            ValueError: before the first call of :meth:`learn`.
        """
        if self._schedule is None:
            raise ValueError("there is no schedule before the first call of learn()")
        return self._schedule

    def _rates(self) -> tuple[tuple[LaProp, float], ...]:
        """Optimisers with their full learning rates."""
        return (
            (self.model_optimizer, self.config.train.learning_rate),
            (self.actor_critic_optimizer, self.config.network.learning_rate),
        )

    @property
    def _speed(self) -> str:  # type: ignore[override]
        return "fps" if self._online else "updates_per_second"

    def dump_logs(self) -> None:
        """Write one row of the log: means since the last one."""
        if self._online:
            self.collector.record(self.logger)
        super().dump_logs()

    def _thread_count(self) -> int | None:
        """One while a small preset learns on a CPU: more only slow tiny kernels."""
        small = self.device.type == "cpu" and self.preset in SMALL_PRESETS
        return self.config.torch_threads or (1 if small else None)

    # --- the replay -------------------------------------------------------------------------------

    def save_replay_buffer(self, path: str | Path) -> None:
        """Write what was driven online to a file of arrays; agents are saved without it.

        Raises:
            ValueError: before anything was driven.
        """
        if self.replay_buffer is None:
            raise ValueError("there is no replay before learn() has driven")
        write_npz(Path(path), self.replay_buffer.state_dict())

    def load_replay_buffer(self, path: str | Path, truncate_last_traj: bool = True) -> None:
        """Inverse of :meth:`save_replay_buffer`, for an agent of the same ``buffer_size``.

        Args:
            truncate_last_traj: as SB3's; running episodes are always cut off, because the
                environments begin new ones.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is damaged, or another environment's.
        """
        names = self.policy.observation_kinds
        capacity = self.config.online.buffer_size
        row = sum(np.prod(box.shape) * np.dtype(box.dtype).itemsize for box in names.values())
        limit = int(capacity * (row + 1024))  # [bytes]
        state = read_npz(Path(path), "a replay", limit=limit)
        envs = len(np.atleast_1d(state.get("end", ())))
        replay = Replay(capacity, max(envs, 1), names, self.action_space)
        try:
            replay.load_state_dict(state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self.replay_buffer = replay
