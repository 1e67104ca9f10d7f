"""``vlsafe foresight`` from a trained agent to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.foresight import read_foresight
from vlsafe_agents.report import write_report
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder

ROAD = ("--env", "VLSafe-Highway-v0", "--env-arg", "duration=6", "--env-arg", "vehicles=8")
OWN = ["1 - p", "predicted cost", "Q_c", "dream"]


def vlsafe(*arguments: str) -> int:
    """Exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with reckless drives, an agent of VLSafe and a clone."""
    root = tmp_path_factory.mktemp("run")
    drives = ("--episodes", "6", "--workers", "1", "--mix", "random=1")
    assert vlsafe("collect", "--out", str(root / "data"), *ROAD, *drives) == 0
    common = ("--data", str(root / "data"), "--observation", "vector", "--steps", "4")
    tiny = ("--preset", "debug", "--cost", "env", "--update", "lagrangian")
    assert vlsafe("train", "--out", str(root / "vlsafe"), *common, *tiny) == 0
    assert vlsafe("train", "--out", str(root / "bc"), "--algo", "bc", *common) == 0
    return root


def test_an_agents_own_drives_are_measured_and_shown(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained / "vlsafe"
    assert vlsafe("foresight", str(folder), "--episodes", "3", "--dreams", "2") == 0
    said = capsys.readouterr()
    found = read_foresight(folder / "foresight.json")
    assert [traffic.title for traffic in found.traffics] == ["as recorded", "density 1.95"]
    usual = {"duration": 6, "vehicles": 8}
    assert [traffic.env_kwargs for traffic in found.traffics] == [usual, usual | {"density": 1.95}]
    assert found.horizons == (1.0, 2.0, 5.0)
    for traffic in found.traffics:
        assert traffic.measured.drives == 3
        assert [signal.name for signal in traffic.measured.signals] == [*OWN, "1 / TTC"]
        chances = [signal.is_chance for signal in traffic.measured.signals]
        assert chances == [True, False, False, True, False]
    assert "as recorded: 3 drives" in said.out
    assert "Where the signal “dream” says" in said.out  # its three drives are reckless ones
    assert str(folder / "foresight.json") in said.out
    assert "foresight, density 1.95: done" in said.err
    before = (folder / "foresight.json").read_bytes()
    again = ("--episodes", "3", "--dreams", "2", "--density", "1.95")
    assert vlsafe("foresight", str(folder), *again) == 0  # the same drives and dreams
    first, second = (
        json.loads(x)["traffics"] for x in (before, (folder / "foresight.json").read_bytes())
    )
    assert first == second
    page = write_report(trained, trained / "report.html").read_text(encoding="utf-8")
    assert "does it see a crash coming" in page.lower()
    assert "Where the signal “dream” says" in page
    line = (
        f"vlsafe foresight {folder} --episodes 3 --first-seed 3000000000 --density 1.95 --dreams 2"
    )
    assert line in commands(read_run_folder(trained))


def test_recorded_drives_stand_in_for_its_own(trained: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "x.json", str(trained / "data")
    options = ("--data", data, "--episodes", "4", "--dreams", "1", "--out", str(out))
    assert vlsafe("foresight", str(trained / "vlsafe"), *options, "--density", "0.5") == 0
    first, second = read_foresight(out).traffics
    assert (first.data, first.measured.drives) == (data, 4)
    assert first.env_kwargs["vehicles"] == 8
    assert (second.data, second.title, second.env_kwargs["density"]) == (None, "density 0.5", 0.5)
    assert [signal.unknown for signal in first.measured.signals] == [0] * 5


def test_an_agent_without_signals_has_the_simulators_alone(trained: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "x.json"), "--episodes", "2")
    assert vlsafe("foresight", str(trained / "bc"), *out) == 0
    found = read_foresight(tmp_path / "x.json")
    assert [signal.name for signal in found.traffics[0].measured.signals] == ["1 / TTC"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--density", "-1"), "density"),
        (("--episodes", "0"), "Invalid value for '--episodes'"),
        (("--env", "VLSafe-Highway-v0"), "a trained agent knows its environment"),
        (("--env-arg", "colour=3"), "unknown option 'colour'"),
        (("--env-arg", "density=1"), "other traffic is given by --density"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_told_and_leave_no_file(
    trained: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "x.json"
    assert vlsafe("foresight", str(trained / "vlsafe"), "--out", str(out), *options) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_no_agent_is_no_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlsafe("foresight", str(tmp_path / "nobody")) == 2
    assert "no folder" in capsys.readouterr().err
