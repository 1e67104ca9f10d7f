"""Who ``vlsafe evaluate`` drives, and where: drivers, agents of ours and of others, risk models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlsafe_agents.pretrained.sources import PREFIX, driver_names, named_folder

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv, EnvChoice
    from vlsafe_agents.cli.shielding import Shield


RUNS = Path("runs/pretrained")  # where figures of shared agents go


@dataclass(frozen=True)
class Given:
    """What the command line says of place and environment."""

    out: Path | None
    data: Path | None
    env: str | None
    pairs: list[str]
    own: Mapping[str, Any]  # of an environment that is not ours
    allow_import: bool
    shield: Path | None = None
    shield_threshold: float | None = None
    cost_limit: float | None = None

    def choice(self) -> AnyEnv:
        """The environment; with a data set, the pairs are changes to its own, told apart later."""
        from vlsafe_agents.cli.environments import choose_env
        from vlsafe_agents.cli.train import read_data_metadata

        return choose_env(
            self.env,
            [] if self.data else self.pairs,
            metadata=read_data_metadata(self.data),
            own=self.own,
            allow_import=self.allow_import,
        )


@dataclass(frozen=True)
class Subject:
    """Who is evaluated, where, and what its learning cost."""

    agent: Any
    name: str
    kind: Literal["driver", "agent"]
    env: AnyEnv
    observation: str
    folder: Path
    training: Mapping[str, Any]
    settings: Mapping[str, Any] | None = None  # that an agent was trained with
    shield: Shield | None = None
    suffix: str = ""  # of the file, where it is not driven as it was trained
    cost_limit: float | None = None  # it drives under, of an agent for a range of them
    told: bool = False  # how its tails begin, of a risk model

    @property
    def shielded(self) -> dict[str, Any] | None:
        """What an evaluation says of the shield; None without one."""
        return None if self.shield is None else self.shield.stated

    def factory(self, choice: AnyEnv, scorer: str | None) -> Callable[[], Any]:
        """Makes the environment as it is to be driven in."""
        make = choice.factory(observation=self.observation, scorer=scorer)
        if self.told:
            make = partial(_told, make)
        return make if self.shield is None else self.shield.env(make)

    def vector_factory(self, choice: EnvChoice, scorer: str | None) -> Callable[[int], Any]:
        """Makes several of them that are stepped together."""
        make = choice.vector_factory(observation=self.observation, scorer=scorer)
        return make if self.shield is None else self.shield.vector(make)


def find_subject(agent: str, algo: str | None, allow_pickle: bool, given: Given) -> Subject:
    """What the command line names as the one who drives.

    Raises:
        FileNotFoundError: for the name of nobody.
        ValueError: for options that do not go together, and for damaged files.
    """
    if given.shield_threshold is not None and given.shield is None and not _is_risk(Path(agent)):
        raise ValueError("--shield-threshold is of a risk model; give its folder, too: --shield")
    if given.cost_limit is not None and (_is_driver(agent) or _is_risk(Path(agent))):
        raise ValueError(f"--cost-limit is of agents, and {agent!r} keeps none; leave it out")
    if algo is not None or agent.endswith(".zip"):
        subject = _stock(Path(agent), algo, allow_pickle, given)
    elif _is_driver(agent):
        subject = _driver(agent, given)
    elif agent.startswith(PREFIX):
        subject = _shared(agent, given)
    elif given.data:
        raise ValueError("a trained agent knows its environment; leave out --env and --data")
    elif _is_risk(Path(agent)):
        return _planner(Path(agent), given)
    else:
        subject = trained_agent(Path(agent), allow_pickle, given)
    return subject if given.shield is None else _shielded(subject, given)


def _shielded(subject: Subject, given: Given) -> Subject:
    """The same behind a shield."""
    from vlsafe_agents.cli.shielding import read_shield
    from vlsafe_agents.evaluation.stored import shield_suffix

    assert given.shield is not None
    shield = read_shield(given.shield, given.shield_threshold, subject.env)
    training = shield.costs(subject.training, has_learned=subject.kind == "agent")
    suffix = subject.suffix + shield_suffix(shield.stated)
    return replace(subject, shield=shield, training=training, suffix=suffix)


def _shared(agent: str, given: Given) -> Subject:
    """A trained agent that comes with vlsafe, or from a Hugging Face repository."""
    name = agent.removeprefix(PREFIX).partition("@")[0].rpartition("/")[2]
    if given.env is not None or given.data is not None:
        raise ValueError("a trained agent knows its environment; leave out --env and --data")
    folder = named_folder(agent)
    assert folder is not None
    out = given.out or RUNS / name  # never into the package, or the Hub's cache
    return replace(trained_agent(folder, False, replace(given, out=out)), name=out.name)


def _is_risk(folder: Path) -> bool:
    """Whether a folder is of ``vlsafe train-risk``; what cannot be read is somebody else's."""
    from vlsafe_agents.evaluation.roles import RISK_PLANNER, role_of
    from vlsafe_agents.training.settings import SETTINGS_FILE
    from wrappers.files import read_json

    try:
        return role_of("agent", None, read_json(folder / SETTINGS_FILE)) == RISK_PLANNER
    except (OSError, ValueError):
        return False


