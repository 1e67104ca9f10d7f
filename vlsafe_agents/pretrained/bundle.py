"""Models that come with vlsafe: one folder each, under names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrappers.checks import did_you_mean


@dataclass(frozen=True)
class Bundle:
    """The models of one kind.

    Args:
        root: where their folders are.
        file: that makes a folder a whole model.
        what: they are called in messages, such as "risk model".
        remedy: what to do where there is none of a name.
    """

    root: Path
    file: str
    what: str
    remedy: str

    def names(self) -> tuple[str, ...]:
        """What there is."""
        return tuple(sorted(file.parent.name for file in self.root.glob(f"*/{self.file}")))

    def find(self, name: str) -> Path | None:
        """The folder of a model, by its name or the short form of an environment's id.

        Short forms may be hyphenated: ``"left-turn"`` and ``"leftturn"`` are the same.
        """
        for known in self.names():
            if name == known or name.replace("-", "") == short_name(known).replace("-", ""):
                return self.root / known
        return None

    def folder(self, name: str) -> Path:
        """As :meth:`find`.

        Raises:
            ValueError: where there is none, naming those that there are.
        """
        found = self.find(name)
        if found is None:
            known = self.names()
            alike = did_you_mean(name, (*known, *map(short_name, known)))
            raise ValueError(
                f"no {self.what} is bundled for {name!r}; there are some for {', '.join(known)}"
                f"{alike}; {self.remedy}"
            )
        return found


def short_name(env_id: str) -> str:
    """``"highway"`` of ``"VLSafe-Highway-v0"``; other names as they are."""
    name = env_id.removeprefix("VLSafe-")
    return name.rpartition("-v")[0].lower() if name != env_id and "-v" in name else env_id
