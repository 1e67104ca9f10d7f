"""The report's charts: nothing lies over a line or is cut off, and colours mean one thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Bbox
from report_run import SETTINGS, add_agent, settings, write_episode, write_open_loop, write_progress
from test_report import Page, agent_run

from vlsafe_agents.report import figures, write_report
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.run_folder import read_run_folder
from wrappers.files import read_npz

RNG = np.random.default_rng


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be written as SVG."""
    seen: list[Any] = []
    monkeypatch.setattr(figures, "svg", lambda figure, name: seen.append(figure) or "<svg/>")
    return seen


def overlap(one: Bbox, other: Bbox) -> bool:
    common = Bbox.intersection(one, other)
    return common is not None and min(common.width, common.height) > 1.0  # [px]


def check_layout(figure: Any) -> None:
    """Legends lie beside the axes, tick labels on the figure and not on another panel."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    inside = [axes.get_window_extent() for axes in panels]
    below = [axes.xaxis.get_tightbbox(renderer) for axes in panels]
    legends = [*figure.legends, *(axes.get_legend() for axes in panels if axes.get_legend())]
    for legend in legends:
        box = legend.get_window_extent(renderer)
        assert not any(overlap(box, area) for area in [*inside, *below])
        assert figure.bbox.padded(1).containsx(box.x0)
        assert figure.bbox.padded(1).containsy(box.y0)
        assert figure.bbox.padded(1).containsx(box.x1)
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            if axes.axison and axis.get_visible() and len(axes.lines):
                texts = [tick.label1.get_text() for tick in shown_ticks(axis)]
                names = isinstance(axis.get_major_locator(), FixedLocator)
                hidden = axis is axes.xaxis and not axis.get_tick_params().get("labelbottom", True)
                assert hidden or sum(map(bool, texts)) > (not names), "an axis without numbers"
        others = [area for other, area in zip(panels, inside, strict=True) if other is not axes]
        labels = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in shown_ticks(axis)]
        for label in (label for label in labels if label.get_text()):
            box = label.get_window_extent(renderer)
            assert figure.bbox.padded(2).containsx(box.x0), label.get_text()
            assert not any(overlap(box, area) for area in others), label.get_text()


def shown_ticks(axis: Any) -> list[Any]:
    """Ticks within the limits; the others are not drawn."""
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def logged(tmp_path: Path, scale: Callable[[str], float] = lambda key: 1.0) -> AgentRun:
    """An agent of VLSafe with a log, its values multiplied by a factor of each key."""
    folder = add_agent(tmp_path, "a", 0.1, trained=SETTINGS["vlsafe-gated"])
    write_progress(folder / "progress.csv", RNG(0), dreams=True)
    (agent,) = read_run_folder(tmp_path).agents
    for key in agent.progress:
        agent.progress[key] = agent.progress[key] * scale(key)
    return agent


@pytest.mark.parametrize("factor", [1e-6, 1.0, -1.0, 12_345.0, 1e7])
def test_curves_of_any_size_fit(tmp_path: Path, drawn: list[Any], factor: float) -> None:
    agent = logged(tmp_path, lambda key: 1.0 if key.startswith("time/") else factor)
    assert figures.learning_curves(agent, figures.line_colours([agent.progress]))
    check_layout(drawn[0])


def test_other_charts_fit(tmp_path: Path, drawn: list[Any]) -> None:
    names = ["expert", *SETTINGS]
    for more in ([], ["somebody with a name that is not short at all"], ["x" * 250]):
        assert figures.tradeoff_chart([agent_run(name, 0.3, 20.0) for name in names + more])
    write_open_loop(tmp_path / "x.npz", RNG(0))
    assert figures.open_loop_chart(read_npz(tmp_path / "x.npz", "arrays"), "x")
    write_episode(tmp_path / "e" / "y.npz", RNG(0), 12, 32, crash=True)
    assert figures.episode_chart(read_npz(tmp_path / "e" / "y.npz", "arrays"), "y")
    assert len(drawn) == 5
    for figure in drawn:
        check_layout(figure)


def lines_of(figure: Any) -> dict[str, tuple[str, str]]:
    """Colour and dashes by what a line is called in the legend."""
    return {
        line.get_label(): (line.get_color(), line.get_linestyle())
        for axes in figure.axes
        for line in axes.get_lines()
    }


def test_a_quantity_has_one_colour_imagined_or_recorded(tmp_path: Path, drawn: list[Any]) -> None:
    whole, part = logged(tmp_path / "1"), logged(tmp_path / "2")
    for key in ("imagined/return", "train/image_loss"):
        del part.progress[key]  # so that all others would move up by one
    colours = figures.line_colours([whole.progress, part.progress])
    for agent in (whole, part):
        figures.learning_curves(agent, colours)
    first, second = map(lines_of, drawn)
    for imagined, recorded in (
        ("imagined/return", "data/return"),
        ("imagined/cost_return", "data/cost"),
    ):
        assert first[imagined][0] == first[recorded][0]
        assert (first[imagined][1], first[recorded][1]) == ("--", "-")
    assert second == {label: first[label] for label in second}
    assert first["image_loss"][0] != first["reward_loss"][0]


@pytest.mark.parametrize("last", [0.9, 0.4, 1e-3, -1.0])
def test_losses_of_any_range_have_numbers_beside_them(
    last: float, tmp_path: Path, drawn: list[Any]
) -> None:
    agent = logged(tmp_path)
    steps = len(agent.progress["time/total_timesteps"])
    for key in [k for k in agent.progress if k.endswith("_loss")]:
        agent.progress[key] = np.linspace(1.0, last, steps)
    figures.learning_curves(agent, figures.line_colours([agent.progress]))
    check_layout(drawn[0])


@pytest.mark.parametrize(
    ("values", "climbs"),
    [
        (np.linspace(0, 2, 40), True),
        (np.geomspace(0.1, 50, 40), True),
        (2 - np.exp(-np.arange(40) / 3), False),
        (np.linspace(2, 0, 40), False),
        (np.zeros(40), False),
        (2 + 0.02 * RNG(0).normal(size=40), False),
        (np.array([1.0, 2.0]), False),  # too few to say
    ],
)
def test_a_multiplier_that_still_climbs_is_said(values: np.ndarray, climbs: bool) -> None:
    sentence = figures.still_climbing({"train/lagrange_multiplier": values})
    assert ("still climbs" in sentence) == climbs
    assert figures.still_climbing({"train/loss": np.linspace(0, 2, 40)}) == ""


def test_a_dream_is_drawn_once_for_all_that_share_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    for name in ("model", "b", "c"):
        trained = settings("vlsafe", None if name == "model" else model, update="gated")
        folder = add_agent(tmp_path, name, 0.1, trained=trained)
        write_open_loop(folder / "open_loop.npz", RNG(len(name)))
    lone = add_agent(tmp_path, "lone", 0.1, trained=SETTINGS["vlsafe-gated"])
    write_open_loop(lone / "open_loop.npz", RNG(0))
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert len(page.images) == 2 * 3 * 20  # truth, dream and error of two models
    who = "Drawn once for all that share this world model: VLSafe gated (b), VLSafe gated (c)."
    assert who in page.text
    assert page.text.count("Drawn once") == 1
