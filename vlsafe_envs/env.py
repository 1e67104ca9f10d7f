"""The environment: a simulator and a task behind Gymnasium's interface."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.actions import make_actions
from vlsafe_envs.checks import (
    check_choice,
    check_flag,
    check_kind,
    check_seed,
    refuse_reset_options,
    shown,
)
from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.observations import (
    CROSSING_FEATURES,
    FEATURES,
    OBSERVATION_KINDS,
    VectorKind,
    ego_observation,
    make_observation,
    observation_space,
)
from vlsafe_envs.render.frames import FRAME_SIZE, FRAME_SIZES, SceneFrames, frames_on
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus, Simulator
from vlsafe_envs.state import State
from vlsafe_envs.task import Moment, Task, make_info, out_of_time
from vlsafe_envs.vehicle_set import vehicle_set
from vlsafe_envs.way_set import way_set
from vlsafe_envs.window import Window

RENDER_MODES = ("rgb_array", "human")


def driving_env(env: Any, what: str) -> DrivingEnv:
    """The environment of ours inside ``env``, which ``what`` needs.

    Raises:
        ValueError: for another environment.
    """
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, DrivingEnv):
        raise ValueError(f"env={shown(env)}: {what} need one of the VLSafe environments")
    return inner


def vehicles_seen(env: Any) -> dict[str, npt.NDArray[np.float32]]:
    """The observation ``"vehicles"`` of an environment of ours, whatever its own observation is.

    Args:
        env: which may be wrapped, and has been reset.

    Raises:
        ValueError: for another environment.
    """
    seen: dict[str, npt.NDArray[np.float32]] = driving_env(env, "sets of vehicles").observe(
        "vehicles"
    )
    return seen


def ways_seen(env: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Likewise the observation ``"ways"``, on roads with a route.

    Raises:
        ValueError: for another environment.
    """
    seen: dict[str, npt.NDArray[np.float32]] = driving_env(env, "ways of vehicles").observe("ways")
    return seen


def draw_density(scenario: Scenario, rng: np.random.Generator) -> float | None:
    """The traffic density of an episode that is about to begin; None where all have the same."""
    if scenario.density_range is None:
        return None
    return float(rng.uniform(*scenario.density_range))


