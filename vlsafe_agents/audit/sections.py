"""The report from first to last section: which figures are shown where, and in which words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlsafe_agents.audit import figures, gallery, tables
from vlsafe_agents.audit.audit import Findings
from vlsafe_agents.audit.drives import CALM_HEADWAY
from vlsafe_agents.audit.examine import MAIN
from vlsafe_agents.audit.results import Audit


@dataclass(frozen=True)
class Chart:
    """A matplotlib figure with words for those who cannot see it."""

    name: str  # of its file
    figure: Any
    alt: str
    caption: str = ""

    @property
    def width(self) -> float:
        """[rem] on a page, so that letters have one size in all charts."""
        return round(5.8 * float(self.figure.get_figwidth()), 1)

    @property
    def least(self) -> float:
        """[rem] below which letters would be too small to read; narrower screens scroll."""
        return round(3.9 * float(self.figure.get_figwidth()), 1)  # letters at 87% of their size


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what they are about."""

    key: str
    title: str
    about: str
    charts: Sequence[Chart] = field(default_factory=list)
    tables: Sequence[tables.Table] = field(default_factory=list)
    galleries: Sequence[gallery.Gallery] = field(default_factory=list)


def sections(findings: Findings) -> list[Section]:
    """All sections in order."""
    audit = findings.audit
    return [
        _ranking(audit),
        _parts(audit),
        _spread(audit),
        _early(audit),
        *_words(audit),
        _changed(findings),
        _mistakes(findings),
        *_agreement(audit),
        _data(audit),
    ]


def _ranking(audit: Audit) -> Section:
    chart = Chart(
        "overview",
        figures.overview(audit),
        "AUROC of every scorer on two questions, with intervals; the figures are in the table.",
        "A scorer's marks are where it stands, its lines where it may stand. Left of the line "
        "at 0.5 a score is worse than none. A colour is one scorer's in all charts here.",
    )
    return Section(
        "ranking",
        "Does it rank danger above calm?",
        "Frames are ranked by 1 - p and held against what the simulator knows: did a collision or "
        f"departure from the road follow within {audit.config.horizon:g} s, would something be hit "
        f"within {audit.config.time_to_collision:g} s if all kept going as they are? "
        "What happens within seconds also depends on what the driver does next, which no frame "
        "shows, so even perfect eyes stay below 1.",
        [chart],
        [tables.ranking_table(audit), tables.precision_table(audit)],
    )


def _parts(audit: Audit) -> Section:
    charts = []
    for key in MAIN:
        figure = figures.by_group(audit, key)
        if figure is not None:
            alt = f"AUROC for {audit.questions[key]} on each part of the frames."
            charts.append(Chart(f"parts_{key}", figure, alt, audit.questions[key].capitalize()))
    return Section(
        "parts",
        "Where it works and where it fails",
        "The same by road, traffic density, lanes, kind of action, driver and data set. Few "
        "episodes make wide intervals. Controls that are empty by design are left out here.",
        charts,
        [tables.group_table(audit, key) for key in MAIN],
    )


def _spread(audit: Audit) -> Section:
    charts = [
        Chart(
            "histograms",
            figures.spreads(audit),
            "Histograms of p of every scorer for calm and for dangerous frames.",
            "Safe (grey) against unsafe: where the two kinds overlap, p cannot tell them apart.",
        ),
        Chart(
            "reliability",
            figures.reliabilities(audit),
            "Share of frames that stay safe against p, for every scorer.",
            f"Reliability: of frames with a given p, the share without a "
            f"{audit.questions['event']}. On the dotted line p is a probability; grey: how many "
            "frames there are. ECE is the mean distance from the line.",
        ),
    ]
    return Section(
        "spread",
        "What p looks like, and what it means",
        "A score may rank well and still be no probability: then its threshold has to be chosen, "
        "or the scorer calibrated.",
        charts,
        [tables.score_table(audit)],
    )


