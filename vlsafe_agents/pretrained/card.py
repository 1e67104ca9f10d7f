"""The model card of a shared model, made of recorded facts and of nothing else.

Facts are gathered where the model was trained (:func:`gather`) and kept beside it in ``card.json``;
:func:`card_text` makes the card of them, of ``settings.json`` and of ``training.json``.  What was
not recorded is "not known".
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlsafe_agents.common.version import versions
from vlsafe_agents.evaluation.roles import role_of
from vlsafe_agents.evaluation.stored import StoredEvaluation, read_evaluation
from vlsafe_agents.pages.html import render
from vlsafe_agents.pretrained.kinds import SharedKind
from vlsafe_agents.pretrained.sources import CARD_FILE, FACTS_FILE
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import SETTINGS_FILE
from wrappers.files import file_sha256, read_json, write_json, write_text

COLUMNS = {  # of the table of drives: metric, title
    "collision_rate": "collide",
    "off_road_rate": "leave the road",
    "arrival_rate": "arrive",
    "mean_speed": "speed [m/s]",
    "standing": "standing",
    "return": "return",
    "env_cost": "cost",
}
_WHERE_KNOWN = ("arrival_rate", "standing")  # columns that stand only where some drive tells them
_SHARES = ("collision_rate", "off_road_rate", "arrival_rate", "standing")  # shown in percent
_OF_DATA = ("collection", "contents", "content_hash", "scorer", "labelling", "generator")
_OF_LABELLING = ("labels_sha256", "summary", "date")
# Settings that name places: of agents, and what risk models say of an agent, of the model that they
# began with and of outcomes beside their own.
_PLACES = (
    ("data",),
    ("world_model",),
    ("start_from",),
    ("policy", "folder"),
    ("start", "model"),
    ("beside", "folders"),
)
OFTEN = 0.05  # a share of drives with a collision that a card names wherever it is reached
_RESULTS = {"return": "mean_reward", "collision_rate": "collision_rate"}  # names on the Hub


def write_card(
    kind: SharedKind,
    folder: Path,
    source: Path | None,
    notes: Sequence[str] = (),
    evaluations: Sequence[Path] | None = None,
    **facts: Any,
) -> None:
    """Write all of a shared model's folder but for the model's file, which is there already.

    Args:
        source: the folder that the model was loaded from; None: nothing is known of it.
        notes: sentences of whoever shares it.
        evaluations: the rows of the card's table, of others too, such as the expert; None: all
            that lie in ``source``.
        facts: more of them, as they stand in ``card.json``.
    """
    if source is not None and source.resolve() != folder.resolve():
        for name in (SETTINGS_FILE, TRAINING_FILE):
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        if (folder / SETTINGS_FILE).exists():
            settings = read_json(folder / SETTINGS_FILE)
            write_json(folder / SETTINGS_FILE, _without_places(settings))
    found = gather(kind, folder, source, notes, evaluations) | facts
    write_json(folder / FACTS_FILE, found)
    write_text(folder / CARD_FILE, card_text(kind, folder))


def gather(
    kind: SharedKind,
    folder: Path,
    source: Path | None,
    notes: Sequence[str],
    evaluations: Sequence[Path] | None = None,
) -> dict[str, Any]:
    """What is known of the model in a folder, as ``card.json`` holds it."""
    model, known = folder / kind.model, dict(kind.kept)
    if source is not None and (source / FACTS_FILE).exists():  # shared before
        before = read_json(source / FACTS_FILE)
        known = {name: before.get(name, empty) for name, empty in known.items()}
        notes = notes or before.get("notes", ())
    if source is not None and "data" in known and (source / SETTINGS_FILE).exists():
        known["data"] = known["data"] or _data_facts(read_json(source / SETTINGS_FILE))
    if evaluations is None:
        evaluations = [] if source is None else sorted(source.glob("evaluation*.json"))
    rows = [_measured(read_evaluation(file)) for file in evaluations]
    return {
        "weights": {"sha256": file_sha256(model), "bytes": model.stat().st_size},
        "versions": dict(versions()),
        **known,
        "evaluations": rows or known["evaluations"],
        "notes": list(notes),
    }


def _without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the last parts of paths only: where they lie on one machine concerns nobody."""
    found: dict[str, Any] = copy.deepcopy(dict(settings))
    for *outer, name in _PLACES:
        part: Any = found
        for key in outer:
            part = part.get(key) or {}
        value = part.get(name)
        if isinstance(value, str):
            part[name] = Path(value).name
        elif isinstance(value, list):
            part[name] = [Path(one).name for one in value]
    return found


