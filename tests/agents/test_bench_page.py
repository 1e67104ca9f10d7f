"""The report of a suite: figures as they are computed by hand, and a page that needs no other."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from bench_suites import record, write_suite

from vlsafe_agents.bench.kept import keep_suite
from vlsafe_agents.bench.page import is_suite, write_results_page, write_suite_report
from vlsafe_agents.bench.summary import read_suite_results
from vlsafe_agents.bench.tables import improvement, interquartile, learning, results
from vlsafe_agents.cli import main as cli
from vlsafe_agents.evaluation import EpisodeRecord, aggregate_seeds


def drives(crashes: int, reward: float) -> list[EpisodeRecord]:
    """Ten drives of which the first collide."""
    return [record(i, i < crashes, reward + i) for i in range(10)]


ROWS = {
    "expert": [drives(0, 20.0)],
    "bc": [drives(3, 10.0), drives(5, 12.0)],
    "ppo_lag": [drives(1, 15.0), drives(4, 16.0)],
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_suite(tmp_path, ROWS, ["light", "dense"])
    return tmp_path


def test_a_task_shows_means_intervals_and_seeds(out: Path) -> None:
    table = results(read_suite_results(out).tasks[0])
    assert table.title == "env, light"
    assert [row.name for row in table.body] == ["expert", "bc", "ppo_lag"]
    assert table.titles[0] == ("Collisions", "share of episodes")
    known = aggregate_seeds(ROWS["bc"])["collision_rate"]
    cell = table.body[1].cells[0]
    assert cell.text == "40%"
    assert cell.interval == f"{100 * known['low']:.0f}% to {100 * known['high']:.0f}%"
    assert cell.seeds == "30%, 50%"
    assert table.body[0].cells[0].seeds == ""  # one seed
    assert "Cost, truth" in table.columns
    assert table.markdown.splitlines()[3].startswith("| bc, Behaviour cloning | 40% (")


def test_tasks_together(out: Path) -> None:
    found = read_suite_results(out)
    table = interquartile(found)
    place = table.columns.index("Collisions") - 1
    assert [row.cells[place].text for row in table.body] == ["0%", "40%", "25%"]  # of two, twice
    relative = table.columns.index("Return [expert = 1]") - 1
    expected = np.mean([14.5, 16.5]) / 24.5
    assert table.body[1].cells[relative].text == f"{expected:.2f}"
    assert table.body[0].cells[relative].text == "1.00"
    better = improvement(found, "collision_rate", "fewer collisions", -1.0)
    assert better is not None
    # PPO-Lag's 10% beats both of BC's, its 40% one of two
    assert better.body[2].cells[1].text == "0.75"
    assert better.body[1].cells[2].text == "0.25"
    assert better.body[0].cells[1].text == "1.00"
    more = improvement(found, "return", "more return", 1.0)
    assert more is not None
    assert more.body[2].cells[1].text == "1.00"


def test_learning_shows_what_each_seed_has_cost(out: Path) -> None:
    (table,) = learning(read_suite_results(out))
    assert [row.name for row in table.body] == ["bc", "ppo_lag"]  # the expert has not learned
    driven, crashes, recorded = table.body[0].cells[:3]
    assert (driven.text.replace("\u2009", ","), driven.seeds.replace("\u2009", ",")) == (
        "1,500",
        "1,000, 2,000",
    )
    assert crashes.text == "2"  # (0 + 5) / 2
    assert recorded.text == "not known"


class Reader(HTMLParser):
    """Collects tags, checks that they close, and the text of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if "id" in known:
            self.ids.append(str(known["id"]))
        for key in ("src", "href"):
            value = known.get(key)
            if value and not value.startswith(("#", "data:")):
                self.outside.append(value)
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th", "small"):
            self.cells.append(data)


