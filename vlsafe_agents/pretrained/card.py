"""The model card of a shared agent, made of recorded facts and of nothing else.

Facts are gathered where the agent was trained (:func:`gather`) and kept beside it in ``card.json``;
:func:`card_text` makes the card of them, of ``settings.json`` and of ``training.json``.  What was
not recorded is "not known".
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlsafe_agents.common.version import versions
from vlsafe_agents.evaluation.roles import role_of
from vlsafe_agents.evaluation.stored import StoredEvaluation, read_evaluation
from vlsafe_agents.pages.html import render
from vlsafe_agents.pretrained.sources import CARD_FILE, FACTS_FILE
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import MODEL_FILE, SETTINGS_FILE
from wrappers.files import file_sha256, read_json, write_json, write_text

METRICS = ("collision_rate", "off_road_rate", "arrival_rate", "mean_speed", "return", "env_cost")
_PATHS = ("data", "world_model", "start_from")  # settings that name places of one machine
_OF_DATA = ("collection", "contents", "content_hash", "scorer", "labelling", "generator")
_OF_LABELLING = ("labels_sha256", "summary", "date")


def write_card(
    folder: Path,
    source: Path | None,
    notes: Sequence[str] = (),
    evaluations: Sequence[Path] | None = None,
) -> None:
    """Write all of a shared agent's folder but for ``model.zip``, which is there already.

    Args:
        source: the folder that the agent was loaded from; None: nothing is known of it.
        notes: sentences of whoever shares it.
        evaluations: the rows of the card's table, of others too, such as the expert; None: all
            that lie in ``source``.
    """
    if source is not None and source.resolve() != folder.resolve():
        for name in (SETTINGS_FILE, TRAINING_FILE):
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        if (folder / SETTINGS_FILE).exists():
            settings = read_json(folder / SETTINGS_FILE)
            write_json(folder / SETTINGS_FILE, _without_places(settings))
    facts = gather(folder / MODEL_FILE, source, notes, evaluations)
    write_json(folder / FACTS_FILE, facts)
    write_text(folder / CARD_FILE, card_text(folder))


def gather(
    model: Path,
    source: Path | None,
    notes: Sequence[str],
    evaluations: Sequence[Path] | None = None,
) -> dict[str, Any]:
    """What is known of an agent, as ``card.json`` holds it."""
    known: dict[str, Any] = {"data": None, "evaluations": []}
    if source is not None and (source / FACTS_FILE).exists():  # shared before
        before = read_json(source / FACTS_FILE)
        known = {name: before.get(name, empty) for name, empty in known.items()}
        notes = notes or before.get("notes", ())
    if source is not None and (source / SETTINGS_FILE).exists():
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
    """Settings with the last parts of paths only."""
    short = {k: Path(v).name for k in _PATHS if isinstance(v := settings.get(k), str)}
    return {**settings, **short}


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
        "summary": {name: dict(found.summary[name]) for name in METRICS if name in found.summary},
    }


# --- the card -------------------------------------------------------------------------------------


def card_text(folder: Path) -> str:
    """The card of a shared agent's folder, in Markdown with the Hub's metadata."""
    facts = read_json(folder / FACTS_FILE)
    settings = read_json(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).exists() else {}
    training = read_json(folder / TRAINING_FILE) if (folder / TRAINING_FILE).exists() else {}
    env = settings.get("env") or {}
    role = role_of("agent", None, settings) if settings else None
    title = f"{role.label} on {env.get('env_id')}" if role is not None else "A trained agent"
    return _metadata(facts, settings, title) + render(
        Path(__file__).parent,
        "card.md.j2",
        title=title,
        settings=settings,
        training=training,
        env=env,
        facts=facts,
        rows=list(_rows(facts["evaluations"])),
        kind=_class_name(settings),
    )


def _class_name(settings: Mapping[str, Any]) -> str:
    from vlsafe_agents.algorithms import ALGORITHMS

    row = ALGORITHMS.get(str(settings.get("algo")))
    return "VLSafe" if row is None else row.class_name


def _rows(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Cells of the table of drives: who, where, how many, and each metric with its interval."""
    from vlsafe_agents.report.tables import NOT_KNOWN, figure, interval, percent

    for found in evaluations:
        where = _where(found["env_kwargs"])
        who = ", ".join(filter(None, (found["who"], found["conditions"])))
        cells = [who, where, f"{found['episodes']:,}"]
        for name in METRICS:
            entry = found["summary"].get(name) or {"mean": None, "low": None, "high": None}
            show = percent if name.endswith("_rate") else figure
            if entry["mean"] is None:
                cells.append("-" if name == "arrival_rate" else NOT_KNOWN)
                continue
            between = interval(entry, show)
            cells.append(show(entry["mean"]) + (f" ({between})" if between else ""))
        yield cells


def _where(env_kwargs: Mapping[str, Any]) -> str:
    """An environment's arguments in words."""
    return ", ".join(f"{key} {value}" for key, value in env_kwargs.items()) or "as trained"


def _metadata(facts: Mapping[str, Any], settings: Mapping[str, Any], title: str) -> str:
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
        if settings and found["who"] == role_of("agent", None, settings).label
        for metric, name in (("return", "mean_reward"), ("collision_rate", "collision_rate"))
        if found["summary"].get(metric, {}).get("mean") is not None
    ]
    data = ModelCardData(
        library_name="vlsafe",
        license="mit",
        tags=["reinforcement-learning", "safe-rl", "driving", "stable-baselines3"],
        pipeline_tag="reinforcement-learning",
        model_name=title if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"
