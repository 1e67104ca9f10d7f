"""The environment of the paper's tasks: follow a route through traffic."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.checks import (
    Setting,
    check_choice,
    check_flag,
    check_kind,
    check_seed,
    refuse_reset_options,
)
from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.driving_env import OBSERVATION_KINDS, RENDER_MODES
from vlsafe_envs.observations import observation_space, vector_observation
from vlsafe_envs.render.frames import FRAME_SIZE, FRAME_SIZES, frames_on
from vlsafe_envs.scene import Scene
from vlsafe_envs.tasks.progress import Place, RouteProgress
from vlsafe_envs.tasks.rules import (
    LARGEST,
    TaskCosts,
    TaskRewards,
    TaskRules,
    Verdict,
    cost_terms,
    judge,
    largest_cost,
    reward_terms,
    weighted_reward,
)
from vlsafe_envs.tasks.scenario import TaskScenario, task_actions
from vlsafe_envs.tasks.world import World
from vlsafe_envs.traffic import EgoStatus
from vlsafe_envs.window import Window


class TaskEnv(gym.Env[Any, Any]):
    """Drive the ego vehicle along its route.

    An episode terminates on a collision, more than 3 m from the route, or on arrival at its end,
    and is truncated after ``scenario.duration`` seconds.  Reward and cost: see
    :mod:`~vlsafe_envs.tasks.rules`.

    ``info`` has the keys of :class:`~vlsafe_envs.driving_env.DrivingEnv`, with the terms of this
    task's reward and cost, and

    - ``env_cost_rule``: ``"largest"``, the cost is the largest weighted term, not their sum;
    - ``off_route``: farther from the route than allowed;
    - ``out_of_lane``: the bound of the reward's lane term is exceeded;
    - ``waypoints_completed``: since ``reset``; ``route_completion``: share of waypoints behind.

    ``off_road`` says whether the ego vehicle is beside all lanes; that alone ends no episode.

    Args:
        world: who simulates.
        scenario: the task.
        observation: ``"image"``, ``"vector"`` or ``"multi"`` (see ``observations``).
        rewards: weights of the reward terms.
        costs: weights of the cost terms.
        rules: waypoints and episode ends.
        scene_in_info: whether ``info`` carries the scene.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.

    Raises ``ValueError`` for unknown choices and settings of another type.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012
    safety_frame_sizes = FRAME_SIZES  # [px]
    rewards = Setting(TaskRewards)
    costs = Setting(TaskCosts)
    rules = Setting(TaskRules)

    def __init__(
        self,
        world: World,
        scenario: TaskScenario,
        observation: str = "image",
        rewards: TaskRewards | None = None,
        costs: TaskCosts | None = None,
        rules: TaskRules | None = None,
        scene_in_info: bool = False,
        render_mode: str | None = None,
    ) -> None:
        check_kind("scenario", scenario, TaskScenario, "a TaskScenario")
        check_choice("observation", observation, OBSERVATION_KINDS)
        check_flag("scene_in_info", scene_in_info)
        if render_mode is not None:
            check_choice("render_mode", render_mode, RENDER_MODES)
        self.world = world
        self.scenario = scenario
        self.observation = observation
        self.rewards = rewards
        self.costs = costs
        self.rules = rules
        self.scene_in_info = scene_in_info
        self.render_mode = render_mode
        frequency = scenario.traffic.policy_frequency
        self.metadata = {"render_modes": list(RENDER_MODES), "render_fps": frequency}
        self.actions = task_actions(scenario.traffic)
        self.action_space = self.actions.space
        self.observation_space = observation_space(observation)
        self._window = Window("VLSafe", frequency)
        self._steps = 0
        self._distance = 0.0
        self._scene: Scene | None = None

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

    @property
    def progress(self) -> RouteProgress:
        """The route and how far along it the ego vehicle is."""
        if self._scene is None:
            raise RuntimeError("call reset() first: there is no route yet")
        return self._progress

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.  Raises ``ValueError`` for bad seeds and options: it has none."""
        refuse_reset_options(options)
        super().reset(seed=check_seed(seed))
        self.world.reset(self.np_random)
        self._steps, self._distance = 0, 0.0
        self._scene, self._ego = self.world.scene, self.world.ego
        self._progress = RouteProgress(self.world.waypoints, self.rules.reach, self.rules.visible)
        self._progress.advance(*self._scene.position[0])
        self._progress.completed = 0  # what lies under the wheels at the start was not driven to
        _, terms, info = self._outcome(0)
        info["reward_terms"] = dict.fromkeys(terms, 0.0)
        if self.render_mode == "human":
            self.render()
        return self._observe(), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for ``1 / policy_frequency`` seconds.  Raises ``ValueError`` for bad actions."""
        x, y = self.scene.position[0]
        self.world.step(np.asarray(self.actions.command(action, self.ego), np.float64))
        self._scene, self._ego = self.world.scene, self.world.ego
        self._steps += 1
        now_x, now_y = self._scene.position[0]
        self._distance += math.hypot(now_x - x, now_y - y)
        completed = self._progress.advance(now_x, now_y)
        verdict, terms, info = self._outcome(completed)
        terminated = verdict.collision or verdict.off_route or verdict.arrived
        truncated = not terminated and self._steps >= self.scenario.decisions
        if self.render_mode == "human":
            self.render()
        reward = weighted_reward(terms, self.rewards)
        return self._observe(), reward, terminated, truncated, info

    def _outcome(self, completed: int) -> tuple[Verdict, dict[str, float], dict[str, Any]]:
        """The verdict on this moment, the reward's terms and ``info``."""
        ego, place = self._ego, self.place
        verdict = judge(ego, place, self.rules, self.scenario.has_goal)
        terms = reward_terms(ego, place, completed, verdict, self.rewards.desired_speed)
        ttc, gap = time_to_collision(self.scene), headway(self.scene)
        costs = cost_terms(verdict, ttc, gap)
        cost = largest_cost(costs, self.costs)
        info: dict[str, Any] = {
            "cost": cost,
            "env_cost": cost,
            "env_cost_rule": LARGEST,
            "cost_terms": costs,
            "reward_terms": terms,
            "speed": float(ego.speed),
            "distance": self._distance,
            "collision": verdict.collision,
            "off_road": not ego.on_road,
            "off_route": verdict.off_route,
            "out_of_lane": verdict.out_of_lane > 0.0,
            "waypoints_completed": self._progress.completed,
            "route_completion": self._progress.share,
            "time_to_collision": float(ttc),
            "headway": float(gap),
        }
        if self.scenario.has_goal:
            info["arrived"] = verdict.arrived
        if self.scene_in_info:
            info["scene"] = self.scene.pack()
        return verdict, terms, info

    @property
    def place(self) -> Place:
        """Where the ego vehicle is relative to its next waypoint."""
        x, y = self.scene.position[0]
        return self._progress.place(x, y, float(self.scene.heading[0]))

    def _observe(self) -> Any:
        if self.observation == "image":
            return frames_on(self.world.road).image(self.scene)
        if self.observation == "vector":
            return self._vector()
        return {"image": frames_on(self.world.road).image(self.scene), "vector": self._vector()}

    def _vector(self) -> npt.NDArray[np.float32]:
        return vector_observation(self.scene, self._ego)

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
        """Close the window, if there is one, and the simulator."""
        self._window.close()
        self.world.close()
