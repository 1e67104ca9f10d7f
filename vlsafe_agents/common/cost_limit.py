"""What agents that drive under a cost limit share: a multiplier, and what driving has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from vlsafe_agents.common.checked_steps import CheckedSteps, count_collisions
from vlsafe_agents.common.cost_stream import EpisodeCosts, read_costs
from vlsafe_agents.common.driving import DrivingAlgorithm
from vlsafe_agents.common.lagrange import make_multiplier
from wrappers.checks import one_number, whole_number


class KeepsLimit(DrivingAlgorithm):
    """Mixin, to be named before SB3's class: sums up costs and moves the multiplier by them.

    The constructor calls :meth:`_take_limit`, ``_setup_model`` :meth:`_setup_limit`; each step in
    the environments is told to :meth:`_count`.
    """

    _blind: ClassVar[str]  # who learns without costs, for messages

    def _take_limit(
        self,
        cost_limit: float,
        lagrange: str,
        lagrange_kwargs: Mapping[str, float] | None,
        cost_window: int,
    ) -> None:
        """Keep what is given of the constraint.

        Raises:
            ValueError: on an unknown multiplier or setting
        """
        self.lagrange_kwargs = dict(lagrange_kwargs or {})
        make_multiplier(lagrange, cost_limit, **self.lagrange_kwargs)  # refuses wrong settings
        self.cost_limit, self.lagrange = cost_limit, lagrange
        self.cost_window = cost_window
        self.collisions_caused: int | None = None
        self._caused_before = 0  # before the present rollout

    def _setup_limit(self) -> None:
        self.multiplier = make_multiplier(self.lagrange, self.cost_limit, **self.lagrange_kwargs)
        self._forget_episodes()

    def _start_counting(self) -> None:
        """Count what ends from now on."""
        self._episode_costs.start_rollout()
        self._caused_before = self.collisions_caused or 0

    def _count(
        self, steps: CheckedSteps, dones: np.ndarray, infos: list[dict[str, Any]]
    ) -> np.ndarray:
        """Count a step of every environment; returns its costs (n_envs,)."""
        costs = read_costs(infos, steps, type(self).__name__, f"use {self._blind}")
        self._episode_costs.add(costs, dones)
        collisions = count_collisions(dones, infos)
        if collisions is not None:
            self.collisions_caused = (self.collisions_caused or 0) + collisions
        return costs

    def _pay(self) -> None:
        """One step of the multiplier, if an episode has ended since :meth:`_start_counting`."""
        if self._episode_costs.ended:
            self.multiplier.update(self._episode_costs.mean(self.cost_window))

    def _forget_episodes(self, recent: Iterable[float] = ()) -> None:
        """Begin to sum up costs anew, with the sums of `recent` finished episodes known."""
        kept = max(self.cost_window, self._stats_window_size)
        self._episode_costs = EpisodeCosts(self.n_envs, kept, recent)

    @property
    def lagrange_multiplier(self) -> float:
        """The current price of one unit of episode cost, in units of return."""
        return self.multiplier.value

    def _begin_episodes(self, afresh: bool) -> None:
        super()._begin_episodes(afresh)
        self._forget_episodes(() if afresh else self._episode_costs.recent)

    def _record_rollout(self) -> None:
        """What the log says of the episodes and collisions since :meth:`_start_counting`."""
        episodes = self._episode_costs
        if episodes.recent:
            self.logger.record("rollout/ep_cost_mean", episodes.mean(self._stats_window_size))
        if self.collisions_caused is not None:
            self.logger.record("rollout/collisions", self.collisions_caused - self._caused_before)
            self.logger.record("rollout/collisions_caused", self.collisions_caused)

    def _state(self) -> dict[str, Any]:
        own = {
            "collisions_caused": self.collisions_caused,
            "episode_costs": list(self._episode_costs.recent),
        }
        return {**super()._state(), **own, "multiplier": self.multiplier.state_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        caused = state["collisions_caused"]
        self.collisions_caused = (
            None if caused is None else whole_number(caused, "collisions_caused")
        )
        self.multiplier.load_state_dict(state["multiplier"])
        sums = state.get("episode_costs", [])  # not in files of before the window
        self._forget_episodes(one_number(cost, "a cost", "episode_costs", low=0.0) for cost in sums)

    def _running(self) -> dict[str, Any]:
        own = {"collisions_caused": self.collisions_caused}
        return {**super()._running(), **own, "episode_costs": self._episode_costs.state_dict()}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self.collisions_caused = running["collisions_caused"]
        costs = running["episode_costs"]
        if running.get("new_episodes"):
            costs = {**costs, "running": np.zeros(self.n_envs)}
        self._episode_costs.load_state_dict(costs)
