"""The wheel holds our packages, the bundled judge, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vlsafe", "vlsafe_envs", "vlsafe_agents", "wrappers")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    # --no-isolation: the build must not need the network; setuptools is already here.
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_top_level_names_are_exactly_ours(wheel_names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_every_file_of_the_packages_travels(wheel_names: list[str]) -> None:
    files = [
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert "wrappers/bundled_clip/model.safetensors" in files
    assert "vlsafe_agents/pretrained/models/highway/model.zip" in files
    assert sorted(set(files) - set(wheel_names)) == []


def test_an_editable_install_puts_the_folder_on_the_path(tmp_path: Path) -> None:
    """With setuptools' finder, a clone named vlsafe in the working directory would come first."""
    code = f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    wheel = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    (pth,) = (name for name in wheel.namelist() if name.endswith(".pth"))
    assert wheel.read(pth).decode().split() == [str(ROOT)]


def test_all_packages_say_that_they_are_typed(wheel_names: list[str]) -> None:
    for package in PACKAGES:
        assert f"{package}/py.typed" in wheel_names


def test_the_matrix_leaves_out_what_is_not_installed(tmp_path: Path) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    shim = tmp_path / "python8.88"  # pyenv puts such on the path for versions not switched on
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(tmp_path), os.environ["PATH"]])
    command = ["make", "-n", "matrix", f"VERSIONS={here} 8.88 9.99"]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # these tests may be run by make themselves
    environment = {k: v for k, v in os.environ.items() if k not in outer} | {"PATH": path}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert f".venv-{here}/bin/python -m pytest" in answer.stdout
    for version in ("8.88", "9.99"):
        assert f"python{version} is not installed: left out" in answer.stdout
    assert answer.stdout.rstrip().endswith(f"passed with Python {here}")
    command[-1] = "VERSIONS=9.99"
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode


def test_bundled_judge_stays_small() -> None:
    size = sum(f.stat().st_size for f in (ROOT / "wrappers/bundled_clip").rglob("*") if f.is_file())
    assert size <= 15 * 2**20, f"bundled CLIP is {size / 2**20:.1f} MiB"
