"""Running a suite's cells: order, failures, kills, what is done before; processes and Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bench_suites import MAKES, program, run, runner

from vlsafe_agents.bench.engines import Job, Outcome, Processes, make_engine
from vlsafe_agents.bench.record import Records, read_results
from vlsafe_agents.bench.run import expected_seconds, last_words, makespan

HERE = Path(__file__).resolve().parent


def made(out: Path, name: str) -> str:
    return (out / "made" / name / "made").read_text()


def started_engine(name: str) -> Any:
    if name == "ray":
        pytest.importorskip("ray")
    return make_engine(name, 2)


@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_failure_stops_only_what_needs_it(name: str, tmp_path: Path) -> None:
    """The same for both engines: what is made, and what the results say."""
    a = program("a", MAKES)
    bad = program("bad", "print('vlsafe: no such thing'); raise SystemExit(2)", [a])
    after_bad = program("after-bad", MAKES, [bad])
    after_that = program("after-that", MAKES, [after_bad])
    empty = program("empty", "pass")
    good = program("good", f"assert os.path.exists('../a/made'); {MAKES}", [a])
    cells = [a, bad, after_bad, after_that, empty, good]
    progress = run(cells, tmp_path, started_engine(name))
    assert {name: found.status for name, found in progress.status.items()} == {
        "a": "done", "bad": "failed", "after-bad": "blocked", "after-that": "blocked",
        "empty": "failed", "good": "done",
    }  # fmt: skip
    lines = {line["cell"]: line for line in read_results(tmp_path)}
    assert list(lines) == [cell.name for cell in cells]
    assert lines["bad"]["error"] == "no such thing"
    assert lines["after-that"]["error"] == "after-bad has failed"
    assert "has left no made" in lines["empty"]["error"]
    assert lines["good"]["digest"] == good.digest
    assert lines["good"]["definition"] == good.definition
    assert lines["good"]["remake"] == "again good"
    assert 0.0 < lines["good"]["cpu_s"] < 30.0
    assert 1.0 < lines["good"]["peak_memory_mb"] < 500.0
    assert lines["good"]["versions"]["numpy"]
    assert not (tmp_path / "made" / "after-bad").exists()


def test_what_is_done_is_not_done_again_and_a_failure_is_tried_again(tmp_path: Path) -> None:
    broken = "import pathlib; pathlib.Path('../../mended').read_text(); " + MAKES
    a, b = program("a", MAKES), program("b", broken)
    run([a, b], tmp_path)
    assert Records(tmp_path).status([a, b])["b"].status == "failed"
    (tmp_path / "mended").touch()
    progress = run([a, b], tmp_path)
    assert progress.count("done") == 2
    assert (made(tmp_path, "a"), made(tmp_path, "b")) == ("x", "x")
    assert Records(tmp_path).read(b)["attempts"] == 2  # type: ignore[index]


def test_a_changed_definition_is_made_again_with_all_that_needs_it(tmp_path: Path) -> None:
    said: list[str] = []
    a = program("a", MAKES)
    run([a, program("b", MAKES, [a])], tmp_path)
    changed = program("a", MAKES + " ")
    runner([changed, program("b", MAKES, [changed])], tmp_path, say=said.append).run()
    assert [made(tmp_path, name) for name in ("a", "b")] == ["x", "x"]
    again = [line for line in said if "made again" in line]
    assert [line.partition(":")[0] for line in again] == ["a", "b"]
    assert "arguments" in again[0]
    assert "what it needs" in again[1]


def test_a_removed_folder_is_made_again_with_what_was_added_to_it(tmp_path: Path) -> None:
    import shutil

    a = program("a", MAKES)
    added = program("added", "open('../a/more', 'a').write('y'); " + MAKES, [a])
    added = type(added)(**{**vars(added), "works_in_place": True})
    run([a, added], tmp_path)
    shutil.rmtree(tmp_path / "made" / "a")
    assert Records(tmp_path).status([a, added])["added"].status == "to do"
    run([a, added], tmp_path)
    assert (tmp_path / "made" / "a" / "more").read_text() == "y"


def test_no_more_run_at_once_than_there_is_room_for(tmp_path: Path) -> None:
    stamp = "open('made', 'a').write(f'{time.monotonic()} ')"
    code = f"{stamp}; time.sleep(0.2); {stamp}"
    cells = [program(name, code) for name in "ab"]
    run(cells, tmp_path, slots=1)
    spans = sorted(tuple(map(float, made(tmp_path, name).split())) for name in "ab")
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_wide_jobs_wait_for_room_and_too_wide_ones_run_alone() -> None:
    class Standing(Processes):
        def start(self, job: Job) -> None:
            self._running[job.name] = job, None  # type: ignore[assignment]

    assert program("w", "", options={"workers": 3}).slots == 3
    one, wide = Job("one", [], "", "", 1), Job("wide", [], "", "", 3)
    engine = Standing(2)
    assert engine.fits(wide)
    engine.start(one)
    assert engine.fits(one)
    assert not engine.fits(wide)


def wait_for(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


SLOW = (
    "open('pids', 'a').write(f'{os.getpid()} ')\n"
    "if os.path.exists('../../go'): open('made', 'a').write('x')\n"
    "else: time.sleep(120)"
)
DRIVER = """
import sys
from pathlib import Path
from bench_suites import MAKES, program, run
from test_bench_run import SLOW
quick = program("quick", MAKES)
run([quick, program("slow", SLOW, [quick])], Path(sys.argv[1]))
"""


@pytest.fixture
def killed_run(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A suite's folder whose run was killed, and the process of the command that it ran."""
    (tmp_path / "driver.py").write_text(DRIVER)
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    out = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(out)],
        env={**os.environ, "PYTHONPATH": path},
    )
    pids = out / "made" / "slow" / "pids"
    wait_for(lambda: pids.exists() and bool(pids.read_text()))
    driver.kill()
    driver.wait()
    yield out, int(pids.read_text())
    with suppress(OSError):
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_killed_run_leaves_nobody_behind_and_goes_on(killed_run: tuple[Path, int]) -> None:
    out, process = killed_run
    wait_for(lambda: not is_running(process))
    quick = program("quick", MAKES)
    cells = [quick, program("slow", SLOW, [quick])]
    assert {n: f.status for n, f in Records(out).status(cells).items()} == {
        "quick": "done", "slow": "interrupted",
    }  # fmt: skip
    (out / "go").touch()
    progress = run(cells, out)
    assert progress.count("done") == 2
    assert made(out, "quick") == "x"
    assert Records(out).read(cells[1])["attempts"] == 2  # type: ignore[index]


