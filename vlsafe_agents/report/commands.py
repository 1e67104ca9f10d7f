"""The commands that made a run, put together from what was written down of it.

Where a fact is not recorded, a comment says so; nothing is made up.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.common.command_line import density, option, pairs
from vlsafe_agents.data.collection import minari_id
from vlsafe_agents.evaluation.roles import RISK_PLANNER
from vlsafe_agents.evaluation.stock import stock_options
from vlsafe_agents.evaluation.stored import StoredEvaluation
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.run_folder import RunFolder
from vlsafe_agents.training.settings import OWN

# Settings that are options; those that the algorithm reads, as others are refused.
_COMMON = ("observation", "steps", "seed")
_OPTIONS = ("preset", "update", "safety")
_USUAL = {"reward_scale": 1.0, "frame_stack": 1, "device": "auto"}  # not worth a word


def commands(run: RunFolder) -> str:
    """One command a line, for a shell."""
    return "\n".join(_lines(run))


def _lines(run: RunFolder) -> Iterator[str]:
    whole = run.run.get("commands") or run.run.get("command")
    if isinstance(whole, str):
        whole = [whole]
    if isinstance(whole, list) and all(isinstance(line, str) for line in whole):
        yield from whole
        yield "# which stands for these, and whatever else was done here:"
    yield from _data(run)
    shared = {Path(agent.world_model).name for agent in run.agents if agent.world_model}
    for agent in sorted(run.agents, key=lambda agent: agent.name not in shared):  # models first
        yield from _training(agent)
    for agent in run.agents:
        yield from _evaluation(agent, agent.evaluation)
        for found in agent.at_limits:
            yield from _evaluation(agent, found, found.cost_limit)
    for condition in run.elsewhere:
        for agent in condition.agents:
            yield from _evaluation(agent, agent.evaluation, condition.limit)
    for agent in run.agents:
        yield from _foresight(run.path / agent.name, agent)
    yield _command("report", str(run.path))


def _data(run: RunFolder) -> Iterator[str]:
    if run.dataset is None:
        return
    folder = run.path / "data"
    collection = run.dataset.get("collection")
    if not isinstance(collection, Mapping) or "env_id" not in collection:
        yield f"# how the data in {_quoted(folder)} were recorded is not known"
    else:
        mix = collection.get("mix")
        shares = ",".join(f"{k}={v}" for k, v in mix.items()) if isinstance(mix, Mapping) else None
        given = collection.get("branches")
        branches = given if isinstance(given, Mapping) else {}
        yield _command(
            "collect",
            *_environment(collection["env_id"], collection.get("env_kwargs")),
            *option("--steps", collection.get("steps")),
            *option("--episodes", collection.get("episodes")),
            *option("--mix", shares),
            *option("--branches", branches.get("states")),
            *option("--branch-seconds", branches.get("seconds")),
            *option("--seed", collection.get("seed")),
            *option("--name", _own_name(collection)),
            *option("--out", folder),
        )
    if run.dataset.get("scorer"):
        scorer = scorer_of(run.dataset)
        if scorer is None:
            yield f"# by which command {_quoted(folder)} was labelled is not known"
        else:
            yield _command("label", str(folder), *option("--scorer", scorer))


def _own_name(collection: Mapping[str, Any]) -> str | None:
    """The id of a data set that has another one than collections have by themselves."""
    found = collection.get("dataset_id")
    return None if found == minari_id(str(collection["env_id"])) else found


def scorer_of(dataset: Mapping[str, Any]) -> str | None:
    """The scorer that a data set was labelled with, as its command named it; None: not known.

    `vlsafe label` writes it down with a hash of the labels, so that it does not outlive them.
    """
    noted, labelling = dataset.get("labelled_with"), dataset.get("labelling")
    if not isinstance(noted, Mapping) or not isinstance(labelling, Mapping):
        return None
    if noted.get("labels_sha256") != labelling.get("labels_sha256"):
        return None
    return noted["scorer"] if isinstance(noted.get("scorer"), str) else None


def _training(agent: AgentRun) -> Iterator[str]:
    if agent.is_driver or agent.shielded:
        return
    settings, folder = agent.settings or {}, agent.folder
    if agent.role == RISK_PLANNER:
        yield _risk_training(folder, settings)
        return
    algorithm, env = settings.get("algo"), settings.get("env")
    row = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
    if row is None or not isinstance(env, Mapping):
        yield f"# how {_quoted(folder)} was trained is not known"
        return
    parts = ["train", *option("--algo", row.name), *option("--data", settings.get("data"))]
    online = bool(settings.get("online"))
    if online or not row.offline:  # others take the environment from the data
        parts += _environment(env.get("env_id"), env.get("kwargs"))
    chosen = settings.get("options")
    chosen = chosen if isinstance(chosen, Mapping) else {}
    if online:
        parts.append("--online")
    own = [key for key in row.read_by(online) if key not in ("data", "online", *_OPTIONS)]
    given = {key: settings.get(key) for key in (*_COMMON, *own, "device")}
    given |= {key: chosen[key] for key in _OPTIONS if key in chosen}
    for key in ("scorer", "safety"):
        given |= {key: "none"} if key in given and given[key] is None else {}
    for key in row.switched_off(given):
        given.pop(key, None)
    for key, value in given.items():
        if value != _USUAL.get(key):
            parts += option(f"--{key.replace('_', '-')}", value)
    parts += pairs("--config", settings.get("config")) + option("--out", folder)
    yield _command(*parts)


def _risk_training(folder: Path, settings: Mapping[str, Any]) -> str:
    env, mix, model, policy = (settings.get(key) for key in ("env", "mix", "model", "policy"))
    env, mix, model, policy = (
        x if isinstance(x, Mapping) else {} for x in (env, mix, model, policy)
    )
    amounts = ("states", "rounds", "round_states", "held_out", "random_actions")
    names = (*amounts, "horizon", "threshold", "observation")
    given = {name: settings.get(name) for name in names}
    start, beside = (settings.get(name) for name in ("start", "beside"))
    given["start"] = start.get("model") if isinstance(start, Mapping) else None
    given |= {"policy": policy.get("folder"), "updates": model.get("updates")}
    judge = settings.get("judge")
    if isinstance(judge, Mapping):
        given |= {"events": "judge", "scorer": judge.get("scorer")}
    given["mix"] = ",".join(f"{name}={share}" for name, share in mix.items()) or None
    seeing = settings.get("detection")
    if isinstance(seeing, Mapping):
        detector = seeing.get("detector")
        updates = detector.get("updates") if isinstance(detector, Mapping) else None
        given |= {"observation": "image", "pictures": seeing.get("pictures")}
        given |= {"picture_density": density(seeing.get("density")), "detector_updates": updates}
    parts = _environment(env.get("env_id"), env.get("kwargs"))
    for folder_beside in beside.get("folders", ()) if isinstance(beside, Mapping) else ():
        parts += option("--beside", folder_beside)
    for name, value in (given | {"seed": settings.get("seed")}).items():
        parts += option(f"--{name.replace('_', '-')}", value)
    return _command("train-risk", *parts, *option("--out", folder))


def _evaluation(
    agent: AgentRun, found: StoredEvaluation | None, limit: float | None = None
) -> Iterator[str]:
    """The command of an evaluation; ``limit``: the cost limit that it asked for."""
    if found is None:
        return
    folder = agent.folder
    first, episodes, options = found.seeds[0], len(found.seeds), found.options
    if found.kind != "driver" and agent.settings is None:
        yield f"# by which command {_quoted(folder)} was evaluated is not known"
        return
    if list(found.seeds) != list(range(first, first + episodes)):
        yield f"# {_quoted(folder)} was evaluated on seeds that are no range"
        return
    is_driver = found.kind == "driver"
    stock = None if agent.settings is None else stock_options(agent.settings)
    parts = ["evaluate", str(found.agent) if is_driver else str(folder)]
    if stock is not None:
        parts = ["evaluate", *stock, *_environment(found.env_id, found.env_kwargs)]
    parts += option("--data", options.get("data"))
    if is_driver and not options.get("data"):
        parts += option("--env", found.env_id)
    parts += option("--density", options.get("density"))
    if stock is None:
        parts += _own_environment(agent, found)
    parts += _shield(agent, found) + option("--cost-limit", limit)
    if found.stochastic:
        parts.append("--stochastic")
    parts += [*option("--episodes", episodes), *option("--first-seed", first)]
    if "scorer" in options:
        parts += option("--scorer", options["scorer"] or "none")
    if options.get("judge_all") is False:
        parts.append("--judge-recorded")
    command = _command(*parts, *(option("--out", folder) if is_driver or stock else ()))
    yield command if "scorer" in options else f"{command}  # with which scorer is not known"


def _foresight(folder: Path, agent: AgentRun) -> Iterator[str]:
    if agent.foresight is None:
        return
    options = agent.foresight.options
    parts = ["foresight", str(folder)]
    for key in ("data", "risk", "episodes", "first_seed", "density", "env_arg", "dreams"):
        given = options.get(key)
        for value in given if isinstance(given, list) else [given]:
            parts += option(f"--{key.replace('_', '-')}", value)
    yield _command(*parts)


def _shield(agent: AgentRun, found: StoredEvaluation) -> list[str]:
    """Options for a shield, or of a risk model that drives by itself."""
    shielded = found.shielded or {}
    stated = found.settings if agent.role == RISK_PLANNER else shielded
    threshold = option("--shield-threshold", (stated or {}).get("threshold"))
    return [*option("--shield", shielded.get("model")), *threshold]


def _environment(env_id: Any, kwargs: Any) -> list[str]:
    """Options that name an environment with all its arguments."""
    arguments = dict(kwargs) if isinstance(kwargs, Mapping) else {}
    own = {name: arguments.pop(name) for name in OWN if name in arguments}
    parts = option("--env", env_id) + pairs("--env-arg", arguments)
    for name, value in own.items():
        for text in value if isinstance(value, list) else [value]:
            parts += option(f"--{name.replace('_', '-')}", text)
    return parts


def _own_environment(agent: AgentRun, found: StoredEvaluation) -> list[str]:
    """Options for an environment that an agent's settings name, or that was named for it."""
    trained = (agent.settings or {}).get("env")
    known = trained.get("env_id") if isinstance(trained, Mapping) else None
    if known is not None and known != found.env_id:
        return _environment(found.env_id, found.env_kwargs)
    given = pairs("--env-arg", found.options.get("env_args", _changed(agent, found)))
    ours = found.kind == "driver" or found.env_id.startswith("VLSafe-")
    return given if ours else [*given, "--allow-import"]


def _changed(agent: AgentRun, found: StoredEvaluation) -> dict[str, Any]:
    """Arguments of the environment that are others than those it was trained with."""
    trained = (agent.settings or {}).get("env")
    usual = trained.get("kwargs") if isinstance(trained, Mapping) else None
    return {k: v for k, v in found.env_kwargs.items() if (usual or {}).get(k) != v}


def _command(*parts: str) -> str:
    return shlex.join(["vlsafe", *parts])


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
