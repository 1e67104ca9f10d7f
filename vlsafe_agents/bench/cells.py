"""The cells of a suite: single commands, with what each needs done before.

In options and arguments ``{out}`` stands for the suite's folder, so that a cell's digest does not
depend on where the folder lies.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.bench.suite import Condition, Environment, Options, Row, Suite
from wrappers.files import file_sha256

OUT = "{out}"
_ENV_OPTIONS = ("wrapper", "cost_key", "cost_function", "reward_function")


@dataclass(frozen=True, eq=False)
class Cell:
    """One command and what belongs to it."""

    name: str  # "train highway/seed0/gated"
    command: str  # of vlsafe, or "command" for a program of somebody's own
    folder: str  # in the suite's, that the cell makes
    product: str  # a pattern of files in it; without one the cell is not done
    arguments: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)
    needs: tuple[Cell, ...] = ()
    environment: str = ""
    condition: str | None = None
    row: str | None = None
    seed: int | None = None
    gpus: float = 0.0
    files: tuple[str, ...] = ()  # that stand in the arguments; their contents count
    works_in_place: bool = False  # adds to the folder of a cell that it needs

    @property
    def after(self) -> tuple[str, ...]:
        """Names of the cells that it needs."""
        return tuple(cell.name for cell in self.needs)

    @property
    def slots(self) -> int:
        """Cores that it takes."""
        workers = self.options.get("workers", 1)
        return workers if isinstance(workers, int) and workers > 0 else 1

    @property
    def definition(self) -> dict[str, Any]:
        """What it does, without what it needs."""
        found = {
            "command": self.command,
            "arguments": list(self.arguments),
            "options": dict(self.options),
        }
        if self.files:
            here = {name: Path(name) for name in self.files}
            found["files"] = {
                name: file_sha256(path) if path.is_file() else None for name, path in here.items()
            }
        return found

    @cached_property
    def digest(self) -> str:
        """Of its definition and those of all that it needs."""
        content = [self.definition, [cell.digest for cell in self.needs]]
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def chain(self) -> list[Cell]:
        """All that it needs, in an order in which they can be run, and itself."""
        found: dict[str, Cell] = {}
        for cell in self.needs:
            found |= {one.name: one for one in cell.chain()}
        return [*found.values(), self]


def in_folder(value: Any, out: Path) -> Any:
    """A value with the suite's folder in place of ``{out}``."""
    if isinstance(value, str):
        return value.replace(OUT, str(out))
    if isinstance(value, Mapping):
        return {key: in_folder(one, out) for key, one in value.items()}
    return [in_folder(one, out) for one in value] if isinstance(value, list | tuple) else value


def plan(suite: Suite) -> list[Cell]:
    """All cells, each after those that it needs.

    Raises:
        ValueError: where a row needs data and no recipe is named.
    """
    found: dict[str, Cell] = {}
    for name, environment in suite.environments.items():
        here = suite.in_environment(name)
        place = _Place(here, name, environment)
        for row in here.rows_in(name):
            for seed in suite.seeds_of(row):
                for cell in place.cells(row, seed):
                    found |= {one.name: one for one in cell.chain()}
    return list(found.values())


