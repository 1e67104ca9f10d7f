"""A whole audit on drives whose truth is known, and what is written about it."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from audit_drives import Forgetful, Reader, Watcher, candidate, make_source
from matplotlib.colors import to_rgba
from test_report import Page
from test_report_charts import check_layout

from vlsafe_agents.audit import (
    AuditConfig,
    Findings,
    NamedScorer,
    PromptPair,
    Source,
    audit,
    failed_audit,
    warn_of_failed_audit,
    write_audit,
    write_verdicts,
)
from vlsafe_agents.audit.figures import colours
from vlsafe_agents.audit.sections import sections
from vlsafe_agents.data.storage import MAIN_FILE, read_metadata, resolve_dataset
from vlsafe_agents.evaluation.intervals import share_interval
from wrappers import ConstantScorer, RandomScorer
from wrappers.controls import Deal
from wrappers.score_cache import ScoreCache

QUICK = AuditConfig(resamples=100, probe_frames=400, gallery=2)
PAIRS = (PromptPair("plain", "safe", "unsafe"), PromptPair("turned", "unsafe", "safe", True))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Two data sets, of 40 drives each."""
    folder = tmp_path_factory.mktemp("drives")
    return [
        make_source(folder / str(seed), seed=seed, density=density)
        for seed, density in ((0, 1.0), (1, 2.0))
    ]


@pytest.fixture(scope="module")
def findings(sources: list[Source]) -> Findings:
    """Everybody at once."""
    watcher = Watcher()
    scorers = [
        candidate(watcher),
        NamedScorer("shuffled:watcher", watcher, deal=Deal(0)),
        candidate(Watcher("turned", turned=True)),
        candidate(Watcher("left", left=True)),
        candidate(Reader(), with_prompts=Reader),
        candidate(Forgetful("forgetful")),
        NamedScorer("constant:0.5", ConstantScorer(0.5)),
        NamedScorer("random", RandomScorer()),
    ]
    return audit(sources, scorers, QUICK, PAIRS, progress=False)


def found_of(findings: Findings, name: str) -> Any:
    return next(scorer for scorer in findings.audit.scorers if scorer.name == name)


def test_each_scorer_gets_the_verdict_that_it_deserves(findings: Findings) -> None:
    verdicts = {scorer.name: scorer.verdict for scorer in findings.audit.scorers}
    assert verdicts == {
        "watcher": "good",
        "shuffled:watcher": "no better than chance",
        "turned": "worse than chance",
        "left": "good",
        "reader": "good",
        "forgetful": "good",
        "constant:0.5": "no better than chance",
        "random": "no better than chance",
    }
    near = found_of(findings, "watcher").answers["time_to_collision"]
    assert near.evidence.auroc.value == near.average_precision.value == 1.0
    assert "prompts turned round" in found_of(findings, "turned").summary
    nobody = found_of(findings, "constant:0.5").answers["event"]
    assert nobody.average_precision.value == pytest.approx(
        nobody.evidence.positives / nobody.evidence.frames
    )


def test_a_question_without_events_is_left_open(findings: Findings) -> None:
    answer = found_of(findings, "watcher").answers["off_road"]
    assert answer.verdict == "not enough data to say"
    assert np.isnan(answer.evidence.auroc.value)


def test_groups_are_parts_of_the_whole(findings: Findings) -> None:
    found = found_of(findings, "watcher")
    kinds: dict[str, list[Any]] = {}
    for group in found.groups:
        kinds.setdefault(group.kind, []).append(group.answers["event"].evidence.frames)
    assert set(kinds) == {"density", "driver", "data set"}  # one road only
    whole = found.answers["event"].evidence.frames
    assert all(sum(frames) == whole for frames in kinds.values())


def test_frames_without_a_label_are_counted_and_left_out(findings: Findings) -> None:
    found, scores = found_of(findings, "forgetful"), findings.outputs["forgetful"].scores
    missing = int(np.isnan(scores).sum())
    assert found.unlabelled == missing > 0
    assert found.frames == len(scores) - missing
    assert found.answers["event"].evidence.frames < found_of(findings, "watcher").frames - missing
    assert f"{missing} frames have no label" in found.summary
    pair = next(p for p in findings.audit.agreement if p.first == "watcher" and "get" in p.second)
    assert pair.rank_correlation == pytest.approx(1.0)


