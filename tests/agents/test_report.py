"""The report: one valid, self-contained page that says what it does not know."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_run import AGENTS, evaluation, make_run

from vlsafe_agents.report import write_report
from vlsafe_agents.report.pictures import drive_video, strip, video_uri
from vlsafe_agents.report.run_folder import AgentRun, read_run_folder
from vlsafe_agents.report.tables import count, figure, headline, percent, results_table

VOID = {"meta", "img", "br", "hr", "input", "link", "source", "wbr"}


class Page(HTMLParser):
    """Checks nesting while it collects ids, links, tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.resources: list[str] = []
        self.anchors: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        for name in ("src", "href", "xlink:href", "poster", "srcset", "data", "action"):
            if name in values:
                kept = self.anchors if str(values[name]).startswith("#") else self.resources
                kept.append(str(values[name]))
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = make_run(tmp_path_factory.mktemp("run"), detailed=("vlsafe-gated", "ppo_lag"))
    out = write_report(root, root / "report.html")
    assert out == root / "report.html"
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(report: str) -> Page:
    return Page(report)


def agent_run(name: str, label: str, rate: float, speed: float, caused: int = 0) -> AgentRun:
    return AgentRun(name, label, "#000", evaluation(name, rate, speed, caused))


def test_page_is_well_formed_with_unique_ids_and_anchors_that_exist(
    report: str, page: Page
) -> None:
    assert report.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    assert {anchor[1:] for anchor in page.anchors} <= set(page.ids)
    references = set(re.findall(r"url\(#([^)\"']+)\)", report))
    assert references
    assert references <= set(page.ids)


def test_page_needs_no_other_file_and_no_network(report: str, page: Page) -> None:
    assert page.resources
    assert all(source.startswith("data:") for source in page.resources)
    assert "link" not in page.tags
    assert "@import" not in report
    assert not re.search(r"url\(\s*['\"]?(?!#)", report)


def test_all_agents_stand_in_the_table_with_their_intervals(page: Page) -> None:
    for label in (
        "Expert (rule-based)",
        "Behaviour cloning",
        "PPO-Lag",
        "VLSafe gated",
        "VLSafe Lagrangian",
        "Cost-blind",
    ):
        assert label in page.text
    assert "7.1% to 17%" in page.text  # PPO-Lag's collision rate
    assert "412" in page.text  # collisions that it caused
    assert "731" in page.text  # collisions in the data


def test_page_shows_videos_strip_curves_and_judge(page: Page) -> None:
    assert page.tags.count("video") == 4
    assert len(page.images) == 3 * 20  # truth, dream, error
    assert all(image.get("alt") for image in page.images)
    assert "imagined/return" in page.text
    assert "below the 0.0300 of repeating the last seen frame" in page.text
    assert "0.934" in page.text
    assert "vlsafe demo --out runs/demo" in page.text
    assert page.text.count("ends in a collision") == 2


def test_unknown_agents_and_markup_in_names_are_shown_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "my <b>agent"
    folder.mkdir()
    content = evaluation("x", 0.5, 10.0, 0)
    (folder / "evaluation.json").write_text(json.dumps(content))
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text())
    assert "my <b>agent" in page.text


def test_empty_run_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, tmp_path / "deep" / "report.html").read_text())
    for sentence in (
        "No agent has been trained or evaluated in this run yet.",
        "No dream was recorded in this run",
        "No drives were recorded in this run.",
        "No data set card",
        "No held-out figures of the judge",
    ):
        assert sentence in page.text


