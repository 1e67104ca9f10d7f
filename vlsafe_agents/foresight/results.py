"""The file ``foresight.json``: written by ``vlsafe foresight``, read by reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.foresight.measure import Base, Measured, Rate, Safe, Signal
from wrappers.files import read_json, write_json

FORESIGHT_FILE = "foresight.json"
VERSION = 1
REMEDY = "measure it again with `vlsafe foresight`"
AS_RECORDED = "as recorded"  # title of the traffic that thresholds come from


@dataclass(frozen=True)
class Traffic:
    """One traffic: what was looked at there, and what was found."""

    title: str
    env_kwargs: Mapping[str, Any]
    data: str | None  # the recordings that were looked at; None: the agent drove
    measured: Measured


@dataclass(frozen=True)
class Foresight:
    """How well an agent's danger signals foresee crashes; the first traffic is as recorded."""

    agent: str
    settings: Mapping[str, Any]  # that it was trained with
    env_id: str
    seconds: float  # a decision lasts
    options: Mapping[str, Any]  # how it was measured
    traffics: tuple[Traffic, ...]

    @property
    def horizons(self) -> tuple[float, ...]:
        """Seconds ahead."""
        return tuple(base.horizon for base in self.traffics[0].measured.base)

    def write(self, path: Path) -> None:
        """Write it as strict JSON, whole or not at all; NaN becomes null."""
        content = {
            "version": VERSION,
            **{key: value for key, value in vars(self).items() if key != "traffics"},
            "traffics": [{**vars(one), "measured": _plain(one.measured)} for one in self.traffics],
        }
        write_json(path, content)


def read_foresight(path: Path) -> Foresight:
    """Inverse of :meth:`Foresight.write`.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for any other file, and for one of another version.
    """
    content = read_json(path, dict, REMEDY)
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {content.get('version')!r}, this program reads {VERSION}; "
            f"{REMEDY}"
        )
    try:
        found = Foresight(
            agent=_of(content, "agent", str),
            settings=_of(content, "settings", dict),
            env_id=_of(content, "env_id", str),
            seconds=_number(content, "seconds"),
            options=_of(content, "options", dict),
            traffics=tuple(_traffic(entry) for entry in _of(content, "traffics", list)),
        )
        _check(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not as `vlsafe foresight` writes it ({error}); {REMEDY}"
        ) from None
    return found


def _check(found: Foresight) -> None:
    """Every traffic has the same horizons and signals, and each signal a figure for each."""
    if not found.traffics or not found.seconds > 0 or not found.horizons:
        raise ValueError("it holds no drives")
    names = [signal.name for signal in found.traffics[0].measured.signals]
    for traffic in found.traffics:
        measured, count = traffic.measured, len(found.horizons)
        if tuple(base.horizon for base in measured.base) != found.horizons:
            raise ValueError(f"{traffic.title!r} has other horizons")
        if [signal.name for signal in measured.signals] != names:
            raise ValueError(f"{traffic.title!r} has other signals")
        for signal in measured.signals:
            if len(signal.auroc) != count or any(len(s.rates) != count for s in signal.safe):
                raise ValueError(f"{signal.name!r} lacks figures of some horizons")


def _plain(value: Any) -> Any:
    """Named tuples as objects, NaN as null."""
    if isinstance(value, Estimate):
        return _plain(asdict(value))
    if hasattr(value, "_asdict"):
        return {key: _plain(entry) for key, entry in value._asdict().items()}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _traffic(entry: Any) -> Traffic:
    data = entry["data"]
    return Traffic(
        title=_of(entry, "title", str),
        env_kwargs=_of(entry, "env_kwargs", dict),
        data=None if data is None else _of(entry, "data", str),
        measured=_measured(_of(entry, "measured", dict)),
    )


def _measured(entry: Mapping[str, Any]) -> Measured:
    bases = tuple(
        Base(
            _number(one, "horizon"),
            _of(one, "left_out", int),
            _of(one, "crashes", int),
            _rate(one["rate"]),
        )
        for one in _of(entry, "base", list)
    )
    drives, crashed, steps = (_of(entry, key, int) for key in ("drives", "crashed", "steps"))
    signals = tuple(_signal(one) for one in _of(entry, "signals", list))
    return Measured(drives, crashed, steps, bases, signals)


def _signal(entry: Any) -> Signal:
    return Signal(
        name=_of(entry, "name", str),
        is_chance=_of(entry, "is_chance", bool),
        unknown=_of(entry, "unknown", int),
        auroc=tuple(_estimate(one) for one in _of(entry, "auroc", list)),
        safe=tuple(
            Safe(
                _of(one, "rule", str),
                _maybe(one, "threshold"),
                _of(one, "at_most", bool),
                _of(one, "steps", int),
                _maybe(one, "share"),
                tuple(_rate(rate) for rate in _of(one, "rates", list)),
            )
            for one in _of(entry, "safe", list)
        ),
    )


def _rate(entry: Any) -> Rate:
    return Rate(_estimate(entry["estimate"]), _of(entry, "steps", int))


def _estimate(entry: Any) -> Estimate:
    return Estimate(*(_maybe(entry, key) for key in ("value", "low", "high")))


def _of(entry: Any, key: str, kind: type) -> Any:
    value = entry[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{key} is {value!r}, no {kind.__name__}")
    return value


def _number(entry: Any, key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}, no number")
    return float(value)


def _maybe(entry: Any, key: str) -> float:
    return float("nan") if entry[key] is None else _number(entry, key)