def test_a_scorer_without_any_label_is_no_error(sources: list[Source]) -> None:
    class Silent(Watcher):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return np.full(len(frames), np.nan, np.float32)

    found = audit(sources[:1], [candidate(Silent("silent"))], QUICK, progress=False)
    assert found.audit.scorers[0].verdict == "not enough data to say"
    assert found.audit.scorers[0].frames == 0


def test_controls_tell_who_looks_at_what(findings: Findings) -> None:
    def control(name: str, kind: str) -> Any:
        return next(c for c in found_of(findings, name).controls if c.name == kind)

    def auroc(name: str, kind: str) -> float:
        return float(control(name, kind).answers["time_to_collision"].evidence.auroc.value)

    assert auroc("watcher", "as it is") == auroc("watcher", "mirrored") == 1.0
    assert control("watcher", "mirrored").rank_correlation == pytest.approx(1.0)
    assert auroc("left", "mirrored") == 0.5  # blind on the other side
    assert auroc("watcher", "blank") == auroc("watcher", "other vehicles erased") == 0.5
    rise = control("watcher", "other vehicles erased")
    assert rise.change_in_danger > 0.3 > rise.change_in_calm > 0
    assert abs(auroc("watcher", "shuffled") - 0.5) < 0.1
    assert not findings.outputs["shuffled:watcher"].changed


def test_other_sentences_are_tried_on_those_that_take_them(findings: Findings) -> None:
    plain, turned = found_of(findings, "reader").prompts
    assert plain.answers["event"].evidence.auroc.value > 0.9
    assert turned.answers["event"].evidence.auroc.value < 0.1
    assert plain.follows_its_words is True
    assert turned.follows_its_words is True
    stubborn = replace(turned, pair=PAIRS[0])
    assert stubborn.follows_its_words is False
    assert found_of(findings, "watcher").prompts == ()


def test_mistakes_are_the_worst_frames_one_an_episode(findings: Findings) -> None:
    truth, found = findings.drives.truth, found_of(findings, "random")
    safe, unsafe = found.mistakes.called_safe, found.mistakes.called_unsafe
    score = findings.outputs["random"].scores
    assert len(safe) == len(unsafe) == 2
    assert (truth.until_event[safe] <= 2).all()
    assert (truth.until_event[safe] > 0).all()
    ahead = (truth.until_event <= 2) & (truth.until_event > 0)
    assert score[safe[0]] == score[ahead].max()
    assert (truth.until_event[unsafe] > 3).all()
    assert (score[unsafe] < found.warning.threshold).all()
    assert len(set(truth.episode[safe])) == len(set(truth.episode[unsafe])) == 2
    assert len(found_of(findings, "watcher").mistakes.called_safe) == 0


def test_warnings_of_a_scorer_that_sees_come_in_time(findings: Findings) -> None:
    found = found_of(findings, "watcher")
    assert found.warning.false_alarms.value <= QUICK.false_alarm_rate
    assert found.warned_ahead["2"].value == 1.0  # danger shows two frames before
    assert found.warned_ahead["3"].value < 0.2
    assert found_of(findings, "constant:0.5").warned_ahead["1"].value == 0.0


def test_scorers_that_stand_behind_several_names_are_asked_once(sources: list[Source]) -> None:
    watcher = Watcher()
    pair = [candidate(watcher), NamedScorer("shuffled", watcher, deal=Deal(3))]
    found = audit(sources[:1], pair, QUICK, progress=False)
    frames = len(found.drives)
    assert watcher.seen == frames + 3 * len(found.probe)
    first, second = (found.outputs[name].scores for name in ("watcher", "shuffled"))
    np.testing.assert_array_equal(np.sort(first), np.sort(second))
    assert found.audit.scorers[1].identity["of"] == {"name": "watcher"}


def test_a_second_audit_scores_nothing_again(sources: list[Source], tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        watcher, cache = Watcher(), ScoreCache(tmp_path)
        found = audit(
            sources, [candidate(watcher)], QUICK, cache=cache, batch_size=7, progress=False
        )
        results.append((watcher.seen, found.outputs["watcher"]))
        cache.close()
    (seen, first), (again, second) = results
    assert seen > 0
    assert again == 0
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.changed["blank"], second.changed["blank"])