def _planner(folder: Path, given: Given) -> Subject:
    """A risk model by itself: it goes ahead wherever it calls that safe."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.cli.shielding import OPTION
    from vlsafe_agents.risk import ShieldedPolicy
    from vlsafe_agents.risk.run_folder import read_risk
    from vlsafe_agents.risk.shield import shield_threshold
    from vlsafe_agents.training.facts import figures

    if given.shield is not None:
        raise ValueError(f"{folder} is a risk model, and drives behind itself; leave out --shield")
    if given.env is not None:
        raise ValueError("a risk model knows its environment; leave out --env")
    run = read_risk(folder)
    threshold = shield_threshold(run.model, given.shield_threshold, OPTION)
    env = run.settings["env"]
    return Subject(
        agent=ShieldedPolicy(None, run.model, threshold),
        name=folder.resolve().name,
        kind="agent",
        env=EnvChoice(env["env_id"], env["kwargs"]),
        observation=run.observation,
        folder=given.out or folder,
        training=figures(run.facts),
        settings={**run.settings, "threshold": threshold},
        suffix="" if threshold == run.threshold else f"_threshold_{threshold:g}",
        told=run.model.told,
    )


def _told(make_env: Callable[[], Any]) -> Any:
    from vlsafe_agents.cli.policies import ShownBeginnings

    return ShownBeginnings(make_env())


def _drivers() -> tuple[str, ...]:
    from vlsafe_envs.registry import all_driver_names

    return all_driver_names()


def _is_driver(name: str) -> bool:
    from vlsafe_agents.training.settings import SETTINGS_FILE

    if name in _drivers() and (Path(name) / SETTINGS_FILE).exists():
        raise ValueError(
            f"{name} is a driver, and here a folder with an agent, too: write ./{name} for the "
            "agent, or go elsewhere for the driver"
        )
    return name in _drivers()


def _driver(name: str, given: Given) -> Subject:
    from vlsafe_agents.cli.environments import EnvChoice

    if given.out is None:
        raise ValueError(
            f"where shall the figures of {name!r} go? give --out, e.g. runs/mine/{name}"
        )
    choice = given.choice()
    if not isinstance(choice, EnvChoice):
        raise ValueError(f"the driver {name!r} drives in our environments only")
    return Subject(partial(_make_driver, name), name, "driver", choice, "vector", given.out, {})


def _stock(path: Path, algo: str | None, allow_pickle: bool, given: Given) -> Subject:
    """An agent in a file by itself, such as Stable-Baselines3 saves."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.cli.other_envs import observation_kind
    from vlsafe_agents.evaluation.stock import load_stock, observation_for

    if given.out is None:
        raise ValueError(f"where shall the figures of {path} go? give --out, e.g. runs/mine/{algo}")
    if given.env is None and given.data is None:
        raise ValueError(f"{path} does not name its environment; give --env, or --data")
    model, settings = load_stock(path, algo, allow_pickle)
    choice = given.choice()
    if isinstance(choice, EnvChoice):
        observation = observation_for(model, choice)
    else:
        observation = observation_kind(model.observation_space)
    name = given.out.resolve().name
    limit, suffix = _act_under(model, given.cost_limit, str(path))
    own = Subject(model, name, "agent", choice, observation, given.out, {}, settings)
    return replace(own, suffix=suffix, cost_limit=limit)