def _early(audit: Audit) -> Section:
    charts = [
        Chart(
            "approach",
            figures.approaches(audit),
            "Median and quartiles of p in the seconds before a collision or departure.",
            "The last seconds before a collision or departure. Dashed: the threshold of "
            "warnings; dotted: the median of calm frames.",
        ),
        Chart(
            "lead_times",
            figures.lead_times(audit),
            "Share of collisions and departures warned of, by how long ahead.",
            "A warning counts only if it lasts up to the event. Dotted: the rate of false alarms "
            "in calm, which a score that knows nothing reaches by luck.",
        ),
    ]
    return Section(
        "early",
        "How early it warns",
        "A score that falls when the bumpers touch is of no use to a driver.",
        charts,
        [tables.warning_table(audit)],
    )


def _words(audit: Audit) -> Iterator[Section]:
    scorers = [scorer for scorer in audit.scorers if scorer.prompts]
    if not scorers:
        return
    shade = figures.colours(audit)
    charts = [
        Chart(
            f"prompts_{place}",
            figures.by_prompt(scorer, shade[scorer.name]),
            f"AUROC of {scorer.name} with other pairs of sentences.",
            f"{scorer.name}. (turned): the safe sentence speaks of danger, so left of 0.5 is "
            "right.",
        )
        for place, scorer in enumerate(scorers)
    ]
    yield Section(
        "words",
        "Does it understand its words?",
        "The same frames with other sentences. A scorer that reads keeps its ranking under "
        "paraphrases and turns it round when the two sentences are swapped or denied; swapping "
        f"alone is no proof, as it turns any score round. {_probe(audit)}",
        charts,
        [tables.prompt_table(scorer) for scorer in scorers],
    )


def _changed(findings: Findings) -> Section:
    audit = findings.audit
    looking, shade = gallery.looking(findings), figures.colours(audit)
    example = gallery.gallery_of_controls(findings)
    charts = [
        Chart(
            f"controls_{place}",
            figures.by_control(scorer, shade[scorer.name]),
            f"AUROC of {scorer.name} on changed frames.",
            scorer.name,
        )
        for place, scorer in enumerate(looking)
    ]
    return Section(
        "changed",
        "Does it look where the danger is?",
        "Frames changed on purpose. Erasing the other vehicles must lift p where one of them was "
        "the danger; what AUROC is left then comes from the road, the ego vehicle's speed and "
        "place. A frame that keeps its p when all is blank was judged without being looked at. "
        f"Scorers that read simulator truth are left out. {_probe(audit)}",
        charts,
        [tables.control_table(scorer) for scorer in looking],
        [] if example is None else [example],
    )


def _mistakes(findings: Findings) -> Section:
    return Section(
        "mistakes",
        "Most confidently wrong",
        "Chosen by p alone, not by hand. The ego vehicle is red, heads up and stands low in the "
        "frame.",
        galleries=gallery.galleries_of_mistakes(findings),
    )


def _agreement(audit: Audit) -> Iterator[Section]:
    figure = figures.agreement(audit)
    if figure is None:
        return
    yield Section(
        "agreement",
        "Do the scorers agree?",
        "Above the diagonal the rank correlation of p, below it kappa of warnings: 1 is complete "
        "agreement, 0 that of strangers.",
        [Chart("agreement", figure, "Rank correlation and kappa of every pair of scorers.")],
        [tables.agreement_table(audit)],
    )


def _data(audit: Audit) -> Section:
    config = audit.config
    return Section(
        "data",
        "The drives and the method",
        f"Intervals are {config.confidence:.0%} percentile intervals of {config.resamples:,} "
        "resamples of whole episodes within their data set; of shares of 0% and 100%, where they "
        "would have no width, exact ones (Clopper and Pearson) that count an episode once. Calm "
        "frames "
        f"({audit.calm_frames:,}): nothing is hit within {2 * config.time_to_collision:g} s, the "
        f"headway is over {CALM_HEADWAY:g} s and no collision or departure follows within "
        f"{config.horizon + 1:g} s. Frames whose answer the time limit cut off are left out of "
        "the questions about what follows, frames without a label everywhere.",
        tables=[tables.data_table(audit)],
    )


def _probe(audit: Audit) -> str:
    return (
        f"Measured on {audit.probe_frames:,} frames of {audit.probe_episodes:,} episodes drawn "
        "at random."
    )
