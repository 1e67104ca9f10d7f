"""What is trained when and on what: the loops of ``learn``, on recorded drives and online."""

from __future__ import annotations

import shutil
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from vlsafe_agents.common.devices import gathered, team_size
from vlsafe_agents.common.driving import EpisodesGoOn
from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.common.running import reading_running, to_arrays
from vlsafe_agents.data.batches import SequenceSource
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.mixture import Mixture
from vlsafe_agents.data.replay import Replay
from vlsafe_agents.data.replay_folder import ReplayFolder
from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.limits import CostLimit
from vlsafe_agents.vlsafe.online import Collector, drive_and_learn
from vlsafe_agents.vlsafe.optimisation import Schedule, torch_threads
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.presets import SMALL_PRESETS, online_config
from wrappers.files import read_npz, write_npz


class LearningLoop(EpisodesGoOn, OfflineAlgorithm):
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
    model_can_learn = True  # or else its decoders are not there
    scores_learned: bool  # whether the world model's data had safety scores
    train_freq: int | None = None
    gradient_steps: int | None = None
    cost_limit: CostLimit
    _sampler: np.random.Generator
    _encoded: EpisodeDataset | None = None  # the data as a resting model's encoder sees them
    _schedule: Schedule | None = None  # of the last call of learn
    _online: bool | None = None  # whether that drove; None before it
    _replay_folder: ReplayFolder | None = None  # beside the last checkpoint

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
        self._online = online
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
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
        if online and not self.model_can_learn:
            raise ValueError(
                "the agent was saved to act and to be shared, without the decoders that its world "
                "model learns by, and online it has to learn; take one that was saved by "
                "save_pretrained(..., learnable=True), or learn from recorded drives"
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
        if self._online:
            self.policy.actor_critic.config = online_config(self.config)
            self.world_model_frozen = False  # or it would never know what is driven now
            if afresh or self._schedule is None:
                self._schedule = Schedule.constant(self._n_updates)
            return
        if updates < 1:
            return
        self.policy.actor_critic.config = self.config
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

    # --- SB3's names of settings, which callbacks read --------------------------------------------

    @property
    def gamma(self) -> float:
        """``config.imagination.gamma``."""
        return self.config.imagination.gamma

    @property
    def batch_size(self) -> int:
        """``config.train.batch_size``: sequences in an update."""
        return self.config.train.batch_size

    @property
    def buffer_size(self) -> int:
        """``config.online.buffer_size``: rows in the replay."""
        return self.config.online.buffer_size

    @property
    def learning_starts(self) -> int:
        """``config.online.learning_starts``: rows that are driven before the first update."""
        return self.config.online.learning_starts

    # --- going on ---------------------------------------------------------------------------------

    def _take_up(self, goes_on: bool) -> None:
        if goes_on and self._online:
            with reading_running():
                self._return_to_episodes()
        super()._take_up(goes_on)

    def _cannot_return(self, running: dict[str, Any]) -> str:
        rows = running["collector"]["rows"]
        here = self.replay_buffer
        if rows is None or (here is not None and np.array_equal(here.rows_added, to_arrays(rows))):
            return ""
        return "its replay is not here as it was (save_replay_buffer, load_replay_buffer)"

    def _take_steps(self, steps: list[int]) -> None:
        assert self._left_off is not None
        self.collector.return_to_episodes(self._left_off["collector"], steps)

    def _running(self) -> dict[str, Any]:
        drives = self._last_obs is not None
        return {**super()._running(), "collector": self.collector.running() if drives else None}

    def _go_on(self, running: dict[str, Any]) -> None:
        # files of earlier versions hold nothing of driving
        nothing = {"num_timesteps": self.num_timesteps, "ep_info": [], "ep_success": []}
        super()._go_on(nothing | running)

    # --- the replay -------------------------------------------------------------------------------

    def save_checkpoint(self, path: Path) -> None:
        """As of the base class; the replay stands beside the file, and grows with each save."""
        folder = path.with_suffix(".replay")
        if self._replay_folder is None or self._replay_folder.path != folder:
            self._replay_folder = ReplayFolder(folder)
        if self.replay_buffer is not None:
            self._replay_folder.save(self.replay_buffer)
        super().save_checkpoint(path)
        if self.replay_buffer is not None:
            self._replay_folder.forget(self.replay_buffer)

    @classmethod
    def load_checkpoint(cls, path: Path, env: GymEnv, device: torch.device | str) -> Self:
        """As of the base class, with the replay."""
        agent = super().load_checkpoint(path, env, device)
        driven = (agent._left_off or {}).get("collector")
        if driven is not None and driven["rows"] is not None:
            end = to_arrays(driven["rows"])
            agent.replay_buffer = agent.empty_replay(len(end))
            agent._replay_folder = ReplayFolder(path.with_suffix(".replay"))
            agent._replay_folder.load(agent.replay_buffer, end)
        return agent

    def remove_checkpoint(self, path: Path) -> None:
        """As of the base class."""
        super().remove_checkpoint(path)
        shutil.rmtree(path.with_suffix(".replay"), ignore_errors=True)

    def empty_replay(self, n_envs: int) -> Replay:
        """Room for what is driven in so many environments side by side."""
        names, capacity = self.policy.observation_kinds, self.config.online.buffer_size
        return Replay(capacity, n_envs, names, self.action_space)

    def save_replay_buffer(self, path: str | PathLike[str] | BinaryIO) -> None:
        """Write what was driven online to a file of arrays; agents are saved without it."""
        replay = self.replay_buffer
        state = (self.empty_replay(self.n_envs) if replay is None else replay).state_dict()
        write_npz(Path(path) if isinstance(path, str | PathLike) else path, state)

    def load_replay_buffer(
        self, path: str | PathLike[str] | BinaryIO, truncate_last_traj: bool = True
    ) -> None:
        """Inverse of :meth:`save_replay_buffer`, for an agent of the same ``buffer_size``.

        Args:
            path: of the file, or the file itself, open to be read.
            truncate_last_traj: as SB3's; running episodes are cut off where the environments
                begin new ones.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is damaged, or another environment's.
        """
        limit = self.config.online.buffer_size * (self.empty_replay(1).row_bytes + 1024)  # [bytes]
        file = Path(path) if isinstance(path, str | PathLike) else path
        state = read_npz(file, "a replay", limit=limit)
        replay = self.empty_replay(max(len(np.atleast_1d(state.get("end", ()))), 1))
        try:
            replay.load_state_dict(state)
        except ValueError as error:
            where = file if isinstance(file, Path) else "the given file"
            raise ValueError(f"{where}: {error}") from error
        self.replay_buffer = replay
