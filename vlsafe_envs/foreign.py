"""highway-env's own environments: what is around the ego vehicle, branches, macro-actions, costs.

``env`` is one of highway-env's (``highway-v0``, ``merge-v0``, ``intersection-v0``, ``racetrack-v0``
and others), which may be wrapped; with several controlled vehicles the first is meant.  Everything
is as in the VLSafe environments: the same rows, units and functions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.action import ContinuousAction, DiscreteAction, DiscreteMetaAction
from highway_env.road.lane import StraightLane
from highway_env.road.road import LaneIndex
from highway_env.utils import lmap
from highway_env.vehicle.controller import ControlledVehicle

from vlsafe_envs.checks import check_choice, shown
from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.observations import ego_observation, observation_space
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulators.highway_env.reading import read_ego, read_scene
from vlsafe_envs.simulators.highway_env.route import Plan as Edges
from vlsafe_envs.simulators.highway_env.route import plan_of, route_ahead
from vlsafe_envs.vehicle_set import vehicle_set

Env = gym.Env[Any, Any]
Plan = TypeVar("Plan")
Result = TypeVar("Result")

SENSED_SPACE = observation_space("vehicles")  # of what :func:`sense` reads
EDGES_AHEAD = 8  # pieces of road that are looked at where there is no route
META_MACROS = {"idle": "IDLE", "go": "FASTER", "hold": "SLOWER"}
STEERING_MACROS = {"keep": 0, "left": -1, "right": 1}  # lanes to the right


def highway_env_of(env: Env) -> AbstractEnv:
    """highway-env's environment inside ``env``.

    Raises:
        ValueError: for another environment.
        RuntimeError: before its first ``reset``.
    """
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, AbstractEnv):
        raise ValueError(
            f"env={shown(env)}: give one of highway-env's environments; for the VLSafe "
            "environments see vlsafe_envs.snapshots and vlsafe_envs.drivers.macros"
        )
    if inner.road is None or inner.vehicle is None:
        raise RuntimeError("reset the environment first: there are no vehicles yet")
    return inner


def sense(env: Env) -> dict[str, npt.NDArray[np.float32]]:
    """What the observation ``"vehicles"`` would show: ``"ego"`` (16,), ``"vehicles"`` (16, 14).

    The plan in the vehicles' rows comes to the largest target speed of the ego vehicle; of one that
    does not control its speed, to the present speed.  It goes along the route; without one along
    the road, as long as that does not fork.  A straight road is no route, here as in the VLSafe
    environments: features 11 to 15 of ``"ego"`` are 0 there.

    Raises:
        ValueError: for an environment that is not highway-env's.
        RuntimeError: before the first ``reset``.
    """
    inner = highway_env_of(env)
    scene = _scene(inner)
    ego = read_ego(inner.road.network, inner.vehicle, arrived=False)
    cruise_speed = float(max(getattr(inner.vehicle, "target_speeds", [ego.speed])))
    return {
        "ego": ego_observation(scene, ego),
        "vehicles": vehicle_set(scene, ego, cruise_speed),
    }


def branches(
    env: Env, plans: Iterable[Plan], read: Callable[[Env, Plan], Result]
) -> Iterator[Result]:
    """Yield ``read(env, plan)`` for each plan, always from the state in which ``env`` is now.

    ``read`` drives a copy of ``env`` with all its wrappers, random generator included; only the
    road is shared, which does not change.  So ``env`` itself stays where it is.

    Raises:
        ValueError: for an environment that is not highway-env's.
        RuntimeError: before the first ``reset``.
    """
    network = highway_env_of(env).road.network
    for plan in plans:
        shared: dict[int, Any] = {id(lane): lane for lane in network.lanes_list()}
        yield read(copy.deepcopy(env, shared | {id(network): network}), plan)


def macro_names(env: Env) -> tuple[str, ...]:
    """The macro-actions of an environment, by its kind of action.

    Meta-actions: ``idle``, ``go`` (FASTER) and ``hold`` (SLOWER), again and again.  Steering, with
    or without a pedal: ``keep`` stays in the present lane at the present speed, ``left`` and
    ``right`` go over to the lane beside it where there is one.

    Raises:
        ValueError: for other actions, and for an environment that is not highway-env's.
    """
    inner = highway_env_of(env)
    if isinstance(inner.action_type, DiscreteMetaAction) and inner.action_type.longitudinal:
        return tuple(META_MACROS)
    if isinstance(inner.action_type, ContinuousAction) and inner.action_type.lateral:
        return tuple(STEERING_MACROS)
    kind = type(inner.action_type).__name__
    raise ValueError(
        f"{kind}: macro-actions are of meta-actions that change the speed, and of steering; give "
        "the environment one of these action types"
    )


def make_macro(name: str, env: Env, rng: np.random.Generator) -> MetaMacro | SteeringMacro:
    """The macro-action ``name``, which begins now; nothing in it is random.

    Raises:
        ValueError: for an unknown name, and as :func:`macro_names`.
    """
    check_choice("macro", name, macro_names(env))
    inner = highway_env_of(env)
    return MetaMacro(inner, name) if name in META_MACROS else SteeringMacro(inner, name)


class MetaMacro:
    """The same meta-action at every decision."""

    def __init__(self, env: AbstractEnv, name: str) -> None:
        self._action = int(env.action_type.actions_indexes[META_MACROS[name]])

    def reset(self) -> None:
        """Begin here."""

    def act(self) -> int:
        """The next action."""
        return self._action


class SteeringMacro:
    """Steers along a lane as highway-env's controlled vehicles do."""

    def __init__(self, env: AbstractEnv, name: str) -> None:
        self._env, self._aside = env, STEERING_MACROS[name]
        self.reset()

    def reset(self) -> None:
        """Begin here."""
        start, end, lane = self._env.vehicle.lane_index
        lanes = len(self._env.road.network.graph[start][end])
        self._target: LaneIndex = (start, end, int(np.clip(lane + self._aside, 0, lanes - 1)))

    def act(self) -> Any:
        """The next action."""
        ego, kind = self._env.vehicle, self._env.action_type
        pilot = ControlledVehicle(
            ego.road, ego.position, ego.heading, ego.speed, target_lane_index=self._target
        )
        pilot.follow_road()
        self._target = pilot.target_lane_index
        steering = lmap(pilot.steering_control(self._target), kind.steering_range, [-1, 1])
        wanted = np.zeros(kind.size, np.float32)  # of a pedal 0
        wanted[-1] = np.clip(steering, -1.0, 1.0)
        return _nearest(kind, wanted) if isinstance(kind, DiscreteAction) else wanted