def test_world_model_that_policies_share_is_not_missed_as_a_driver(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    model = run / "world_model"
    model.mkdir()
    (model / "model.zip").write_text("")
    said = ("world_model/evaluation.json is missing", "No recorded drives of world model")
    assert all(sentence in Page(_text_of(run)).text for sentence in said)
    (model / "settings.json").write_text(json.dumps({"config": {"model_warmup": 1.0}}))
    assert not any(sentence in Page(_text_of(run)).text for sentence in said)


def _text_of(run: Path) -> str:
    return write_report(run, run / "report.html").read_text(encoding="utf-8")


def test_broken_files_become_notes_not_errors(tmp_path: Path) -> None:
    broken = tmp_path / "vlsafe-gated"
    (broken / "episodes").mkdir(parents=True)
    (broken / "evaluation.json").write_text("{not json")
    (broken / "progress.csv").write_text("time/total_timesteps,train/actor_loss\n1,oops\n")
    (broken / "episodes" / "best_0.npz").write_bytes(b"no zip")
    (broken / "open_loop.npz").write_bytes(b"")
    odd = tmp_path / "ppo_lag"
    (odd / "episodes").mkdir(parents=True)
    (odd / "evaluation.json").write_text("[]")
    np.savez(odd / "open_loop.npz", truth=np.zeros((2, 4)), dream=np.zeros((2, 4)))
    np.savez(odd / "episodes" / "best_0.npz", frames=np.zeros((3, 4), np.uint8))
    third = tmp_path / "bc"
    third.mkdir()
    (third / "evaluation.json").write_text('{"summary": 3}')
    (tmp_path / "data").mkdir()
    (tmp_path / "judge.json").write_text("3")
    page = Page(write_report(tmp_path, tmp_path / "report.html").read_text())
    for part in (
        "vlsafe-gated/evaluation.json cannot be read",
        "episodes/best_0.npz cannot be read",
        "vlsafe-gated/open_loop.npz cannot be read",
        "ppo_lag/evaluation.json is not a JSON object",
        "bc/evaluation.json has an entry 'summary' that is no JSON dict",
        "must be (K, H, W, 3)",
        "frames must be (T, H, W, 3)",
        "The data set cannot be read",
    ):
        assert part in page.text


def test_run_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        write_report(tmp_path / "nowhere", tmp_path / "report.html")


def test_agents_come_in_the_order_of_the_story(tmp_path: Path) -> None:
    for name in ("zebra", *AGENTS):
        (tmp_path / name).mkdir()
        (tmp_path / name / "progress.csv").write_text("a\n1\n")
    names = [agent.name for agent in read_run_folder(tmp_path).agents]
    assert names == [*AGENTS, "zebra"]


def test_lowest_collision_rate_is_not_marked_for_a_driver_that_crawls() -> None:
    expert = agent_run("expert", "Expert (rule-based)", 0.02, 20.0)
    crawler = agent_run("bc", "Behaviour cloning", 0.0, 5.0)
    driver = agent_run("vlsafe", "VLSafe", 0.05, 19.0)
    columns, rows = results_table([expert, crawler, driver])
    assert [column.metric for column in columns[:3]] == ["collision_rate", "mean_speed", "distance"]
    assert [[cell.marked for cell in row.cells].count(True) for row in rows] == [0, 0, 1]
    assert not any(c.marked for row in results_table([crawler, driver])[1] for c in row.cells)


def with_arrivals(agent: AgentRun, rate: float) -> AgentRun:
    assert agent.evaluation is not None
    agent.evaluation["summary"]["arrival_rate"] = {"mean": rate, "low": rate, "high": rate}
    return agent


def test_who_does_not_arrive_is_neither_marked_nor_praised() -> None:
    expert = with_arrivals(agent_run("expert", "Expert (rule-based)", 0.0, 4.1), 1.0)
    rival = with_arrivals(agent_run("ppo_lag", "PPO-Lag", 0.0, 6.2), 0.0)
    ours = with_arrivals(agent_run("vlsafe-gated", "VLSafe gated", 0.02, 3.9), 0.95)
    rows = results_table([expert, rival, ours])[1]
    assert [[cell.marked for cell in row.cells].count(True) for row in rows] == [0, 0, 1]
    sentences = " ".join(headline([expert, rival, ours]))
    assert "VLSafe gated collided in 2% of" in sentences
    assert "at 3.90 m/s and arrived in 95%; PPO-Lag" in sentences
    assert "no more often than our policies did. PPO-Lag arrived less often." in sentences


def test_fewer_collisions_of_a_policy_that_does_not_arrive_are_not_praised_alone() -> None:
    ours = with_arrivals(agent_run("vlsafe-gated", "VLSafe gated", 0.0, 0.1), 0.0)
    rival = with_arrivals(agent_run("ppo_lag", "PPO-Lag", 0.6, 6.2), 0.4)
    sentences = " ".join(headline([ours, rival]))
    assert "Fewer collisions than PPO-Lag" in sentences
    assert "Our policies arrived less often." in sentences
    assert "arrived less often" not in " ".join(headline([ours, with_arrivals(rival, 0.0)]))


@pytest.mark.parametrize(
    ("ours", "rival", "expected"),
    [
        (0.02, 0.60, "the 95% intervals do not overlap"),
        (0.10, 0.12, "a tendency, no proof"),
        (0.30, 0.12, "PPO-Lag collided no more often than our policies"),
    ],
)
def test_headline_says_who_collided_less_and_how_sure_it_is(
    ours: float, rival: float, expected: str
) -> None:
    agents = [
        agent_run("vlsafe-gated", "VLSafe gated", ours, 20.0),
        agent_run("ppo_lag", "PPO-Lag", rival, 20.0, caused=57),
    ]
    sentences = " ".join(headline(agents))
    assert expected in sentences
    assert "PPO-Lag caused 57 collisions while it learned." in sentences
    assert "VLSafe caused none; the data it learned from hold 731." in sentences


def test_no_collision_in_few_episodes_is_no_proof_of_safety() -> None:
    ours = agent_run("vlsafe-gated", "VLSafe gated", 0.0, 20.0)
    assert ours.evaluation is not None
    ours.evaluation["summary"]["collision_rate"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
    ours.evaluation["episodes"] = ours.evaluation["episodes"][:10]
    assert ours.summary("collision_rate") == {"mean": 0.0, "low": 0.0, "high": 0.3}
    rival = agent_run("ppo_lag", "PPO-Lag", 0.25, 20.0)
    assert "a tendency, no proof" in " ".join(headline([ours, rival]))


def test_headline_admits_collisions_that_vlsafe_caused() -> None:
    agents = [agent_run("vlsafe-gated", "VLSafe gated", 0.1, 20.0, caused=3)]
    assert "VLSafe caused 3 while it learned." in headline(agents)


def test_numbers_read_well() -> None:
    assert [percent(v) for v in (0.0, 0.041, 0.05, 0.123, 1.0)] == [
        "0%",
        "4.1%",
        "5%",
        "12%",
        "100%",
    ]
    assert [figure(v) for v in (0.05, 1.0, 20.04, 848.2)] == ["0.05", "1.00", "20.0", "848"]
    assert count(100_312.0) == "100\u2009312"


def test_strip_marks_context_and_shows_the_error_where_it_is() -> None:
    truth = np.zeros((3, 8, 8, 3), np.uint8)
    dream = truth.copy()
    dream[2, 4, 4] = 255
    frames = strip({"truth": truth, "dream": dream, "context": np.array(2)})
    assert [frame.seen for frame in frames] == [True, True, False]
    assert frames[0].error == frames[1].error != frames[2].error
    assert frames[0].truth == frames[2].truth


def test_video_is_mp4_of_even_size_from_odd_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 33, 33, 3)).astype(np.uint8)
    content = base64.b64decode(video_uri(frames).removeprefix("data:video/mp4;base64,"))
    assert content[4:8] == b"ftyp"
    assert b"avc1" in content
    with pytest.raises(ValueError, match="frames must be"):
        video_uri(frames[0])


@pytest.mark.parametrize(("driven", "shown"), [(10.0, 10), (1.0, 4), (np.nan, 4), (None, 4)])
def test_videos_run_as_fast_as_was_driven_and_never_very_slowly(
    driven: float | None, shown: int
) -> None:
    arrays = {"frames": np.zeros((20, 32, 32, 3), np.uint8)}
    if driven is not None:
        arrays["fps"] = np.array(driven)
    video = base64.b64decode(drive_video(arrays).removeprefix("data:video/mp4;base64,"))
    header = video.index(b"mvhd") + 4  # version and flags, two dates, then scale and duration
    scale, duration = np.frombuffer(video[header + 12 : header + 20], ">u4")
    assert duration / scale == pytest.approx(20 / shown, abs=0.01)
