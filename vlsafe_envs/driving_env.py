"""The driving environment: a traffic simulator seen through Gymnasium's interface."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.actions import make_actions
from vlsafe_envs.checks import (
    Setting,
    check_choice,
    check_flag,
    check_kind,
    check_seed,
    refuse_reset_options,
)
from vlsafe_envs.costs import CostConfig, headway, time_to_collision
from vlsafe_envs.highway_env_traffic import HighwayEnvTraffic, road_shape
from vlsafe_envs.observations import observation_space, vector_observation
from vlsafe_envs.outcomes import Situation, reset_info, step_outcome
from vlsafe_envs.render.frames import FRAME_SIZE, FRAME_SIZES, SceneFrames, frames_on
from vlsafe_envs.rewards import RewardConfig
from vlsafe_envs.scenarios import Scenario, TrafficConfig
from vlsafe_envs.scene import Scene
from vlsafe_envs.traffic import EgoStatus, Traffic
from vlsafe_envs.window import Window

if TYPE_CHECKING:
    from vlsafe_envs.engine import CompiledTraffic

OBSERVATION_KINDS = ("image", "vector", "multi")
RENDER_MODES = ("rgb_array", "human")
ENGINES = ("auto", "compiled", "highway_env")


@functools.cache
def _warn_once(message: str) -> None:
    gym.logger.warn(message)


def compiled_traffic(config: TrafficConfig, engine: str) -> CompiledTraffic | None:
    """The compiled simulator, or ``None`` where highway-env's own is to drive.

    With ``"auto"`` that is where the compiled one cannot simulate ``config``; a Gymnasium warning
    says so once.

    Raises ``ValueError`` for an unknown engine or when ``"compiled"`` cannot simulate ``config``.
    """
    check_choice("engine", engine, ENGINES)
    if engine == "highway_env":
        return None
    try:
        from vlsafe_envs.engine import CompiledTraffic

        return CompiledTraffic(config)
    except (ImportError, NotImplementedError) as error:
        if engine == "compiled":
            raise ValueError(
                f"engine='compiled' cannot simulate this traffic ({error}): "
                "use engine='highway_env'"
            ) from error
        _warn_once(f"no compiled traffic engine ({error}): driving highway-env, slowly")
    return None


def make_traffic(config: TrafficConfig, engine: str) -> Traffic:
    """The simulator that ``engine`` names (see :func:`compiled_traffic`)."""
    traffic = compiled_traffic(config, engine)
    if traffic is not None:
        return traffic
    return HighwayEnvTraffic(config)


class DrivingEnv(gym.Env[Any, Any]):
    """Drive the ego vehicle through traffic.

    An episode terminates on a collision, off the road (unless ``offroad_terminal=False``) or on
    arrival at the goal, and is truncated after ``scenario.duration`` seconds.

    ``info`` has the same keys after ``reset`` and every step:

    - ``cost``, ``env_cost``: the environment's cost of this decision (see ``costs``), >= 0;
    - ``env_cost_rule``: how that is made of the weighted terms: ``"sum"``, here;
    - ``cost_terms``: ``collision``, ``off_road``, ``unsafe_gap``, raw;
    - ``reward_terms``: raw terms (see ``rewards``), all 0 after ``reset``;
    - ``speed`` [m/s]; ``distance`` [m] driven since ``reset``;
    - ``collision``, ``off_road`` (now off the road), ``arrived`` (scenarios with a goal);
    - ``time_to_collision`` [s], ``headway`` [s]: ``np.inf`` when there is none;
    - ``scene``: with ``scene_in_info=True``, ``Scene.pack()``, float32 ``(48, 7)``.

    Args:
        scenario: road, traffic and episode.
        observation: ``"image"``, ``"vector"`` or ``"multi"`` (see ``observations``).
        engine: ``"auto"``, ``"compiled"`` or ``"highway_env"`` (see :func:`make_traffic`).
        rewards: weights of the reward terms.
        costs: weights of the cost terms.
        scene_in_info: whether ``info`` carries the scene.
        offroad_terminal: whether leaving the road ends the episode.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.

    Raises ``ValueError`` for unknown choices and settings of another type.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012
    safety_frame_sizes = FRAME_SIZES  # [px]
    rewards = Setting(RewardConfig)
    costs = Setting(CostConfig)
    offroad_terminal = Setting(bool)

    def __init__(
        self,
        scenario: Scenario,
        observation: str = "image",
        engine: str = "auto",
        rewards: RewardConfig | None = None,
        costs: CostConfig | None = None,
        scene_in_info: bool = False,
        offroad_terminal: bool = True,
        render_mode: str | None = None,
    ) -> None:
        check_kind("scenario", scenario, Scenario, "a Scenario")
        check_choice("observation", observation, OBSERVATION_KINDS)
        check_flag("scene_in_info", scene_in_info)
        if render_mode is not None:
            check_choice("render_mode", render_mode, RENDER_MODES)
        self.scenario = scenario
        self.observation = observation
        self.rewards = rewards
        self.costs = costs
        self.scene_in_info = scene_in_info
        self.offroad_terminal = offroad_terminal
        self.render_mode = render_mode
        frequency = scenario.traffic.policy_frequency
        self.metadata = {"render_modes": list(RENDER_MODES), "render_fps": frequency}
        self.traffic = make_traffic(scenario.traffic, engine)
        self.actions = make_actions(scenario.traffic)
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
        return self._ego_now()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.  Raises ``ValueError`` for bad seeds and options: it has none."""
        refuse_reset_options(options)
        super().reset(seed=check_seed(seed))
        self.traffic.reset(self.np_random)
        self._steps, self._distance = 0, 0.0
        self._scene, self._ego = self.traffic.scene, self.traffic.ego
        info = self._with_scene(reset_info(self, self._situation()))
        if self.render_mode == "human":
            self.render()
        return self._observe(), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for ``1 / policy_frequency`` seconds.  Raises ``ValueError`` for bad actions."""
        before, (x, y) = self._ego_now(), self.scene.position[0]
        self.traffic.step(self.actions.command(action, before))
        self._scene, self._ego = self.traffic.scene, self.traffic.ego
        self._steps += 1
        way_x, way_y = self._scene.position[0] - (x, y)
        self._distance += math.sqrt(way_x * way_x + way_y * way_y)
        reward, terminated, truncated, info = step_outcome(self, before, self._situation())
        if self.render_mode == "human":
            self.render()
        return self._observe(), reward, terminated, truncated, self._with_scene(info)

    def _situation(self) -> Situation:
        ttc, gap = time_to_collision(self.scene), headway(self.scene)
        return Situation(self._ego, self._steps, self._distance, ttc, gap)

    def _with_scene(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "scene": self.scene.pack()} if self.scene_in_info else info

    def _ego_now(self) -> EgoStatus:
        if self._scene is None:
            raise RuntimeError("call reset() before step()")
        return self._ego

    @property
    def _frames(self) -> SceneFrames:
        return frames_on(road_shape(self.scenario.traffic))

    def _observe(self) -> Any:
        if self.observation == "image":
            return self._frames.image(self.scene)
        vector = vector_observation(self.scene, self._ego)
        if self.observation == "vector":
            return vector
        return {"image": self._frames.image(self.scene), "vector": vector}

    def safety_frame(self, size: int = FRAME_SIZE) -> npt.NDArray[np.uint8]:
        """The judge's frame of the present scene, uint8 ``(size, size, 3)``, in every render mode.

        224 px, or 64 for judges that look at the agent's image.  Raises ``ValueError`` for another
        size.
        """
        return self._frames.frame(self.scene, size)

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
        """Close the window, if there is one."""
        self._window.close()