@pytest.fixture(scope="module")
def report(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report."""
    return write_audit(findings, tmp_path_factory.mktemp("report")).parent


def test_the_report_is_one_page_that_names_everything(findings: Findings, report: Path) -> None:
    page = Page((report / "report.html").read_text())
    assert not page.resources or all(link.startswith("data:") for link in page.resources)
    assert len(set(page.ids)) == len(page.ids)
    assert {anchor[1:] for anchor in page.anchors} <= set(page.ids)
    assert all(image.get("alt") for image in page.images)
    words = " ".join(page.words)
    for found in findings.audit.scorers:
        assert found.name in words
        assert found.verdict in words
    assert "nan" not in words.lower().split()
    markdown = (report / "report.md").read_text()
    linked = [part.split(")")[0] for part in markdown.split("](")[1:]]
    assert linked
    assert all((report / link).stat().st_size > 1000 for link in linked)
    assert sorted(p.name for p in report.iterdir()) == [
        "audit.json", "pictures", "report.html", "report.md", "scores.npz",
    ]  # fmt: skip


def colours_in(figure: Any) -> set[str]:
    """Colours of all that is drawn, but for black, white and greys."""
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def hue(artist: Any) -> str:
        name = "get_facecolor" if isinstance(artist, Patch) and artist.get_fill() else "get_color"
        name = name if hasattr(artist, name) else "get_edgecolor"
        return str(to_hex(getattr(artist, name)()))

    drawn = figure.findobj(lambda artist: isinstance(artist, Line2D | Patch))
    found = {hue(artist) for artist in drawn}
    greys = {colour for colour in found if len({colour[i : i + 2] for i in (1, 3, 5)}) == 1}
    return found - greys - {"#010203"}


def test_a_colour_is_one_scorers_in_all_charts(findings: Findings) -> None:
    shade = colours(findings.audit)
    assert len(set(shade.values())) == len(shade)
    seen = 0
    for section in sections(findings):
        for chart in section.charts:
            found = colours_in(chart.figure)
            if chart.name != "agreement":  # which shades by value
                assert found <= set(shade.values()), chart.name
                seen += len(found) > 1
            if chart.name.startswith(("prompts", "controls")):  # about one scorer
                (scorer,) = [name for name in shade if chart.caption.startswith(name)]
                assert found == {shade[scorer]}
    assert seen >= 3


def test_charts_fit_whatever_scorers_are_called(sources: list[Source]) -> None:
    names = ["calibrated:runs/mine/a scorer with a long name.json", "b" * 120, "c", "d", "e"]
    for number in (1, 2, 5):
        scorers = [NamedScorer(name, Watcher()) for name in names[:number]]
        told = audit(sources[:1], scorers, QUICK, progress=False)
        for section in sections(told):
            for chart in section.charts:
                check_layout(chart.figure)


def test_letters_of_charts_keep_their_size_on_a_phone(findings: Findings, report: Path) -> None:
    page = (report / "report.html").read_text()
    for section in sections(findings):
        for chart in section.charts:
            letters = 16 * chart.least / (72 * chart.figure.get_figwidth())  # of their size
            assert 0.85 <= letters <= 16 * chart.width / (72 * chart.figure.get_figwidth())
            assert f'style="min-width:{chart.least}rem;max-width:{chart.width}rem"' in page


def test_numbers_on_colours_can_be_read_whatever_the_page_is_like(findings: Findings) -> None:
    charts = {chart.name: chart for section in sections(findings) for chart in section.charts}
    (axes,) = charts["agreement"].figure.axes
    (image,) = axes.images
    assert image.get_alpha() is None  # else the page would shine through
    seen = []
    for text in axes.texts:
        column, row = text.get_position()
        shades = []
        for colour in (image.to_rgba(image.get_array())[row, column], to_rgba(text.get_color())):
            bent = np.asarray(colour[:3])
            linear = np.where(bent <= 0.04045, bent / 12.92, ((bent + 0.055) / 1.055) ** 2.4)
            shades.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
        seen.append(max(shades) / min(shades))  # contrast as WCAG 2 defines it
    assert len(seen) == len(findings.audit.scorers) ** 2
    assert min(seen) >= 4.5


def test_the_command_repeats_the_audits_own_settings(findings: Findings, report: Path) -> None:
    words = Page((report / "report.html").read_text()).text
    own = "--horizon 2 --ttc 2 --false-alarms 0.05 --resamples 100 --probe-frames 400 --gallery 2"
    assert own in words
    assert own in (report / "report.md").read_text()


def test_shares_of_nothing_and_all_have_intervals_with_a_width(findings: Findings) -> None:
    never = found_of(findings, "constant:0.5").warning
    events = len(found_of(findings, "constant:0.5").lead_times.seconds)
    assert never.found.value == never.false_alarms.value == 0.0
    assert 0.0 < never.false_alarms.high < 0.1  # of 80 episodes
    warned = found_of(findings, "constant:0.5").warned_ahead["1"]
    assert (warned.low, warned.high) == share_interval(0, events)


def test_names_are_text_in_every_file(sources: list[Source], tmp_path: Path) -> None:
    names = ["[a](b)|<b>c</b>", "a_b", "a:b", "$x$", "*" + "long" * 80]
    scorers = [NamedScorer(name, Watcher()) for name in names]
    told = audit(sources[:1], scorers, QUICK, progress=False)
    folder = write_audit(told, tmp_path / "out [x]").parent
    page = Page((folder / "report.html").read_text())
    assert all(name in page.text for name in names)
    assert "b" not in page.tags
    assert "$x$" in page.text
    rows = (folder / "report.md").read_text().splitlines()
    (first, *_) = [line for line in rows if "| **" in line]
    assert first.startswith(r"| \[a\](b)\|&lt;b>c&lt;/b> | **good** |")
    pictures = [file.name for file in (folder / "pictures").iterdir()]
    assert len([name for name in pictures if name.startswith("controls")]) == len(names)
    assert not [name for name in pictures if name.startswith(".")]


def test_figures_and_scores_can_be_read_by_machines(findings: Findings, report: Path) -> None:
    content = json.loads((report / "audit.json").read_text(), parse_constant=pytest.fail)
    found = {judge["name"]: judge for judge in content["judges"]}
    assert found["turned"]["verdict"] == "worse than chance"
    assert found["turned"]["answers"]["event"]["evidence"]["auroc"]["high"] < 0.5
    assert found["watcher"]["answers"]["off_road"]["evidence"]["auroc"]["value"] is None
    assert "Lower end at most 0.5" in content["rule"]
    arrays = np.load(report / "scores.npz")
    np.testing.assert_array_equal(arrays["score/watcher"], findings.outputs["watcher"].scores)
    np.testing.assert_array_equal(arrays["truth/collision"], findings.drives.truth.collision)


def mark_as_labelled(source: Source, scorer: dict[str, Any]) -> Path:
    """Pretend that the scorer has labelled the data."""
    path = resolve_dataset(source.path)
    with h5py.File(path / MAIN_FILE, "r+") as file:
        file.attrs["scorer"] = json.dumps(scorer)
    return path


def test_failed_labels_warn_whoever_trains_on_them(sources: list[Source]) -> None:
    turned = Watcher("turned", turned=True)
    turned.identity |= {"temperature": 0.07532542943954468, "prompts": ("safe", "unsafe")}
    found = audit(sources, [candidate(Watcher()), candidate(turned)], QUICK, progress=False)
    assert failed_audit(read_metadata(mark_as_labelled(sources[0], turned.identity))) is None
    write_verdicts(found.audit)
    path = mark_as_labelled(sources[0], turned.identity)
    with pytest.warns(UserWarning, match="failed an audit .* worse than chance"):
        warn_of_failed_audit(read_metadata(path))
    for other in ("watcher", "somebody else"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_failed_audit(read_metadata(mark_as_labelled(sources[0], {"name": other})))
    assert failed_audit({}) is None
    write_verdicts(found.audit)  # takes the place of the first
    entries = read_metadata(path)["audits"]
    assert [entry["scorer"]["name"] for entry in entries] == ["watcher", "turned"]
    assert [entry["passed"] for entry in entries] == [True, False]


def test_stored_labels_are_audited_as_they_are(tmp_path: Path) -> None:
    from vlsafe_agents.labelling import label

    source = make_source(tmp_path, episodes=40)
    label(source.path, lambda: Forgetful("forgetful"), lambda: source.drawing, progress=False)
    live = candidate(Forgetful("live"))
    found = audit([source], [NamedScorer("labels", None), live], QUICK, progress=False)
    stored = found.audit.scorers[0]
    np.testing.assert_array_equal(found.outputs["labels"].scores, found.outputs["live"].scores)
    assert stored.identity == {"name": "forgetful"}
    assert stored.unlabelled > 0
    assert stored.data_sets[0].scorer == {"name": "forgetful"}


def test_a_column_without_labels_is_shown_as_such(sources: list[Source], tmp_path: Path) -> None:
    pair = [NamedScorer("labels", None), candidate(Watcher())]  # the data were never labelled
    found = audit(sources[:1], pair, QUICK, progress=False)
    page = Page(write_audit(found, tmp_path / "out").read_text())
    assert "not enough data to say" in " ".join(page.words)


def test_a_few_quiet_drives_make_a_report_that_says_so(tmp_path: Path) -> None:
    source = make_source(tmp_path / "data", episodes=3, seed=5)
    scorers = [candidate(Watcher()), candidate(Reader(), with_prompts=Reader)]
    found = audit([source], scorers, QUICK, PAIRS, progress=False)
    page = Page(write_audit(found, tmp_path / "out").read_text())
    assert "not enough data to say" in " ".join(page.words)


def test_mistakes_of_the_caller_are_named(sources: list[Source]) -> None:
    watcher = candidate(Watcher())
    with pytest.raises(ValueError, match="nothing to audit on"):
        audit([], [watcher], QUICK, progress=False)
    with pytest.raises(ValueError, match="nobody to audit"):
        audit(sources, [], QUICK, progress=False)
    with pytest.raises(ValueError, match="scorer is given twice"):
        audit(sources, [watcher, watcher], QUICK, progress=False)
    with pytest.raises(ValueError, match="is given twice"):
        audit([sources[0], sources[0]], [watcher], QUICK, progress=False)


def test_data_without_truth_name_the_remedy(tmp_path: Path) -> None:
    source = make_source(tmp_path, episodes=2)
    with h5py.File(resolve_dataset(tmp_path) / MAIN_FILE, "r+") as file:
        del file["episode_1/infos/off_road"]
    with pytest.raises(ValueError, match=r"infos/off_road.*collect with `vlsafe collect`"):
        audit([source], [candidate(Watcher())], QUICK, progress=False)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("headway", [np.nan], r"episode 1: infos/headway holds nan at entry 0"),
        ("collision", [0.0, -np.inf], r"episode 1: infos/collision holds -inf at entry 1"),
        ("safety_score", [1.5], r"episode 1: infos/safety_score holds 1.5 at entry 0"),
        ("off_road", None, r"episode 1: infos/off_road has the shape \(2,\), expected"),
    ],
)
def test_numbers_of_recorded_drives_are_checked(
    tmp_path: Path, column: str, values: Any, message: str
) -> None:
    source = make_source(tmp_path, episodes=4)
    file_path = resolve_dataset(source.path) / MAIN_FILE
    with h5py.File(file_path, "r+") as file:
        infos = file["episode_1/infos"]
        if column == "safety_score":
            infos[column] = np.full(len(infos["headway"]), 0.5)
        if values is None:
            del infos[column]
            infos[column] = np.zeros(2)
        elif infos[column].dtype == bool:
            changed = infos[column][()].astype(float)
            del infos[column]
            infos[column] = changed
        if values is not None:
            infos[column][: len(values)] = values
    with pytest.raises(ValueError, match=f"{MAIN_FILE} cannot be read as drives .*{message}"):
        audit([source], [candidate(Watcher())], QUICK, progress=False)


def test_a_data_file_that_lacks_something_is_named(tmp_path: Path) -> None:
    source = make_source(tmp_path, episodes=4)
    path = resolve_dataset(source.path) / MAIN_FILE
    with h5py.File(path, "r+") as file:
        del file["episode_1/truncations"]
    with pytest.raises(ValueError, match=f"{path} cannot be read as drives to audit"):
        audit([source], [candidate(Watcher())], QUICK, progress=False)


def test_entries_that_no_audit_has_written_are_named() -> None:
    for odd in ([3], {"a": 1}, [{"scorer": {}}]):
        with pytest.raises(ValueError, match=r"'audits' that no audit has written; audit again"):
            failed_audit({"scorer": {"name": "x"}, "audits": odd})
