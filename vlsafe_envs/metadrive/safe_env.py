"""MetaDrive's safe driving task, with its own reward, cost and ends, seen through our frames."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.checks import (
    check_choice,
    check_flag,
    check_kind,
    check_seed,
    refuse_reset_options,
)
from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.driving_env import OBSERVATION_KINDS, RENDER_MODES
from vlsafe_envs.metadrive.observation import metadrive_space, metadrive_vector, unobserved
from vlsafe_envs.metadrive.world import MetaDriveWorld
from vlsafe_envs.render.frames import FRAME_SIZE, FRAME_SIZES, frames_on
from vlsafe_envs.scene import Scene
from vlsafe_envs.tasks.scenario import TaskScenario, task_actions
from vlsafe_envs.traffic import EgoStatus
from vlsafe_envs.window import Window

CRASH_COSTS = ("step", "event")
FIRST = "first"  # info["env_cost_rule"]: MetaDrive counts the first event of a step
EVENTS = ("crash_vehicle", "crash_object", "out_of_road")
CRASHES = ("crash_vehicle", "crash_object", "crash_building", "crash_human")


class SafeDrivingEnv(gym.Env[Any, Any]):
    """Reach the destination past traffic, cones, barriers and broken-down cars.

    Reward, cost and episode ends are MetaDrive's ``SafeMetaDriveEnv``'s:

    - reward: metres along the road, plus 0.1 times the share of 80 km/h that is driven, at each
      step; instead of it 10 on arrival, -5 off the road and -5 in a crash;
    - cost: 1 at each step off the road or in contact with a vehicle or an object.  A car that is
      stuck on an obstacle pays at every step: ``crash_cost="event"`` counts every contact once;
    - an episode terminates on arrival and off the road, where touching a solid line counts as off
      the road (``solid_lines=False``: it does not); a crash ends it only with
      ``crash_terminal=True``.  It is truncated after ``scenario.duration`` seconds.

    ``info`` has the keys of :class:`~vlsafe_envs.driving_env.DrivingEnv` and MetaDrive's
    ``crash_vehicle``, ``crash_object``, ``out_of_road``, ``arrive_dest`` and ``route_completion``.
    ``cost_terms`` are what the cost is made from, {0, 1} each, of which MetaDrive counts only the
    first (``env_cost_rule`` is ``"first"``); ``reward_terms`` MetaDrive's ``step_reward`` and the
    events that replace it.

    The image shows MetaDrive's objects as it draws them itself: a cone is 0.8 m wide.

    Args:
        scenario: maps, traffic and episode.
        observation: ``"image"``, ``"vector"`` (MetaDrive's own 259 numbers: ego vehicle, navigation
            and lidar) or ``"multi"``.
        crash_cost: ``"step"`` or ``"event"``.
        solid_lines: whether touching a solid line is being off the road.
        crash_terminal: whether a crash ends the episode.
        scene_in_info: whether ``info`` carries the scene.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.

    Raises ``ValueError`` for unknown choices.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012
    safety_frame_sizes = FRAME_SIZES  # [px]

    def __init__(
        self,
        scenario: TaskScenario,
        observation: str = "image",
        crash_cost: str = "step",
        solid_lines: bool = True,
        crash_terminal: bool = False,
        scene_in_info: bool = False,
        render_mode: str | None = None,
    ) -> None:
        check_kind("scenario", scenario, TaskScenario, "a TaskScenario")
        check_choice("observation", observation, OBSERVATION_KINDS)
        check_flag("solid_lines", solid_lines)
        check_flag("crash_terminal", crash_terminal)
        check_flag("scene_in_info", scene_in_info)
        check_choice("crash_cost", crash_cost, CRASH_COSTS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, RENDER_MODES)
        self.scenario = scenario
        self.observation = observation
        self.crash_cost = crash_cost
        self.scene_in_info = scene_in_info
        self.render_mode = render_mode
        self._ends = {
            "on_continuous_line_done": bool(solid_lines),
            "crash_vehicle_done": bool(crash_terminal),
            "crash_object_done": bool(crash_terminal),
        }
        self.world = MetaDriveWorld(scenario.traffic, self._settings)
        self.actions = task_actions(scenario.traffic)
        self.action_space = self.actions.space
        self.observation_space = metadrive_space(observation)
        self._window = Window("VLSafe", scenario.traffic.policy_frequency)
        self._steps, self._distance, self._touching = 0, 0.0, False
        self._scene: Scene | None = None

    def _settings(self) -> dict[str, Any]:
        return {**self._ends, **(unobserved() if self.observation == "image" else {})}

    @property
    def scene(self) -> Scene:
        """Where everything is now.  Raises ``RuntimeError`` before the first ``reset``."""
        if self._scene is None:
            raise RuntimeError("call reset() first: there is no scene yet")
        return self._scene

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""
        if self._scene is None:
            raise RuntimeError("call reset() before step()")
        return self._ego

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode on a map of the range.

        Raises ``ValueError`` for a bad seed and for options, there are none; ``RuntimeError`` when
        another environment of this process has MetaDrive's engine.
        """
        refuse_reset_options(options)
        super().reset(seed=check_seed(seed))
        self.world.reset(self.np_random)
        self._steps, self._distance, self._touching = 0, 0.0, False
        self._scene, self._ego = self.world.scene, self.world.ego
        info = self._info()
        info["reward_terms"] = dict.fromkeys(info["reward_terms"], 0.0)
        if self.render_mode == "human":
            self.render()
        return self._observe(), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for 0.1 s.  Raises ``ValueError`` for bad actions."""
        x, y = self.scene.position[0]
        self.world.step(np.asarray(self.actions.command(action, self.ego), np.float64))
        self._scene, self._ego = self.world.scene, self.world.ego
        self._steps += 1
        now_x, now_y = self._scene.position[0]
        self._distance += math.hypot(now_x - x, now_y - y)
        info = self._info()
        outcome = self.world.outcome
        terminated = bool(outcome.terminated)
        truncated = not terminated and self._steps >= self.scenario.decisions
        if self.render_mode == "human":
            self.render()
        return self._observe(), float(outcome.reward), terminated, truncated, info

    def _cost_terms(self) -> dict[str, float]:
        """MetaDrive's cost by what it is for, of which it counts only the first."""
        theirs = self.world.outcome.info
        terms = {name: 1.0 * bool(theirs[name]) for name in EVENTS}
        first = next((name for name in ("out_of_road", *EVENTS) if terms[name]), None)
        touching = bool(theirs["crash_vehicle"] or theirs["crash_object"])
        counted = first == "out_of_road" or self.crash_cost == "step" or not self._touching
        self._touching = touching
        return {name: 1.0 if name == first and counted else 0.0 for name in EVENTS}

    def _info(self) -> dict[str, Any]:
        theirs = self.world.outcome.info
        terms = self._cost_terms()
        cost = sum(terms.values())
        events = {name: 1.0 * bool(theirs[name]) for name in (*EVENTS, "arrive_dest")}
        info: dict[str, Any] = {
            "cost": cost,
            "env_cost": cost,
            "env_cost_rule": FIRST,
            "cost_terms": terms,
            "reward_terms": {"step_reward": float(theirs["step_reward"]), **events},
            "speed": float(self._ego.speed),
            "distance": self._distance,
            "collision": any(bool(theirs[name]) for name in CRASHES),
            "off_road": bool(theirs["out_of_road"]),
            "arrived": bool(theirs["arrive_dest"]),
            "route_completion": float(theirs["route_completion"]),
            "time_to_collision": float(time_to_collision(self.scene)),
            "headway": float(headway(self.scene)),
            **{name: bool(theirs[name]) for name in (*EVENTS, "arrive_dest")},
        }
        if self.scene_in_info:
            info["scene"] = self.scene.pack()
        return info

    def _observe(self) -> Any:
        if self.observation == "image":
            return frames_on(self.world.road).image(self.scene)
        vector = metadrive_vector(self.world.outcome.observation)
        if self.observation == "vector":
            return vector
        return {"image": frames_on(self.world.road).image(self.scene), "vector": vector}

    def safety_frame(self, size: int = FRAME_SIZE) -> npt.NDArray[np.uint8]:
        """The judge's frame of the present scene, uint8 ``(size, size, 3)``, in every render mode.

        224 px, or 64 for judges that look at the agent's image.  Raises ``ValueError`` for another
        size.
        """
        return frames_on(self.world.road).frame(self.scene, size)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The judge's frame (``"rgb_array"``), or show it in a window (``"human"``)."""
        if self.render_mode is None:
            gym.logger.warn("render() shows nothing: make the environment with a render_mode")
            return None
        frame = self.safety_frame()
        if self.render_mode == "rgb_array":
            return frame
        self._window.show(frame)
        return None

    def close(self) -> None:
        """Close the window, if there is one, and MetaDrive's engine."""
        self._window.close()
        self.world.close()
