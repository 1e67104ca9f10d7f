"""One row per algorithm: all that commands, training, evaluation and reports know of it.

A new algorithm is a folder with its class and one :class:`AlgorithmSpec` in ``ALGORITHMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlsafe_agents import algorithm_arguments

if TYPE_CHECKING:
    from vlsafe_agents.training.settings import TrainSettings

Stored = Mapping[str, Any]  # what settings.json holds; it may be anybody's


@dataclass(frozen=True)
class AlgorithmSpec:
    """An algorithm as the rest of the package sees it.

    Args:
        name: on the command line and in ``settings.json``.
        label: in tables and figures.
        home: ``"module:Class"``, imported when it is needed.
        offline: whether it learns from recorded drives, at a gradient update a timestep, unless
            ``online`` is among what it reads and set: then it drives.
        reads: settings that it reads beyond those that all do; others are refused.
        reads_online: those that it reads only where ``online`` is set.
        reads_offline: those that it reads only where it is not.
        arguments: the constructor's arguments made of settings, without ``seed`` and ``device``.
        nested_config: whether the constructor takes ``config`` as one nested argument.
        presets: names of its presets, the default first.
        cost_limit: the limit that a preset stands for; "" is none, of rows without presets.
        many_limits: whether it may be given a range of limits, ``"0.5:2"``.
        switched_off: of given settings, those that others leave without effect, each with the
            option that does so.
        gradient_steps: how many updates a model has made.
        examine: ``"module:function"`` of ``(model, held-out episodes, folder)``, called after
            training; returns facts for ``training.json``.  Some episodes are then held out.
        role: key and label of an agent with these stored settings, where they say more than
            ``label``.
        roles: keys that ``role`` may return, in the order of rows of a table.
    """

    name: str
    label: str
    home: str
    offline: bool
    reads: tuple[str, ...]
    reads_online: tuple[str, ...] = ()
    reads_offline: tuple[str, ...] = ()
    arguments: Callable[[TrainSettings], dict[str, Any]] = algorithm_arguments.own_settings
    nested_config: bool = False
    presets: tuple[str, ...] = ()
    cost_limit: Callable[[str], float] | None = None
    many_limits: bool = False
    switched_off: Callable[[Mapping[str, Any]], dict[str, str]] = lambda given: {}
    gradient_steps: Callable[[Any], int] = lambda model: int(model.num_timesteps)
    examine: str | None = None
    role: Callable[[Stored], tuple[str, str]] | None = None
    roles: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        """Name of its class."""
        return self.home.partition(":")[2]

    def read_by(self, online: bool | None) -> tuple[str, ...]:
        """All settings that it reads beyond those that all do, driving or from recorded drives."""
        return (*self.reads, *(self.reads_online if online else self.reads_offline))

    def load_class(self) -> Any:
        """Its class, a Stable-Baselines3 algorithm."""
        return load_object(self.home)


def load_object(home: str) -> Any:
    """What ``"module:name"`` names."""
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


# --- VLSafe ---------------------------------------------------------------------------------------


def _vlsafe_switched_off(given: Mapping[str, Any]) -> dict[str, str]:
    if given.get("safety") == "none":
        return dict.fromkeys(("update", "cost_limit"), "--safety none")
    if given.get("update") == "none":
        return dict.fromkeys(("safety", "cost_limit"), "--update none")
    return {"safety": "--update lagrangian"} if given.get("update") == "lagrangian" else {}


def _vlsafe_role(stored: Stored) -> tuple[str, str]:
    options, config = (stored.get(key) or {} for key in ("options", "config"))
    if not (isinstance(options, Mapping) and isinstance(config, Mapping)):
        return "vlsafe", "VLSafe"
    if config.get("model_warmup") == 1.0:
        return "world_model", "World model only"
    update, safety = options.get("update"), options.get("safety", "score")
    if safety is None or update == "none":
        return "cost_blind", "Cost-blind"
    names = {"gated": "VLSafe gated", "lagrangian": "VLSafe Lagrangian"}
    label = names.get(str(update), "VLSafe") + (", online" if stored.get("online") else "")
    if isinstance(limit := stored.get("cost_limit"), str):
        label += f", any limit in {limit}"
    return (
        ("vlsafe", label)
        if safety in ("score", "recorded")
        else ("control", f"{label}, p = {safety}")
    )


# --- the baselines --------------------------------------------------------------------------------

COST_LIMIT = 1.0  # of an episode, where no preset says otherwise


def _stacking_role(name: str, label: str) -> Callable[[Stored], tuple[str, str]]:
    """Of an agent that may see several frames at once; the label says how many."""

    def role(stored: Stored) -> tuple[str, str]:
        frames = stored.get("frame_stack")
        several = isinstance(frames, int) and frames > 1
        return name, f"{label}, {frames} frames" if several else label

    return role


def _ppo_lag_limit(name: str) -> float:
    from vlsafe_agents.ppo_lag.presets import preset

    return float(preset(name)["cost_limit"])


# --- the rows, in the order in which tables show them ---------------------------------------------

_LIMITED = ("data", "cost", "cost_limit", "scorer", "envs", "frame_stack", "reward_scale")
_LAGRANGIAN = (*_LIMITED, "preset")
_BLIND = ("data", "envs", "frame_stack", "reward_scale")
_ROWS = (
    AlgorithmSpec(
        name="bc",
        label="Behaviour cloning",
        home="vlsafe_agents.bc:BC",
        offline=True,
        reads=("data", "frame_stack"),
        arguments=algorithm_arguments.stacking_arguments,
        role=_stacking_role("bc", "Behaviour cloning"),
    ),
    AlgorithmSpec(
        name="bc_safe",
        label="BC-Safe",
        home="vlsafe_agents.bc:BC",
        offline=True,
        reads=("data", "cost", "cost_limit", "frame_stack"),
        arguments=algorithm_arguments.limited_arguments,
        cost_limit=lambda preset: COST_LIMIT,
        role=_stacking_role("bc_safe", "BC-Safe"),
    ),
    AlgorithmSpec(
        name="iql",
        label="IQL",
        home="vlsafe_agents.iql:IQL",
        offline=True,
        reads=("data", "frame_stack"),
        arguments=algorithm_arguments.stacking_arguments,
        role=_stacking_role("iql", "IQL"),
    ),
    AlgorithmSpec(
        name="cql",
        label="CQL",
        home="vlsafe_agents.cql:CQL",
        offline=True,
        reads=("data", "frame_stack"),
        arguments=algorithm_arguments.stacking_arguments,
        role=_stacking_role("cql", "CQL"),
    ),
    AlgorithmSpec(
        name="cpq",
        label="CPQ",
        home="vlsafe_agents.cpq:CPQ",
        offline=True,
        reads=("data", "cost", "cost_limit", "frame_stack"),
        arguments=algorithm_arguments.limited_arguments,
        cost_limit=lambda preset: COST_LIMIT,
        role=_stacking_role("cpq", "CPQ"),
    ),
    AlgorithmSpec(
        name="coptidice",
        label="COptiDICE",
        home="vlsafe_agents.coptidice:COptiDICE",
        offline=True,
        reads=("data", "cost", "cost_limit", "frame_stack"),
        arguments=algorithm_arguments.limited_arguments,
        cost_limit=lambda preset: COST_LIMIT,
        role=_stacking_role("coptidice", "COptiDICE"),
    ),
    AlgorithmSpec(
        name="cdt",
        label="CDT",
        home="vlsafe_agents.cdt:CDT",
        offline=True,
        reads=("data", "cost", "cost_limit"),
        arguments=algorithm_arguments.limit_arguments,
        cost_limit=lambda preset: COST_LIMIT,
    ),
    AlgorithmSpec(
        name="ppo_lag",
        label="PPO-Lag",
        home="vlsafe_agents.ppo_lag:PPOLag",
        offline=False,
        reads=_LAGRANGIAN,
        arguments=algorithm_arguments.ppo_lag_arguments,
        presets=("highway", "route"),
        cost_limit=_ppo_lag_limit,
        gradient_steps=algorithm_arguments.ppo_updates,
        role=_stacking_role("ppo_lag", "PPO-Lag"),
    ),
    AlgorithmSpec(
        name="trpo_lag",
        label="TRPO-Lag",
        home="vlsafe_agents.trpo_lag:TRPOLag",
        offline=False,
        reads=_LAGRANGIAN,
        arguments=algorithm_arguments.trpo_lag_arguments,
        presets=("highway", "route"),
        cost_limit=_ppo_lag_limit,
        gradient_steps=algorithm_arguments.trpo_updates,
        role=_stacking_role("trpo_lag", "TRPO-Lag"),
    ),
    AlgorithmSpec(
        name="recurrent_ppo_lag",
        label="Recurrent PPO-Lag",
        home="vlsafe_agents.ppo_lag.recurrent:RecurrentPPOLag",
        offline=False,
        reads=("data", "cost", "cost_limit", "scorer", "envs", "reward_scale", "preset"),
        arguments=algorithm_arguments.recurrent_arguments,
        presets=("highway", "route"),
        cost_limit=_ppo_lag_limit,
        gradient_steps=algorithm_arguments.ppo_updates,
    ),
    AlgorithmSpec(
        name="sac_lag",
        label="SAC-Lag",
        home="vlsafe_agents.sac_lag:SACLag",
        offline=False,
        reads=_LIMITED,
        arguments=algorithm_arguments.sac_lag_arguments,
        cost_limit=lambda preset: COST_LIMIT,
        gradient_steps=algorithm_arguments.counted_updates,
        role=_stacking_role("sac_lag", "SAC-Lag"),
    ),
    AlgorithmSpec(
        name="ppo",
        label="PPO",
        home="vlsafe_agents.stock:PPO",
        offline=False,
        reads=_BLIND,
        arguments=algorithm_arguments.ppo_arguments,
        gradient_steps=algorithm_arguments.ppo_updates,
        role=_stacking_role("ppo", "PPO"),
    ),
    AlgorithmSpec(
        name="recurrent_ppo",
        label="Recurrent PPO",
        home="vlsafe_agents.stock:RecurrentPPO",
        offline=False,
        reads=("data", "envs", "reward_scale"),
        arguments=algorithm_arguments.recurrent_ppo_arguments,
        gradient_steps=algorithm_arguments.ppo_updates,
    ),
    AlgorithmSpec(
        name="trpo",
        label="TRPO",
        home="vlsafe_agents.stock:TRPO",
        offline=False,
        reads=_BLIND,
        arguments=algorithm_arguments.ppo_arguments,
        gradient_steps=algorithm_arguments.stock_trpo_updates,
        role=_stacking_role("trpo", "TRPO"),
    ),
    AlgorithmSpec(
        name="dqn",
        label="DQN",
        home="vlsafe_agents.stock:DQN",
        offline=False,
        reads=_BLIND,
        arguments=algorithm_arguments.q_learning_arguments,
        gradient_steps=algorithm_arguments.counted_updates,
        role=_stacking_role("dqn", "DQN"),
    ),
    AlgorithmSpec(
        name="qrdqn",
        label="QR-DQN",
        home="vlsafe_agents.stock:QRDQN",
        offline=False,
        reads=_BLIND,
        arguments=algorithm_arguments.q_learning_arguments,
        gradient_steps=algorithm_arguments.counted_updates,
        role=_stacking_role("qrdqn", "QR-DQN"),
    ),
    AlgorithmSpec(
        name="sac",
        label="SAC",
        home="vlsafe_agents.stock:SAC",
        offline=False,
        reads=_BLIND,
        arguments=algorithm_arguments.sac_arguments,
        gradient_steps=algorithm_arguments.counted_updates,
        role=_stacking_role("sac", "SAC"),
    ),
    AlgorithmSpec(
        name="vlsafe",
        label="VLSafe",
        home="vlsafe_agents.vlsafe:VLSafe",
        offline=True,
        reads=("data", "online", "cost", "cost_limit", "preset", "update", "safety"),
        reads_online=("scorer", "envs", "reward_scale", "start_from"),
        reads_offline=("world_model",),
        arguments=algorithm_arguments.vlsafe_arguments,
        nested_config=True,
        presets=("cpu", "route", "debug", "12M", "25M", "50M"),
        cost_limit=lambda preset: COST_LIMIT,
        many_limits=True,
        switched_off=_vlsafe_switched_off,
        gradient_steps=algorithm_arguments.vlsafe_updates,
        examine="vlsafe_agents.vlsafe.open_loop:examine",
        role=_vlsafe_role,
        roles=("vlsafe", "control", "cost_blind"),
    ),
)
ALGORITHMS: dict[str, AlgorithmSpec] = {row.name: row for row in _ROWS}


def find_algorithm(name: Any) -> AlgorithmSpec:
    """The row of a name.

    Raises:
        ValueError: for a name that there is none of.
    """
    if not isinstance(name, str) or name not in ALGORITHMS:
        from wrappers.checks import did_you_mean

        alike = did_you_mean(name, ALGORITHMS)
        raise ValueError(f"unknown algorithm {name!r}; choose from {tuple(ALGORITHMS)}{alike}")
    return ALGORITHMS[name]
