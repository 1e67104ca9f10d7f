"""A suite: what is to be compared, read from a YAML file and checked.

Options of the commands stand in it under their own names (``cost_limit`` for ``--cost-limit``), so
that whatever a command learns to do a suite can ask for.  They are checked where the commands are
known, see :mod:`vlsafe_agents.cli.bench`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vlsafe_agents.common.typed_config import check_config, replaced
from wrappers.checks import did_you_mean, whole_number
from wrappers.files import read_yaml

Options = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9][\w.=,+-]*\Z")  # of folders, too
KINDS = ("driver", "agent", "risk", "command", "model", "algo")  # what makes a row; first come
RESERVED = ("data", "agents", "drives")  # folders of an environment


@dataclass(frozen=True)
class Recipe:
    """How data are recorded, and by whom they are labelled; shared by all rows that name it."""

    collect: Options = field(default_factory=dict)  # of `vlsafe collect`
    label: Options | None = None  # of `vlsafe label`; None: not labelled


@dataclass(frozen=True)
class Condition:
    """How an environment differs from the one that is trained in, while agents are evaluated."""

    density: float | None = None
    env_args: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """Where agents are trained, and under which conditions they are evaluated."""

    env: str = ""
    env_args: Options = field(default_factory=dict)
    density: float | None = None
    wrapper: str | None = None
    cost_key: str | None = None
    cost_function: str | None = None
    reward_function: str | None = None
    allow_import: bool = False  # an environment that is not ours
    observation: str | None = None  # of agents that are trained here
    data: str | None = None  # the recipe of rows that name none
    conditions: dict[str, Condition] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """An algorithm with its settings: a row of the tables.

    One of these makes it what it is: ``driver``, a rule-based driver; ``agent``, another row,
    driven under other options of ``vlsafe evaluate`` (a shield, a cost limit); ``risk``, options of
    ``vlsafe train-risk``; ``command``, a program that trains; ``model``, a file that is there; or
    else ``algo`` and further options of ``vlsafe train``.

    In ``command`` and ``model`` stand ``{seed}``, in ``command`` also ``{out}`` (its own folder),
    ``{data}`` and ``{env}``.
    """

    name: str = ""
    label: str = ""  # in tables; empty: what the evaluation says
    driver: str | None = None
    agent: str | None = None
    risk: Options | None = None
    command: str | None = None
    model: str | None = None
    algo: str | None = None
    train: Options = field(default_factory=dict)  # of `vlsafe train`: what else stands in the row
    evaluate: Options = field(default_factory=dict)  # of `vlsafe evaluate`
    drives: bool = True  # whether it is evaluated; a world model that others share need not be
    data: str | None = None
    environments: tuple[str, ...] | None = None  # only there
    per_environment: dict[str, Options] = field(default_factory=dict)  # training options there
    seeds: tuple[int, ...] | None = None  # in place of the suite's
    gpus: float = 0.0  # that its training takes, for Ray

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` makes it."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def changed_by(self, options: Options) -> Row:
        """The row with other options of its training."""
        if self.kind == "risk":
            return replace(self, risk={**(self.risk or {}), **options})
        return replace(self, train={**self.train, **options})

    @property
    def is_seeded(self) -> bool:
        """Whether it is trained once a seed; a driver with rules, and one file, are not."""
        if self.kind == "model":
            return "{seed}" in str(self.model)
        return self.kind != "driver"


@dataclass(frozen=True)
class Suite:
    """Everything that a benchmark runs."""

    name: str = ""
    about: str = ""
    seeds: tuple[int, ...] = (0,)  # of training
    evaluation: Options = field(default_factory=dict)  # of `vlsafe evaluate`, for all rows
    reference: str | None = None  # the row that others are compared with; a score of 1
    data: dict[str, Recipe] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    algorithms: dict[str, Row] = field(default_factory=dict)

    def seeds_of(self, row: Row) -> tuple[int | None, ...]:
        """Training seeds of a row; ``(None,)`` where there is nothing to be seeded."""
        if row.kind == "agent":
            own = self.seeds_of(self.algorithms[str(row.agent)])
            shield = self.shield_of(row)
            return self.seeds_of(shield) if own == (None,) and shield is not None else own
        return (row.seeds or self.seeds) if row.is_seeded else (None,)

    def evaluate_options(self, row: Row) -> Options:
        """Options of `vlsafe evaluate`: the suite's, those of the row's agent, its own."""
        base = {} if row.kind != "agent" else self.algorithms[str(row.agent)].evaluate
        return {**self.evaluation, **base, **row.evaluate}

    def shield_of(self, row: Row) -> Row | None:
        """The risk model of this suite that a row drives behind; None: of none of it."""
        name = self.evaluate_options(row).get("shield")
        shield = self.algorithms.get(str(name))
        return shield if shield is not None and shield.kind == "risk" else None

    def rows_in(self, environment: str) -> list[Row]:
        """Rows that are run in an environment, as they stand in the suite."""
        return [
            row
            for row in self.algorithms.values()
            if not row.environments or environment in row.environments
        ]

    def in_environment(self, name: str) -> Suite:
        """This suite with what its rows say of one environment in place of their own options."""
        return replace(
            self,
            algorithms={
                key: row.changed_by(row.per_environment.get(name, {}))
                for key, row in self.algorithms.items()
            },
        )


def read_suite(path: Path) -> Suite:
    """The suite of a YAML file.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that is no YAML, unknown or doubled keys, values of another kind, and
            names that nothing has; the message says where.
    """
    content = read_yaml(path, object)  # what a suite is, is checked below
    try:
        return make_suite(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def make_suite(content: Any) -> Suite:
    """A suite of plain values, as they stand in a file.

    Raises:
        ValueError: as :func:`read_suite`.
    """
    top = dict(_names(content, "the suite"))
    parts = {key: top.pop(key, None) or {} for key in ("data", "environments", "algorithms")}
    suite = _made(Suite, top, "the suite")
    if not suite.name:
        raise ValueError("the suite has no name; add `name: mine`")
    recipes = {key: _recipe(value, f"data.{key}") for key, value in _entries(parts, "data")}
    environments = {
        key: _environment(value, f"environments.{key}", recipes)
        for key, value in _entries(parts, "environments")
    }
    rows = [
        row
        for key, value in _entries(parts, "algorithms")
        for row in _rows(key, value, f"algorithms.{key}")
    ]
    suite = replace(
        suite,
        data=recipes,
        environments=environments,
        algorithms={row.name: row for row in rows},
    )
    _check(suite)
    return suite


def _entries(parts: Mapping[str, Any], part: str) -> list[tuple[str, Any]]:
    entries = [(str(key), value) for key, value in _names(parts[part], part).items()]
    for key, _ in entries:
        if not _NAME.match(key):
            raise ValueError(
                f"{part}: {key!r} cannot be a folder's name; use letters, digits and -"
            )
    if not entries and part != "data":
        raise ValueError(f"the suite has no {part}; name at least one")
    return entries


def _names(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: {value!r} stands where names and values are expected")
    return value


def _made(kind: Any, values: Any, where: str) -> Any:
    """A dataclass with these values, all of them known and of their kinds."""
    try:
        found = replaced(kind(), {str(key): value for key, value in _names(values, where).items()})
        check_config(found)
    except ValueError as error:
        message = str(error).removeprefix("config: ")
        raise ValueError(message if message.startswith(where) else f"{where}: {message}") from None
    return found


def _recipe(values: Any, where: str) -> Recipe:
    given = dict(_names(values, where))
    if "label" in given and given["label"] is None:
        given["label"] = {}  # `label:` by itself: with all its defaults
    found: Recipe = _made(Recipe, given, where)
    for option in ("out", "env", "env_arg", "overwrite"):
        if option in found.collect:
            raise ValueError(f"{where}.collect: {option} is set by the suite; leave it out")
    return found


def _environment(values: Any, where: str, recipes: Mapping[str, Recipe]) -> Environment:
    given = dict(_names(values, where))
    conditions = {
        str(key): _made(Condition, value or {}, f"{where}.conditions.{key}")
        for key, value in _names(given.pop("conditions", None) or {}, f"{where}.conditions").items()
    }
    for key in conditions:
        if not _NAME.match(key):
            raise ValueError(f"{where}.conditions: {key!r} cannot be a folder's name")
    found = replace(
        _made(Environment, given, where), conditions=conditions or {"same": Condition()}
    )
    if not found.env:
        raise ValueError(f"{where}: env is missing; name one, such as VLSafe-Highway-v0")
    if found.data is None and len(recipes) == 1:
        found = replace(found, data=next(iter(recipes)))
    _known(found.data, recipes, f"{where}.data", "recipe of data")
    return found


_OWN = tuple(f.name for f in fields(Row) if f.name not in ("name", "train"))


def _rows(name: str, values: Any, where: str) -> list[Row]:
    """The row, or one for each combination of values of its ``grid``."""
    given = dict(_names(values, where))
    grid = _names(given.pop("grid", None) or {}, f"{where}.grid")
    for key, choices in grid.items():
        if not isinstance(choices, list) or not choices or key in given:
            raise ValueError(f"{where}.grid.{key}: give a list of values, here and nowhere else")
    found = []
    for combination in itertools.product(*grid.values()):
        chosen = dict(zip(grid, combination, strict=True))
        full = ",".join([name, *(f"{key}={value}" for key, value in chosen.items())])
        if not _NAME.match(full):
            raise ValueError(f"{where}.grid: {full!r} cannot be a folder's name; use short values")
        found.append(_row(full, given | chosen, where))
    return found


def _row(name: str, given: Mapping[str, Any], where: str) -> Row:
    values = dict(given)
    if values.get("evaluate") is False:
        values |= {"drives": False, "evaluate": {}}
    own = {key: value for key, value in values.items() if key in _OWN}
    more = {str(key): value for key, value in values.items() if key not in _OWN}
    row: Row = replace(_made(Row, own, where), name=name, train=more)
    if not any(getattr(row, kind) is not None for kind in KINDS):
        row = replace(row, algo="vlsafe") if more else row
    if not any(getattr(row, kind) is not None for kind in KINDS):
        raise ValueError(f"{where}: nothing says what it is; give one of {', '.join(KINDS)}")
    if more and row.kind != "algo":
        first = next(iter(more))
        alike = did_you_mean(first, _OWN)
        raise ValueError(f"{where}: a row with {row.kind!r} has no {first!r}{alike}")
    makers = [kind for kind in KINDS if getattr(row, kind) is not None]
    if row.kind in ("model", "command"):
        if row.algo is None:
            raise ValueError(f"{where}: algo is missing: which algorithm is the model of?")
    elif len(makers) > 1:
        raise ValueError(f"{where}: {makers[0]} and {makers[1]} contradict each other")
    if row.per_environment and row.kind not in ("algo", "risk"):
        raise ValueError(f"{where}: a row with {row.kind!r} has no per_environment")
    for options in (more, *row.per_environment.values()):
        for option in ("out", "env", "env_arg", "seed"):
            if option in _names(options, f"{where}.per_environment"):
                raise ValueError(f"{where}: {option} is set by the suite; leave it out")
    return row


def _check(suite: Suite) -> None:
    """What the parts say of each other."""
    for seed in suite.seeds:
        whole_number(seed, "seeds", "the suite", low=0)
    if len(set(suite.seeds)) < len(suite.seeds) or not suite.seeds:
        raise ValueError("seeds: give each training seed once")
    _known(suite.reference, suite.algorithms, "reference", "algorithm")
    for row in suite.algorithms.values():
        where = f"algorithms.{row.name}"
        _known(row.data, suite.data, f"{where}.data", "recipe of data")
        for name in row.environments or ():
            _known(name, suite.environments, f"{where}.environments", "environment")
        for name, options in row.per_environment.items():
            _known(name, suite.environments, f"{where}.per_environment", "environment")
            if shared_there := {"world_model", "start_from", "algo", "data"} & set(options):
                raise ValueError(
                    f"{where}.per_environment.{name}: {sorted(shared_there)[0]} is the same in all "
                    "environments; give it in the row, or make another row"
                )
        for option in ("world_model", "start_from"):
            shared = row.train.get(option)
            _known(shared, suite.algorithms, f"{where}.{option}", "algorithm")
            if shared is not None and suite.algorithms[shared].kind != "algo":
                raise ValueError(
                    f"{where}.{option}: {shared!r} is no agent that `vlsafe train` makes"
                )
            _other(suite, row, shared, f"{where}.{option}")
        if row.kind == "agent":
            _known(row.agent, suite.algorithms, f"{where}.agent", "algorithm")
            if suite.algorithms[str(row.agent)].kind == "agent":
                raise ValueError(f"{where}.agent: {row.agent!r} is itself another row's agent")
            _other(suite, row, row.agent, f"{where}.agent")
            if (shield := suite.shield_of(row)) is not None:
                _other(suite, row, shield.name, f"{where}.evaluate.shield")


def _other(suite: Suite, row: Row, name: Any, where: str) -> None:
    """Another row that a row builds on has to be run wherever the row is."""
    if name is None:
        return
    _known(name, suite.algorithms, where, "algorithm")
    other = suite.algorithms[name]
    if name == row.name:
        raise ValueError(f"{where}: a row cannot build on itself")
    for environment in suite.environments:
        if row in suite.rows_in(environment) and other not in suite.rows_in(environment):
            raise ValueError(f"{where}: {name!r} is not run in {environment!r}")
    theirs = set(suite.seeds_of(other))
    missing = set(suite.seeds_of(row)) - theirs - {None}
    if missing and theirs != {None}:  # a driver has no seeds
        raise ValueError(
            f"{where}: {name!r} is not trained with the seeds {sorted(map(str, missing))}"
        )


def _known(name: Any, known: Sequence[str] | Mapping[str, Any], where: str, what: str) -> None:
    if name is None or name in known:
        return
    listed = ", ".join(known) or "none"
    raise ValueError(
        f"{where}: there is no {what} {name!r}; known: {listed}{did_you_mean(name, known)}"
    )