def test_ctrl_c_stops_what_runs(tmp_path: Path) -> None:
    class Interrupted(Processes):
        def ended(self) -> list[tuple[str, Outcome]]:
            wait_for(lambda: (tmp_path / "made" / "slow" / "pids").exists())
            raise KeyboardInterrupt

    cell = program("slow", SLOW)
    with pytest.raises(KeyboardInterrupt):
        run([cell], tmp_path, Interrupted(2))
    process = int((tmp_path / "made" / "slow" / "pids").read_text())
    wait_for(lambda: not is_running(process))
    assert Records(tmp_path).status([cell])["slow"].status == "interrupted"
    assert len(read_results(tmp_path)) == 1


def test_a_killed_command_is_a_failure_that_says_so(tmp_path: Path) -> None:
    cell = program("dies", "os.kill(os.getpid(), 9)")
    progress = run([cell], tmp_path)
    assert "killed by signal 9" in progress.status["dies"].why


def test_ray_tries_a_killed_worker_again(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    kills_its_worker = (
        "import signal\n"
        "open('tries', 'a').write('t')\n"
        "worker = int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])\n"
        "if len(open('tries').read()) == 1: os.kill(worker, signal.SIGKILL); time.sleep(60)\n"
    ) + MAKES
    cells = [program("killer", kills_its_worker), program("other", MAKES)]
    progress = run(cells, tmp_path, make_engine("ray", 2))
    assert progress.count("done") == 2
    assert (tmp_path / "made" / "killer" / "tries").read_text() == "tt"
    assert not ray.is_initialized()


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'vlsafe\[ray\]'"):
        make_engine("ray", 2)
    with pytest.raises(ValueError, match="choose one of processes, ray"):
        make_engine("dask", 2)
    with pytest.raises(ValueError, match="at least 1"):
        make_engine("processes", 0)


def test_the_remaining_time_is_that_of_a_schedule() -> None:
    a, b = program("a", ""), program("b", "")
    c = program("c", "", [a, b])
    wide = program("wide", "", options={"workers": 2})
    assert makespan([(a, 10.0), (b, 4.0), (c, 5.0)], 2) == 15.0  # c waits for a
    assert makespan([(a, 10.0), (b, 4.0), (c, 5.0)], 1) == 19.0
    assert makespan([(a, 10.0), (b, 4.0), (wide, 1.0)], 2) == 11.0
    assert makespan([], 2) == 0.0


def test_a_cell_is_expected_to_take_what_others_of_its_row_took() -> None:
    one, two = program("one", "", row="bc"), program("two", "", row="bc")
    other = program("other", "", row="ppo")
    assert expected_seconds(two, {}) is None
    assert expected_seconds(two, {one: 10.0, other: 50.0}) == 10.0
    assert expected_seconds(program("new", "", row="sac"), {one: 10.0, other: 50.0}) == 30.0


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("vlsafe: first\nvlsafe: the reason\n(VLSAFE_TRACEBACK=1 shows where)\n")
    assert last_words(log) == "the reason"
    log.write_text("Traceback\nKeyError: 'x'\n\n")
    assert last_words(log) == "KeyError: 'x'"
    assert last_words(tmp_path / "none") == ""


def test_lines_that_are_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="vlsafe bench"):
        read_results(tmp_path)
    (tmp_path / "results.jsonl").write_text('{"cell": "a"}\n{"cell"\n')
    with pytest.raises(ValueError, match=r"results\.jsonl, line 2"):
        read_results(tmp_path)
    (tmp_path / "results.jsonl").write_text(json.dumps([1]) + "\n")
    with pytest.raises(ValueError, match="line 1 holds no JSON object"):
        read_results(tmp_path)
