"""`vlsafe audit --exam` and `--server`: rows from the command line, of servers too."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlsafe_agents.audit import AuditConfig, NamedScorer, frozen
from vlsafe_agents.audit.exam import Candidate, take_exam
from vlsafe_agents.audit.exam_row import read_row
from vlsafe_agents.audit.frozen import COLUMNS, FrozenFrames, read_frozen
from vlsafe_agents.cli import main as cli
from wrappers import make_scorer
from wrappers.generative.question import Question
from wrappers.generative.server import ChatServerError
from wrappers.generative.typed_question import TypedQuestion
from wrappers.ranking import auroc

sys.path.append(str(Path(__file__).parents[1] / "wrappers"))
from chat_server import ChatServer
from recorded_server import FOLDER, RecordedServer, frames_of

FEW = ("--resamples", "50", "--probe-frames", "6", "--no-cache")


def run(*arguments: object) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_rows_and_tables_are_written_and_put_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/vlsafe", "audit", "--exam", "--scorer", "oracle"])
    scorers = ("--scorer", "oracle", "--scorer", "shuffled:oracle", "--scorer", "constant:0.5")
    assert run("audit", "--exam", *scorers, "--out", tmp_path / "one", *FEW) == 0
    assert sorted(path.name for path in (tmp_path / "one" / "exam").iterdir()) == [
        "constant-0.5.json", "oracle.json", "shuffled-oracle.json",
    ]  # fmt: skip
    oracle = read_row(tmp_path / "one" / "exam" / "oracle.json")
    assert oracle.auroc["time_to_collision"].value > 0.95
    assert oracle.frames.sha256 == read_frozen().sha256
    assert oracle.command == "vlsafe audit --exam --scorer oracle"  # what was typed
    capsys.readouterr()
    more = ("--scorer", "random:0", "--compare", tmp_path / "one" / "exam")
    assert run("audit", *more, "--out", tmp_path / "two", *FEW) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("oracle", "random:0", "shuffled:oracle"))
    assert [path.name for path in (tmp_path / "two" / "exam").iterdir()] == ["random-0.json"]
    table = (tmp_path / "two" / "exam.md").read_text()
    assert table.index("| oracle |") < table.index("| constant:0.5 |")


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


def test_the_exam_of_a_server_in_one_line(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_frozen()
    some = FrozenFrames(
        whole.rows[:36],
        {size: frames[:36] for size, frames in whole.pictures.items()},
        {size: frames[:36] for size, frames in whole.erased.items()},
    )
    monkeypatch.setattr(frozen, "read_frozen", lambda: some)
    server.plan()
    given = ("--server", server.url, "--model", "eyes", "--out", tmp_path)
    assert run("audit", *given, "--scorer", "oracle", *FEW) == 0
    path = next(path for path in (tmp_path / "exam").iterdir() if "eyes" in path.name)
    row = read_row(path)
    assert row.name == f"chat:eyes@{server.url}"
    assert row.scorer["answering_model"] == "eyes-1"
    assert row.price.tokens == pytest.approx(110_000)  # 1,000 times 100 and 10
    assert row.negated is not None
    asked = [one["text"] for one in server.log()["requests"]]
    assert sum("how great the danger" in text for text in asked) == 6


@contextmanager
def models(answer: Any) -> Iterator[str]:
    """A server that lists models; the base URL of its API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}/v1"
    listening.shutdown()
    listening.server_close()


def test_the_only_model_of_a_server_needs_no_name() -> None:
    from vlsafe_agents.cli.exam import server_spec

    with models({"object": "list", "data": [{"id": "tiny", "object": "model"}]}) as url:
        assert server_spec(url, None) == f"chat:tiny@{url}"
        assert server_spec(url, "other") == f"chat:other@{url}"
        with pytest.raises(ChatServerError, match=r"lists no models .* ends in /v1.*--model"):
            server_spec(url.removesuffix("/v1"), None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, r"offers 2 models \(a, b\); name one: --model"),
        ({"data": []}, r"offers 0 models \(none\)"),
        ({"error": "what?"}, r"offers 0 models \(none\)"),
    ],
)
def test_models_that_cannot_be_chosen_from(
    answer: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with models(answer) as url:
        assert run("audit", "--server", url) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--exam", "data"), "exam is on frames of its own; leave DATA out"),
        (("--exam", "--env", "VLSafe-Highway-v0", "--write"), "leave --env, --write out"),
        (("--exam", "--ttc", "1"), "leave --horizon and --ttc out"),
        (("--exam", "--scorer", "labels"), '"labels" are of data sets'),
        (("--model", "tiny"), "give its address, too: --server"),
        (("--compare", "nowhere.json"), "nowhere.json does not exist"),
        (("--exam", "--scorer", "nobody"), "unknown scorer 'nobody'"),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("audit", *arguments, "--out", "/nowhere") == 2
    assert message in capsys.readouterr().err


# --- what real servers answered -------------------------------------------------------------------


RECORDED = ("transformers-5.23.0", "llama.cpp-2026.10.11549")
CASES = [
    case
    for name in RECORDED
    for case in json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    if "reference" in case and np.ndim(case["levels"]) == 1
]


def grey(case: dict[str, Any]) -> FrozenFrames:
    """Recorded frames, the darker half of them dangerous."""
    shown = frames_of(case)
    dark = np.argsort(np.argsort(case["levels"])) < len(shown) / 2
    plain = dict.fromkeys(COLUMNS, "0") | dict.fromkeys(("until_off_road", "until_cut"), "inf")
    rows = [
        plain | {"time_to_collision": until, "until_collision": until, "road": "grey"}
        for until in np.where(dark, "1", "inf")
    ]
    return FrozenFrames(rows, {24: shown}, {24: np.zeros_like(shown)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["spec"])
def test_what_real_servers_answered_makes_a_row(case: dict[str, Any]) -> None:
    frames = grey(case)
    with RecordedServer(case) as server:
        spec = f"{case['spec'].replace('URL', server.root)},first_wait=0.01"
        named = NamedScorer(case["spec"], make_scorer(spec))
        (row,) = take_exam([Candidate(named)], frames, AuditConfig(resamples=20))
    np.testing.assert_allclose(row.scores, case["reference"], atol=2e-4)
    danger = frames.truth.time_to_collision < 2
    assert row.auroc["event"].value == auroc(1 - np.array(case["reference"]), danger)
    assert row.changed["mirrored"].rank_correlation == pytest.approx(1)  # grey has no sides
    assert row.price.tokens is not None


@pytest.mark.parametrize(
    "question",
    [
        *(Question(answer) for answer in ("grade", "probability")),
        *(TypedQuestion(answer) for answer in ("noul", "score")),
    ],
    ids=lambda question: question.answer,
)
def test_a_question_turned_round_asks_for_danger(question: Any) -> None:
    other = question.opposite
    assert "danger" in json.dumps(other.identity["request"]) or "accident" in other.request
    assert other.identity != question.identity
    assert other.opposite is None  # its words are given ones
    if question.answer == "score":
        assert other.levels == question.levels[::-1]


def test_words_of_the_users_own_are_not_turned_round() -> None:
    assert Question(request='Say {"grade": 5}').opposite is None
    assert Question("yes_no").opposite is None  # its key says "safe"
    assert make_scorer("chat:m@http://127.0.0.1:1/v1,answer=yes_no").opposite() is None