def _nearest(kind: DiscreteAction, wanted: npt.NDArray[np.float32]) -> int:
    """The number of the action nearest to ``wanted``, in highway-env's order."""
    steps = [round((float(part) + 1.0) / 2.0 * (kind.actions_per_axis - 1)) for part in wanted]
    return int(np.ravel_multi_index(steps, (kind.actions_per_axis,) * kind.size))


class EventCost(gym.Wrapper[Any, Any, Any, Any]):
    """Says in ``info["cost"]`` 1 for a crash, or for leaving the road where that is the end.

    ``info["collision"]``, ``info["time_to_collision"]`` and ``info["headway"]`` [s] are those of
    the VLSafe environments.

    Raises:
        ValueError: for an environment that is not highway-env's.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        highway_env_of(env)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment, at no cost."""
        observation, info = self.env.reset(**kwargs)
        return observation, {**info, **self._facts(False)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment, with the cost of the step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, **self._facts(terminated)}
        return observation, reward, bool(terminated), bool(truncated), info

    def _facts(self, terminated: bool) -> Mapping[str, float]:
        inner = highway_env_of(self.env)
        ego, scene = inner.vehicle, _scene(inner)
        return {
            "cost": float(ego.crashed or (terminated and not ego.on_road)),
            "collision": bool(ego.crashed),
            "time_to_collision": time_to_collision(scene),
            "headway": headway(scene),
        }


class Sensed(EventCost):
    """Shows what :func:`sense` reads in place of the environment's own observation.

    ``last_observation`` is the last of them.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.observation_space = SENSED_SPACE

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment."""
        _, info = super().reset(**kwargs)
        self.last_observation = sense(self.env)
        return self.last_observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment."""
        _, reward, terminated, truncated, info = super().step(action)
        self.last_observation = sense(self.env)
        return self.last_observation, reward, terminated, truncated, info


def _scene(inner: AbstractEnv) -> Scene:
    """Where everything is, with the ego vehicle's way ahead."""
    ego, network = inner.vehicle, inner.road.network
    edges, lane_index = _way_on(inner)
    route = route_ahead(network, edges, lane_index, ego.position)
    return read_scene(inner.road, ego, route)


def _way_on(inner: AbstractEnv) -> tuple[Edges, LaneIndex]:
    """The edges ahead, the present one first or among them, and the lane that is driven on.

    No edges where nothing is planned and the road goes straight on.
    """
    ego, graph = inner.vehicle, inner.road.network.graph
    planned = plan_of(getattr(ego, "route", None))
    for lane_index in (ego.lane_index, getattr(ego, "target_lane_index", ego.lane_index)):
        edge = (lane_index[0], lane_index[1])
        if edge in planned:
            return planned, lane_index
        if planned and planned[0][0] == edge[1]:
            return [edge, *planned], lane_index
    edges = [(ego.lane_index[0], ego.lane_index[1])]
    while len(edges) < EDGES_AHEAD and len(onward := graph.get(edges[-1][1], {})) == 1:
        following = (edges[-1][1], next(iter(onward)))
        if following in edges:
            break
        edges.append(following)
    lanes = [lane for start, end in edges for lane in graph[start][end]]
    if not planned and all(type(lane) is StraightLane for lane in lanes):  # subclasses are not
        return [], ego.lane_index
    return edges, ego.lane_index