def _data_facts(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the metadata of a data set say of it; None where they are not here any more."""
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    try:
        metadata = read_metadata(resolve_dataset(str(settings["data"])))
    except (OSError, ValueError, KeyError):
        return None
    found = {name: metadata[name] for name in _OF_DATA if name in metadata}
    if "labelling" in found:
        found["labelling"] = {k: v for k, v in found["labelling"].items() if k in _OF_LABELLING}
    return found


def _measured(found: StoredEvaluation) -> dict[str, Any]:
    """One row of the card's table."""
    return {
        "who": role_of(found.kind, found.agent, found.settings).label or str(found.agent),
        "conditions": found.conditions,
        "env_id": found.env_id,
        "env_kwargs": dict(found.env_kwargs),
        "seeds": [min(found.seeds), max(found.seeds)],
        "episodes": len(found.records),
        "summary": {name: dict(found.summary[name]) for name in COLUMNS if name in found.summary},
    }


# --- the card -------------------------------------------------------------------------------------


def card_text(kind: SharedKind, folder: Path) -> str:
    """The card of a shared model's folder, in Markdown with the Hub's metadata."""
    facts = read_json(folder / FACTS_FILE)
    settings = read_json(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).exists() else {}
    training = read_json(folder / TRAINING_FILE) if (folder / TRAINING_FILE).exists() else {}
    env = settings.get("env") or {}
    who = _who(settings)
    title = kind.title.format(who=who, env_id=env.get("env_id")) if settings else kind.unknown
    columns = _columns(facts["evaluations"])
    return _metadata(kind, facts, settings, title) + render(
        Path(__file__).parent,
        kind.template,
        title=title,
        settings=settings,
        training=training,
        env=env,
        facts=facts,
        file=kind.model,
        columns=[COLUMNS[name] for name in columns],
        rows=list(_rows(facts["evaluations"], columns)),
        failures=list(_failures(facts["evaluations"], settings)),
        kind=_class_name(settings),
    )


def _class_name(settings: Mapping[str, Any]) -> str:
    from vlsafe_agents.algorithms import ALGORITHMS

    row = ALGORITHMS.get(str(settings.get("algo")))
    return "VLSafe" if row is None else row.class_name


def _who(settings: Mapping[str, Any]) -> str:
    """How the model is called in the rows of its own drives."""
    return role_of("agent", None, settings).label


def _columns(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    known = {
        name
        for found in evaluations
        for name, entry in found["summary"].items()
        if entry["mean"] is not None
    }
    return [name for name in COLUMNS if name in known or name not in _WHERE_KNOWN]


def _rows(evaluations: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[list[str]]:
    """Cells of the table of drives: who, where, how many, and each metric with its interval."""
    from vlsafe_agents.report.tables import NOT_KNOWN, interval

    for found in evaluations:
        who = ", ".join(filter(None, (found["who"], found["conditions"])))
        cells = [who, _where(found["env_kwargs"]), f"{found['episodes']:,}"]
        for name in columns:
            entry = found["summary"].get(name) or {"mean": None, "low": None, "high": None}
            if entry["mean"] is None:
                cells.append(NOT_KNOWN)
                continue
            between = interval(entry, _shown(name))
            cells.append(_shown(name)(entry["mean"]) + (f" ({between})" if between else ""))
        yield cells


def _shown(metric: str) -> Callable[[float], str]:
    from vlsafe_agents.report.tables import figure, percent

    return percent if metric in _SHARES else figure


def _failures(
    evaluations: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> Iterator[str]:
    """Where the model collides more, or arrives less, than the expert on the same seeds.

    Only what intervals set apart; and every rate of collisions of 5% or more.
    """
    from vlsafe_agents.report.tables import apart, percent

    experts = {
        (_where(found["env_kwargs"]), *found["seeds"]): found["summary"]
        for found in evaluations
        if found["who"] == role_of("driver", "expert", None).label
    }
    for found in evaluations:
        if not settings or found["who"] != _who(settings):
            continue
        own, place = found["summary"], _where(found["env_kwargs"])
        expert = experts.get((place, *found["seeds"]), {})
        behind = f" behind the {found['conditions']}" if found["conditions"] else ""
        for metric, verb in (("collision_rate", "collides"), ("arrival_rate", "arrives")):
            mine, other = own.get(metric), expert.get(metric)
            if mine is None or mine["mean"] is None:
                continue
            known = other is not None and other["mean"] is not None
            lower, higher = (other, mine) if metric == "collision_rate" else (mine, other)
            often = metric == "collision_rate" and mine["mean"] >= OFTEN
            if often or (known and apart(lower, higher)):
                beside = f", the expert in {percent(other['mean'])}" if known else ""
                share = percent(mine["mean"])
                yield f"{place}{behind}: it {verb} in {share} of the drives{beside}."


def _where(env_kwargs: Mapping[str, Any]) -> str:
    """An environment's arguments in words."""
    return ", ".join(f"{key} {value}" for key, value in env_kwargs.items()) or "as trained"


def _metadata(
    kind: SharedKind, facts: Mapping[str, Any], settings: Mapping[str, Any], title: str
) -> str:
    """What the Hub reads at the head of a card."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="driving",
            dataset_type=found["env_id"],
            dataset_name=found["env_id"],
            dataset_config=", ".join(
                filter(None, [_where(found["env_kwargs"]), found["conditions"]])
            ),
            metric_type=name,
            metric_value=round(found["summary"][metric]["mean"], 4),
        )
        for found in facts["evaluations"]
        if settings and found["who"] == _who(settings)
        for metric, name in _RESULTS.items()
        if found["summary"].get(metric, {}).get("mean") is not None
    ]
    data = ModelCardData(
        library_name="vlsafe",
        license="mit",
        tags=list(kind.tags),
        pipeline_tag="reinforcement-learning",
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"