class OfTask:
    """An attribute of the environment that is its task's, where the task has it."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, env: Any, owner: type[Any] | None = None) -> Any:
        return getattr(env.task, self._name)

    def __set__(self, env: Any, value: Any) -> None:
        getattr(env.task, self._name)  # raises where the task has none
        setattr(env.task, self._name, value)


class DrivingEnv(gym.Env[Any, Any]):
    """Drive the ego vehicle through traffic.

    Reward, cost and the end of an episode are the task's; an episode that it does not end is
    truncated after ``scenario.duration`` seconds.

    ``info`` has the same keys after ``reset`` and every step:

    - ``cost``, ``env_cost``: the environment's cost of this decision, >= 0;
    - ``env_cost_rule``: how it is made of the weighted terms, see ``costs.total_cost``;
    - ``cost_terms``: raw terms of the cost, see the task;
    - ``reward_terms``: raw terms of the reward, see the task; all 0 after ``reset``;
    - ``speed`` [m/s]; ``distance`` [m] driven since ``reset``;
    - ``collision``, ``off_road`` (now off the road), ``arrived`` (where there is a goal), and what
      else the task adds;
    - ``time_to_collision`` [s], ``headway`` [s]: ``np.inf`` when there is none;
    - ``density``: where it is drawn anew for each episode, this one's;
    - ``scene``: with ``scene_in_info=True``, ``Scene.pack()``, float32 ``(48, 7)``.

    Args:
        scenario: traffic and the frame around an episode.
        simulator: drives ``scenario.traffic``.
        task: reward, cost and ends.
        observation: ``"image"``, ``"vector"``, ``"multi"`` (both), ``"vehicles"`` (the ego
            vehicle's features and the vehicles around it as a set), ``"ways"`` (also the ways that
            they may take, on roads with a route) or ``"all"``, see ``observations``.
        scene_in_info: whether ``info`` carries the scene.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.
        vector: what the vector observation holds; ``None``: the features of the road's kind.

    Raises:
        ValueError: for unknown choices and arguments of another type.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012
    safety_frame_sizes = FRAME_SIZES  # [px]
    rewards = OfTask()
    costs = OfTask()
    rules = OfTask()
    offroad_terminal = OfTask()
    crash_cost = OfTask()

    def __init__(
        self,
        scenario: Scenario,
        simulator: Simulator,
        task: Task,
        observation: str = "image",
        scene_in_info: bool = False,
        render_mode: str | None = None,
        vector: VectorKind | None = None,
    ) -> None:
        check_kind("scenario", scenario, Scenario, "a Scenario")
        check_choice("observation", observation, OBSERVATION_KINDS)
        self._check_ways(scenario, observation)
        check_flag("scene_in_info", scene_in_info)
        if render_mode is not None:
            check_choice("render_mode", render_mode, RENDER_MODES)
        self.scenario = scenario
        self.simulator = simulator
        self.task = task
        self.observation = observation
        self.scene_in_info = scene_in_info
        self.render_mode = render_mode
        frequency = scenario.traffic.policy_frequency
        self.metadata = {"render_modes": list(RENDER_MODES), "render_fps": frequency}
        self.actions = make_actions(scenario.traffic)
        self.action_space = self.actions.space
        if vector is None:
            vector = CROSSING_FEATURES if scenario.row.crossing else FEATURES
        self.observation_space = observation_space(observation, vector)
        self.vector = vector
        self._window = Window("VLSafe", frequency)
        self._steps, self._distance = 0, 0.0
        self._density: float | None = None
        self._scene: Scene | None = None

    @property
    def scene(self) -> Scene:
        """Where everything is now.

        Raises:
            RuntimeError: before the first ``reset``.
        """
        if self._scene is None:
            raise RuntimeError("call reset() first: there is no scene yet")
        return self._scene

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now.

        Raises:
            RuntimeError: before the first ``reset``.
        """
        if self._scene is None:
            raise RuntimeError("call reset() before step()")
        return self._ego

    @property
    def frames(self) -> SceneFrames:
        """What draws scenes on the road of this episode."""
        return frames_on(self.simulator.road)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Raises:
            ValueError: for bad seeds and for options, of which there are none.
            RuntimeError: when another environment of this process has MetaDrive's engine.
        """
        refuse_reset_options(options)
        super().reset(seed=check_seed(seed))
        self._density = draw_density(self.scenario, self.np_random)
        own = () if self._density is None else (self._density,)
        self.simulator.reset(self.np_random, *own)
        self._steps, self._distance = 0, 0.0
        now = self._arrive()
        info = make_info(self.task, now, self.task.reset(self.simulator, now), begins=True)
        return self.observe(), self._complete(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for ``1 / policy_frequency`` seconds.

        Raises:
            ValueError: for bad actions.
        """
        before, (x, y) = self.ego, self.scene.position[0]
        self.simulator.step(self.actions.command(action, before))
        self._steps += 1
        now = self._arrive(x, y)
        outcome = self.task.step(self.simulator, before, now)
        info = self._complete(make_info(self.task, now, outcome))
        terminated = outcome.terminated
        truncated = out_of_time(self.task, now, terminated)
        return self.observe(), outcome.reward, terminated, truncated, info

    def _arrive(self, *came_from: float) -> Moment:
        """Look at the simulator, and count the way from a point (x, y) [m]."""
        scene = self._scene = self.simulator.scene
        self._ego = self.simulator.ego
        if came_from:
            (x, y), (from_x, from_y) = scene.position[0], came_from
            way_x, way_y = x - from_x, y - from_y
            self._distance += math.sqrt(way_x * way_x + way_y * way_y)
        gaps = time_to_collision(scene), headway(scene)
        return Moment(self._ego, self._steps, self._distance, *gaps, scene)

    def _complete(self, info: dict[str, Any]) -> dict[str, Any]:
        if self._density is not None:
            info["density"] = self._density
        if self.scene_in_info:
            info["scene"] = self.scene.pack()
        if self.render_mode == "human":
            self.render()
        return info

    @property
    def configuration(self) -> tuple[Any, ...]:
        """All that two environments must have in common to exchange what :meth:`save` returns."""
        return type(self.simulator).__name__, self.scenario, *self.task.settings

    def save(self) -> State:
        """Where the episode is; wrapped environments: see ``snapshots``.

        Raises:
            RuntimeError: before the first ``reset``.
            NotImplementedError: where the simulator's state cannot be copied.
        """
        return {
            "simulator": self.simulator.save(),
            "task": self.task.save(),
            "generator": self.np_random.bit_generator.state,
            "steps": self._steps,
            "distance": self._distance,
            "density": self._density,
            "scene": self.scene,
            "ego": self.ego,
        }

    def restore(self, state: State) -> None:
        """Inverse of :meth:`save`, for an environment of the same :attr:`configuration`."""
        self.np_random.bit_generator.state = state["generator"]
        self.simulator.restore(state["simulator"], self.np_random)
        self.task.restore(state["task"])
        self._steps, self._distance = state["steps"], state["distance"]
        self._density = state["density"]
        self._scene, self._ego = state["scene"], state["ego"]

    def observe(self, kind: str | None = None) -> Any:
        """The observation of the present state.

        Args:
            kind: one of ``OBSERVATION_KINDS``, whatever ``step`` returns; None: the same as that.

        Raises:
            ValueError: for an unknown kind.
            RuntimeError: before the first ``reset``.
        """
        if kind is not None:
            check_choice("kind", kind, OBSERVATION_KINDS)
            self._check_ways(self.scenario, kind)
        scene, ego = self.scene, self.ego
        simulator: Any = self.simulator
        read = {
            "image": lambda: self.frames.image(scene),
            "vector": lambda: self.vector.read(simulator, scene, ego),
            "ego": lambda: ego_observation(scene, ego),
            "vehicles": lambda: vehicle_set(scene, ego, self.scenario.cruise_speed),
            "ways": lambda: way_set(simulator, scene, self.scenario.cruise_speed),
        }
        return make_observation(self.observation if kind is None else kind, read)

    @staticmethod
    def _check_ways(scenario: Scenario, kind: str) -> None:
        """Raise ``ValueError`` where ways are to be seen that the road does not know."""
        if kind == "ways" and not scenario.row.knows_ways:
            raise ValueError(
                f"observation {kind!r}: {scenario.row.env_id} does not know which ways the others "
                'may take, only roads with a route do; choose "vehicles"'
            )

    def safety_frame(self, size: int = FRAME_SIZE) -> npt.NDArray[np.uint8]:
        """The scorer's frame of the present scene, uint8 ``(size, size, 3)``, in every render mode.

        224 px, or 64 for scorers that look at the agent's image.

        Raises:
            ValueError: for another size.
        """
        return self.frames.frame(self.scene, size)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The scorer's frame (``"rgb_array"``), or show it in a window (``"human"``)."""
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
        self.simulator.close()
