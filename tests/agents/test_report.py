"""The report: one valid, self-contained page that says what it does not know."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_run import AGENTS, SETTINGS, add_agent, make_run, records

from vlsafe_agents.evaluation import StoredEvaluation
from vlsafe_agents.evaluation.roles import UNKNOWN, role_of
from vlsafe_agents.report import write_report
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.figures import drive_video, strip, video_uri
from vlsafe_agents.report.headline import headline
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.report.tables import count, figure, percent, results_table

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


def agent_run(
    name: str,
    rate: float,
    speed: float,
    caused: int = 0,
    arrivals: float | None = None,
    episodes: int = 100,
    like: str = "",
) -> AgentRun:
    """An agent of `report_run.AGENTS`, or one `like` it; a driver where it has no settings."""
    trained, costs = SETTINGS.get(like or name), {"collisions_caused": caused}
    kind = "agent" if trained else "driver"
    driven = tuple(records(rate, speed, arrivals)[:episodes])
    stored = StoredEvaluation(
        name, kind, trained, "VLSafe-Highway-v0", {}, range(len(driven)), driven
    )
    return AgentRun(
        name,
        role_of(kind, name, trained),
        stored,
        trained,
        costs | {"dataset_collisions": 731},
    )


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
    assert "6.4% to 20%" in page.text  # PPO-Lag's collision rate, exact
    assert "412" in page.text  # collisions that it caused
    assert "731" in page.text  # collisions in the data


def test_large_charts_scroll_on_a_narrow_screen(report: str) -> None:
    """Shrunk to its width, their letters would be too small to read."""
    chart = r'<figure class="[^"]*chart (?:wide|narrow)"[^>]*>\s*(?:<h3.*?</h3>\s*)?<div (\S+)'
    found = re.findall(chart, report, re.DOTALL)
    assert len(found) == 4  # collisions by speed, two learning curves, the dream
    assert set(found) == {'class="scroll"'}


def test_page_shows_videos_strip_curves_and_scorer(page: Page) -> None:
    assert page.tags.count("video") == 4
    assert len(page.images) == 3 * 20  # truth, dream, error
    assert all(image.get("alt") for image in page.images)
    assert "imagined/return" in page.text
    assert "below the 0.0300 of repeating the last seen frame" in page.text
    assert "0.934" in page.text
    assert "vlsafe demo --out runs/demo" in page.text
    assert page.text.count("ends in a collision") == 2


def test_figures_of_the_scorer_are_read_by_their_former_name_too(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    (run / "scorer.json").rename(run / "judge.json")
    assert "0.934" in Page(_text_of(run)).text


def test_unknown_agents_and_markup_in_names_are_shown_as_text(tmp_path: Path) -> None:
    add_agent(tmp_path, "my <b>agent", 0.5, 10.0, kind=None)
    page = Page(_text_of(tmp_path))
    assert "algorithm not known my <b>agent" in page.text
    assert "b" not in page.tags


def test_empty_run_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, tmp_path / "deep" / "report.html").read_text())
    for sentence in (
        "No agent has been trained or evaluated in this run yet.",
        "No dream was recorded in this run",
        "No drives were recorded in this run.",
        "No data set card",
        "No held-out figures of the scorer",
    ):
        assert sentence in page.text


def test_world_model_that_policies_share_is_not_missed_as_a_driver(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    model = run / "world_model"
    model.mkdir()
    (model / "model.zip").write_text("")
    said = ("world_model/evaluation.json is missing", "world_model.")
    assert all(sentence in Page(_text_of(run)).text for sentence in said)
    only = SETTINGS["vlsafe-gated"] | {"config": {"model_warmup": 1.0}}
    (model / "settings.json").write_text(json.dumps(only))
    text = Page(_text_of(run)).text
    assert said[0] not in text
    drives = text[text.index("Best and worst drives") : text.index("The data and the scorer")]
    assert "world_model" not in drives


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
        "vlsafe-gated/evaluation.json is no JSON file",
        "episodes/best_0.npz cannot be read",
        "vlsafe-gated/open_loop.npz is empty: writing it was interrupted",
        "ppo_lag/evaluation.json holds no JSON object",
        "bc/evaluation.json is no evaluation: it lacks env_id",
        "must be (K, H, W, 3)",
        "frames must be (T, H, W, 3)",
        "The data set cannot be read",
    ):
        assert part in page.text


def test_run_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        write_report(tmp_path / "nowhere", tmp_path / "report.html")


def test_agents_come_in_the_order_of_the_story(tmp_path: Path) -> None:
    for name in reversed(AGENTS):
        add_agent(tmp_path, name, 0.1, trained=SETTINGS.get(name))
    add_agent(tmp_path, "aardvark", 0.1, kind=None)
    names = [agent.name for agent in read_run_folder(tmp_path).agents]
    assert names == [*AGENTS, "aardvark"]


def marked(*agents: AgentRun) -> list[str]:
    rows = results_table(agents)[1]
    return [row.name for row in rows if any(cell.marked for cell in row.cells)]


EXPERT = agent_run("expert", 0.02, 20.0)


def test_fewest_collisions_are_marked_with_those_that_are_not_set_apart() -> None:
    good, as_good = agent_run("vlsafe-gated", 0.02, 20.0), agent_run("bc", 0.05, 20.0)
    bad = agent_run("ppo_lag", 0.4, 20.0)
    assert marked(EXPERT, good, as_good, bad) == ["vlsafe-gated", "bc"]
    columns = results_table([EXPERT, good])[0]
    assert [column.metric for column in columns[:3]] == ["collision_rate", "mean_speed", "distance"]


def test_nobody_is_marked_where_nobody_stands_out() -> None:
    crashed = [agent_run(name, 1.0, 20.0) for name in ("bc", "ppo_lag", "vlsafe-gated")]
    assert marked(EXPERT, *crashed) == []
    safe = [agent_run(name, 0.0, 20.0) for name in ("bc", "ppo_lag")]
    assert marked(EXPERT, *safe) == []
    few = [agent_run(n, r, 20.0, episodes=10) for n, r in (("bc", 0.01), ("ppo_lag", 0.03))]
    assert marked(EXPERT, *few) == []  # 1 and 3 of 10
    assert marked(EXPERT, agent_run("bc", 0.05, 20.0)) == []  # nobody to compare with
    others = agent_run("bc", 0.02, 20.0), agent_run("ppo_lag", 0.4, 20.0)
    assert marked(*others) == []  # without an expert
    assert marked(EXPERT, *others) == ["bc"]
    assert marked(replace(EXPERT, role=UNKNOWN), *others) == []


def test_lowest_collision_rate_is_not_marked_for_a_driver_that_crawls() -> None:
    crawler = agent_run("bc", 0.0, 5.0)
    drivers = agent_run("vlsafe-gated", 0.05, 19.0), agent_run("ppo_lag", 0.5, 19.0)
    assert marked(EXPERT, crawler, *drivers) == ["vlsafe-gated"]


def test_who_does_not_arrive_is_neither_marked_nor_praised() -> None:
    expert = agent_run("expert", 0.0, 4.1, arrivals=1.0)
    rival = agent_run("ppo_lag", 0.0, 6.2, arrivals=0.0)
    ours = agent_run("vlsafe-gated", 0.02, 3.9, arrivals=0.95)
    clone = agent_run("bc", 0.5, 4.0, arrivals=0.95)
    assert marked(expert, rival, ours, clone) == ["vlsafe-gated"]
    sentences = " ".join(headline([expert, rival, ours, clone]))
    assert "VLSafe gated (vlsafe-gated) collided in 2% of" in sentences
    assert "at 3.90 m/s and arrived in 95%; PPO-Lag" in sentences
    assert "no more often than the VLSafe policies did. PPO-Lag arrived less often." in sentences


def test_fewer_collisions_of_a_policy_that_does_not_arrive_are_not_praised_alone() -> None:
    ours = agent_run("vlsafe-gated", 0.0, 0.1, arrivals=0.0)
    sentences = " ".join(headline([ours, agent_run("ppo_lag", 0.6, 6.2, arrivals=0.4)]))
    assert "Fewer collisions than PPO-Lag" in sentences
    assert "The VLSafe policies arrived less often." in sentences
    neither = agent_run("ppo_lag", 0.6, 6.2, arrivals=0.0)
    assert "arrived less often" not in " ".join(headline([ours, neither]))


@pytest.mark.parametrize(
    ("ours", "rival", "expected"),
    [
        (0.02, 0.60, "the 95% intervals do not overlap"),
        (0.10, 0.12, "a tendency, no proof"),
        (0.30, 0.12, "PPO-Lag collided no more often than the VLSafe policies"),
        (1.00, 1.00, "PPO-Lag collided no more often than the VLSafe policies"),
    ],
)
def test_headline_says_who_collided_less_and_how_sure_it_is(
    ours: float, rival: float, expected: str
) -> None:
    agents = [agent_run("vlsafe-gated", ours, 20.0), agent_run("ppo_lag", rival, 20.0, caused=57)]
    sentences = " ".join(headline(agents))
    assert expected in sentences
    assert "PPO-Lag (ppo_lag) caused 57 collisions while it learned." in sentences
    assert "VLSafe caused none; the data it learned from hold 731." in sentences


def test_headline_is_held_against_every_ppo_lag() -> None:
    ours = agent_run("vlsafe-gated", 0.2, 20.0)
    rivals = [
        agent_run("first", 0.6, 20.0, caused=57, like="ppo_lag"),
        agent_run("second", 0.1, 20.0, caused=1, like="ppo_lag"),
    ]
    sentences = " ".join(headline([ours, *rivals]))
    assert "Only some of the VLSafe policies collided less often than PPO-Lag." in sentences
    assert "PPO-Lag (first) caused 57 collisions" in sentences
    assert "PPO-Lag (second) caused 1 collision while" in sentences


def test_no_collision_in_few_episodes_is_no_proof_of_safety() -> None:
    ours = agent_run("vlsafe-gated", 0.0, 20.0, episodes=10)
    assert ours.summary("collision_rate") == pytest.approx(
        {"mean": 0.0, "low": 0.0, "high": 1 - 0.025**0.1}
    )
    rival = agent_run("ppo_lag", 0.25, 20.0)
    assert "a tendency, no proof" in " ".join(headline([ours, rival]))


def test_headline_admits_collisions_that_vlsafe_caused() -> None:
    agents = [agent_run("vlsafe-gated", 0.1, 20.0, caused=3)]
    assert "VLSafe gated (vlsafe-gated) caused 3 collisions while it learned." in headline(agents)


def test_headline_of_others_credits_nobody_else() -> None:
    others = [agent_run("cost-blind", 0.4, 20.0), agent_run("bc", 0.1, 20.0), EXPERT]
    assert headline(others) == [
        "Cost-blind (cost-blind) collided in 40% of 100 episodes at 20.0 m/s; "
        "Behaviour cloning (bc) collided in 10% of 100 episodes at 20.0 m/s."
    ]
    assert headline([EXPERT]) == ["No agent that has learned has been evaluated in this run yet."]


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
