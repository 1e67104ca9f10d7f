"""The detector of ``vlsafe train-risk --observation image``: made of our pictures' geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.detection import DetectionConfig, Detector

_SECONDS = 0.5  # between two pictures of a drive


@dataclass(frozen=True)
class Seeing:
    """How a detector comes about, and in which environment its pictures are taken."""

    env: EnvChoice
    config: DetectionConfig

    @property
    def stated(self) -> dict[str, Any]:
        """All that decides what it becomes, besides seed and drivers."""
        return {"density": self.env.kwargs.get("density"), **asdict(self.config)}

    def learn(
        self, out: Path, drive: Any, seed: int, progress: Callable[[str, int, int], None]
    ) -> Detector:
        """The detector in ``out``, or a new one.

        Args:
            drive: makes the drivers.
        """
        from vlsafe_agents.cli.policies import ShownVehicles
        from vlsafe_agents.detection import train_detector

        env = ShownVehicles(self.env.factory(observation="all", scorer=None)(), image=True)
        try:
            return train_detector(env, out, drive, self.config, seed, progress)
        finally:
            env.close()


def seeing(
    observation: str,
    choice: EnvChoice,
    density: str | None,
    frequency: float,
    pictures: int,
    updates: int,
) -> Seeing | None:
    """What the options say of a detector; None: there is to be none.

    Args:
        density: of the traffic in its pictures; None: the environment's.
        frequency: decisions a second [Hz].

    Raises:
        ValueError: for an unknown observation, and a density that there cannot be.
    """
    from vlsafe_agents.cli.environments import parse_density
    from vlsafe_agents.detection import DetectionConfig, DetectorConfig, View
    from vlsafe_envs.render.frames import image_view
    from vlsafe_envs.vehicle_set import VEHICLE_SET_FEATURES

    if observation not in ("vehicles", "ways", "image"):
        raise ValueError(
            f"--observation {observation!r}: a risk model sees vehicles, ways or image"
        )
    if observation != "image":
        return None
    own = {} if density is None else {"density": parse_density(density)}
    config = DetectionConfig(
        view=View(*image_view()),
        distances=sum(name.startswith("plan_distance") for name in VEHICLE_SET_FEATURES),
        pictures=pictures,
        every=max(1, round(_SECONDS * frequency)),
        detector=DetectorConfig(updates=updates),
    )
    return Seeing(choice.with_kwargs(own), config)


def print_finds(found: Mapping[str, Mapping[str, Any]]) -> None:
    """What was found in pictures of drives that were not learnt from, by whose drives they are."""
    from vlsafe_agents.cli.tables import print_table
    from vlsafe_agents.report.tables import NOT_KNOWN, figure, percent

    def shown(value: Any, show: Any = figure) -> str:
        return NOT_KNOWN if value is None else str(show(value))

    rows = [
        (
            name,
            f"{part['pictures']:,}",
            f"{part['vehicles']:,}",
            shown(part["recall"], percent),
            *(shown(part[key]) for key in ("false_alarms", "place_error", "velocity_error")),
        )
        for name, part in found.items()
    ]
    titles = ("drives", "pictures", "vehicles", "found", "false alarms a picture")
    print_table("The detector", (*titles, "off [m]", "off [m/s]"), rows)