def test_the_page_is_one_sound_file(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_suite(out)
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", str(out)])
    assert not stop.value.code
    assert str(out / "report.html") in capsys.readouterr().out
    reader = Reader()
    page = (out / "report.html").read_text("utf-8")
    reader.feed(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.outside == []
    assert page.count("<svg") == 4
    assert len(re.findall(r'class="scroll" role="region"[^>]*><div role="img"', page)) == 4
    assert {"40%", "30%, 50%", "0.75"} <= set(reader.cells)
    assert "vlsafe bench made-up.yaml --out made-up --only &#39;*/bc&#39;" in page
    assert "What is missing" not in page
    text = (out / "results.md").read_text("utf-8")
    assert "## env, dense" in text
    assert "commit abc" in text


def test_what_is_kept_of_a_suite_gives_the_same_page(out: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    lines = (out / "results.jsonl").read_text()
    (out / "results.jsonl").write_text(lines.replace('"cpu_s"', f'"command": "x {out}/y", "cpu_s"'))
    keep_suite(out, kept)
    assert {file.name for file in kept.iterdir()} == {
        "evaluations.jsonl.gz",
        "results.jsonl",
        "suite.json",
    }
    first, again = (
        write_results_page([folder], tmp_path / name / "results.md").read_text("utf-8")
        for folder, name in ((out, "a"), (kept, "b"))
    )
    assert first.splitlines()[4:] == again.splitlines()[4:]  # but for the command
    assert "40% (" in again
    assert "x runs/made-up/y" in (kept / "results.jsonl").read_text()
    charts = {file.name for file in (tmp_path / "b" / "results").iterdir()}
    assert charts == {f"made-up-{n}.svg" for n in ("frontier", "safety", "efficiency", "profiles")}
    before = (kept / "evaluations.jsonl.gz").read_bytes()
    keep_suite(out, kept)
    assert (kept / "evaluations.jsonl.gz").read_bytes() == before
    (kept / "evaluations.jsonl.gz").write_bytes(before[:40])
    with pytest.raises(ValueError, match=r"evaluations\.jsonl\.gz .* make it again"):
        read_suite_results(kept)


def test_several_suites_have_one_markdown_page(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = str(tmp_path / "results.md")
    for given, fault in (
        ([str(out), str(out)], "one Markdown page"),
        ([str(out), str(out), "--out", page], "another suite 'made-up'"),
        ([str(tmp_path / "no"), "--out", page], "no folder of `vlsafe bench`"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["report", *given])
        assert stop.value.code
        assert fault in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", str(out), "--out", page])
    assert not stop.value.code
    assert "## made-up\n" in Path(page).read_text("utf-8")


def test_failures_and_mixed_commits_are_told(out: Path) -> None:
    path = out / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["commit"] = "other"
    failed = {"cell": "train env/seed2/bc", "status": "failed", "error": "<b>no room</b>"}
    lines += [failed, {"cell": "evaluate x", "status": "blocked", "error": "y has failed"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = write_suite_report(out)[0].read_text("utf-8")
    assert "train env/seed2/bc failed: &lt;b&gt;no room&lt;/b&gt;" in page
    assert "evaluate x was not run: y has failed" in page
    assert "several commits of vlsafe: abc, other" in page


def test_who_drove_other_seeds_is_left_out_and_named(out: Path) -> None:
    line = json.loads((out / "results.jsonl").read_text().splitlines()[1])
    path = out / line["evaluation"]
    content = json.loads(path.read_text())
    content["seeds"] = [seed + 1 for seed in content["seeds"]]
    path.write_text(json.dumps(content))
    found = read_suite_results(out)
    assert any("differs from the others in seeds" in note for note in found.notes)
    assert found.tasks[0].entry("bc") is not None
    assert len(found.tasks[0].entry("bc").runs) == 1  # type: ignore[union-attr]
    # tasks are put together for those seeds that drove on each
    scores = found.metric_scores("bc", "return")
    assert scores is not None
    np.testing.assert_allclose(scores, [[16.5, 16.5]])


def test_a_suite_without_any_evaluation_has_a_page(tmp_path: Path) -> None:
    write_suite(tmp_path, {"bc": []}, ["light"])
    page, tables = write_suite_report(tmp_path)
    assert tables == []
    assert "No agent has been evaluated yet" in page.read_text("utf-8")