def _act_under(model: Any, limit: float | None, name: str) -> tuple[float | None, str]:
    """The limit that an agent for several of them drives under from now on, and the file's suffix.

    None of agents for one limit.

    Raises:
        ValueError: for a limit that it cannot drive under.
    """
    from vlsafe_agents.evaluation.stored import limit_suffix

    any_limit = getattr(model, "takes_any_limit", False)
    if not any_limit and not isinstance(getattr(model, "cost_limit", None), tuple):
        if limit is not None:
            raise ValueError(
                f"--cost-limit {limit:g}: {name} was not trained for a range of limits "
                "(vlsafe train --cost-limit LOW:HIGH); leave it out"
            )
        return None, ""
    if limit is None:
        return float(model.policy.acting_limit), ""
    model.policy.acting_limit = limit
    return limit, limit_suffix(limit)


def _make_driver(name: str, env: Any, rng: Any) -> Any:
    from vlsafe_envs.drivers import make_driver

    return make_driver(name, env, rng)


def of_training(folder: Path, allow_pickle: bool, given: Given) -> Subject:
    """A trained agent, or a risk model that drives by itself, as :func:`trained_agent`."""
    if _is_risk(folder):
        return _planner(folder, given)
    return trained_agent(folder, allow_pickle, given)


def trained_agent(folder: Path, allow_pickle: bool, given: Given) -> Subject:
    """The agent in a folder, in the environment that it was trained in.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where its environment is not known, or named although it is.
    """
    from vlsafe_agents.cli.environments import EnvChoice, is_ours, stored_env
    from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv
    from vlsafe_agents.training import load_agent
    from vlsafe_agents.training.facts import figures
    from vlsafe_agents.training.settings import SETTINGS_FILE, EnvName
    from wrappers.checks import did_you_mean
    from wrappers.files import read_json

    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}, and no driver of that name ({', '.join(_drivers())})"
            + (
                f"; {PREFIX}{folder} comes with vlsafe"
                if str(folder) in driver_names()
                else did_you_mean(str(folder), _drivers())
            )
        )
    if (folder / "model.zip").exists() and not (folder / SETTINGS_FILE).exists():
        raise FileNotFoundError(
            f"{folder} holds a model.zip but no {SETTINGS_FILE}, so it is not known by which "
            "algorithm and for which environment it was trained; name them: vlsafe evaluate "
            f"{folder / 'model.zip'} --algo ... --env ..."
        )
    known = partial(stored_env, allow_import=given.allow_import)
    named = given.env is not None
    model, settings, facts = load_agent(folder, allow_pickle, EnvName if named else known)
    env = settings.env
    if named:
        if is_ours({"env_id": env.env_id}):
            raise ValueError("a trained agent knows its environment; leave out --env and --data")
        env = given.choice()
    elif env.env_id == NOT_NAMED:
        raise ValueError(f"the data of {folder} named no environment; name one with --env")
    assert isinstance(env, EnvChoice | OtherEnv)
    name = folder.resolve().name
    observation, where = settings.observation, given.out or folder
    recorded: dict[str, Any] = read_json(folder / SETTINGS_FILE)
    limit, suffix = _act_under(model, given.cost_limit, str(folder))
    own = Subject(model, name, "agent", env, observation, where, figures(facts), recorded)
    return replace(own, suffix=suffix, cost_limit=limit)