class _Place:
    """The cells of one environment; each is made once."""

    def __init__(self, suite: Suite, name: str, environment: Environment) -> None:
        self._suite, self._name, self._environment = suite, name, environment
        self._made: dict[tuple[Any, ...], Cell] = {}

    def cells(self, row: Row, seed: int | None) -> Iterator[Cell]:
        """Evaluations of a row, or its training alone where it does not drive."""
        if not row.drives:
            if row.kind != "driver" and (training := self._training(row, seed)) is not None:
                yield training
            return
        for condition, changes in self._environment.conditions.items():
            yield self._evaluation(row, seed, condition, changes)

    # --- data -------------------------------------------------------------------------------------

    def _data(self, name: str) -> Cell:
        """The last cell of a recipe."""
        key = ("data", name)
        if key not in self._made:
            recipe, folder = self._suite.data[name], f"{self._name}/data/{name}"
            collect = Cell(
                name=f"collect {self._name}/{name}",
                command="collect",
                folder=folder,
                product="**/main_data.hdf5",
                options={
                    **self._env_options(),
                    **({} if self._environment.density is None else self._density()),
                    "workers": 1,
                    **recipe.collect,
                    "out": f"{OUT}/{folder}",
                },
                environment=self._name,
            )
            self._made[key] = collect
            if recipe.label is not None:
                self._made[key] = Cell(
                    name=f"label {self._name}/{name}",
                    command="label",
                    folder=folder,
                    product="**/main_data.hdf5",
                    arguments=(f"{OUT}/{folder}",),
                    options=dict(recipe.label),
                    needs=(collect,),
                    environment=self._name,
                    works_in_place=True,
                )
        return self._made[key]

    def _density(self) -> Options:
        return {"density": self._environment.density}

    def _env_options(self) -> Options:
        """Options that name the environment."""
        own = self._environment
        named = {key: getattr(own, key) for key in _ENV_OPTIONS if getattr(own, key) is not None}
        args = {"env_arg": own.env_args} if own.env_args else {}
        return {"env": own.env, **args, **named}

    # --- training ---------------------------------------------------------------------------------

    def _training(self, row: Row, seed: int | None) -> Cell | None:
        """What makes an agent; None where it is there already."""
        if row.kind in ("driver", "model"):
            return None
        if row.kind == "agent":
            return self._training(self._suite.algorithms[str(row.agent)], seed)
        key = ("train", row.name, seed)
        if key not in self._made:
            make = {"algo": self._train, "risk": self._train_risk, "command": self._program}
            self._made[key] = make[row.kind](row, int(seed or 0))
        return self._made[key]

    def _made_cell(self, row: Row, seed: int, command: str, **more: Any) -> Cell:
        return Cell(
            name=f"train {self._name}/seed{seed}/{row.name}",
            command=command,
            folder=f"{self._name}/agents/seed{seed}/{row.name}",
            environment=self._name,
            row=row.name,
            seed=seed,
            gpus=row.gpus,
            **more,
        )

    def _train(self, row: Row, seed: int) -> Cell:
        assert row.algo is not None
        options: Options = {"algo": row.algo, **row.train}
        needs: list[Cell] = []
        for name in ("world_model", "start_from"):
            if name in options:
                other = self._training(self._suite.algorithms[options[name]], seed)
                assert other is not None
                options[name] = f"{OUT}/{other.folder}"
                needs.append(other)
        spec = ALGORITHMS.get(row.algo)  # unknown ones are refused where the command is known
        offline = spec is not None and spec.offline and not options.get("online")
        recipe = row.data or (self._environment.data if offline else None)
        if recipe is not None:
            data = self._data(recipe)
            needs.insert(0, data)
            options["data"] = f"{OUT}/{data.folder}"
        elif offline:
            raise ValueError(
                f"algorithms.{row.name}: {row.algo} learns from data; name a recipe: data: ..."
            )
        if recipe is None:
            options = {**self._env_options(), **options}
            if self._environment.density is not None:
                options |= self._density()
        elif self._environment.allow_import:
            options["allow_import"] = True
        if self._environment.observation is not None:
            options.setdefault("observation", self._environment.observation)
        options |= {"seed": seed}
        folder = f"{OUT}/{self._name}/agents/seed{seed}/{row.name}"
        return self._made_cell(
            row, seed, "train", product="model.zip", options={**options, "out": folder},
            needs=tuple(needs),
        )  # fmt: skip

    def _train_risk(self, row: Row, seed: int) -> Cell:
        folder = f"{OUT}/{self._name}/agents/seed{seed}/{row.name}"
        density = {} if self._environment.density is None else self._density()
        options = {**self._env_options(), **density, **(row.risk or {}), "seed": seed}
        options["out"] = folder
        return self._made_cell(row, seed, "train-risk", product="risk.zip", options=options)

    def _program(self, row: Row, seed: int) -> Cell:
        folder = f"{OUT}/{self._name}/agents/seed{seed}/{row.name}"
        needs: tuple[Cell, ...] = ()
        known = {"seed": str(seed), "out": folder, "env": self._environment.env}
        if row.data is not None:
            data = self._data(row.data)
            needs, known = (data,), {**known, "data": f"{OUT}/{data.folder}"}
        words = tuple(_filled(word, known, row) for word in shlex.split(str(row.command)))
        files = tuple(word for word in words if OUT not in word and Path(word).is_file())
        return self._made_cell(
            row, seed, "command", product=row.model or "model.zip", arguments=words, needs=needs,
            files=files,
        )  # fmt: skip

    # --- evaluation -------------------------------------------------------------------------------

    def _evaluation(self, row: Row, seed: int | None, condition: str, changes: Condition) -> Cell:
        suite, own = self._suite, self._environment
        where = "" if seed is None else f"seed{seed}/"
        folder = f"{self._name}/drives/{condition}/{where}{row.name}"
        who = suite.algorithms[str(row.agent)] if row.kind == "agent" else row
        options: Options = {"record": False, **suite.evaluate_options(row)}
        training = self._training(row, seed)
        needs = [] if training is None else [training]
        files: tuple[str, ...] = ()
        if who.kind == "driver":
            argument = str(who.driver)
        elif who.kind == "model":
            argument = str(who.model).replace("{seed}", str(seed))
            files = (argument,)
        elif who.kind == "command":
            assert training is not None
            argument = f"{OUT}/{training.folder}/{training.product}"
        else:
            assert training is not None
            argument = f"{OUT}/{training.folder}"
        if who.kind in ("model", "command"):
            options["algo"] = who.algo
        args = dict(changes.env_args)
        density = own.density if changes.density is None else changes.density
        if who.kind in ("driver", "model", "command"):
            options |= self._env_options()
            options.pop("reward_function", None)  # evaluations count the environment's own
            args = {**own.env_args, **args}
        if args:
            options["env_arg"] = args
        if density is not None:
            options["density"] = density
        if own.allow_import:
            options["allow_import"] = True
        if (shield := suite.shield_of(row)) is not None:
            model = self._training(shield, seed if seed is not None else suite.seeds[0])
            assert model is not None
            options["shield"] = f"{OUT}/{model.folder}"
            needs.append(model)
        return Cell(
            name=f"evaluate {self._name}/{condition}/{where}{row.name}",
            command="evaluate",
            folder=folder,
            product="evaluation*.json",
            arguments=(argument,),
            options={**options, "out": f"{OUT}/{folder}"},
            needs=tuple(needs),
            environment=self._name,
            condition=condition,
            row=row.name,
            seed=seed,
            files=files,
        )


def _filled(word: str, known: Mapping[str, str], row: Row) -> str:
    """A word of a command with its blanks filled in."""
    for name, value in known.items():
        word = word.replace(f"{{{name}}}", value) if name != "out" else word
    if "{data}" in word:
        raise ValueError(f"algorithms.{row.name}: {{data}} needs a recipe; name one: data: ...")
    return word.replace(OUT, known["out"])


def chosen(cells: Sequence[Cell], pattern: str | None) -> list[Cell]:
    """Cells whose names match, with all that they need.

    Args:
        pattern: of the shell, ``"evaluate highway/*"``, or any part of a name; None: all.

    Raises:
        ValueError: where none matches.
    """
    from fnmatch import fnmatchcase

    if pattern is None:
        return list(cells)
    hits = [c for c in cells if pattern in c.name or fnmatchcase(c.name, pattern)]
    if not hits:
        raise ValueError(
            f"--only {pattern!r} fits no cell; --dry-run lists them, such as {cells[-1].name!r}"
        )
    wanted = {one.name for hit in hits for one in hit.chain()}
    return [cell for cell in cells if cell.name in wanted]
