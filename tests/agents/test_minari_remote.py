"""Names of data sets in Minari's form, and the way to its remote and back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import minari
import pytest
from huggingface_hub.errors import EntryNotFoundError
from minari.dataset.minari_dataset import parse_dataset_id
from minari.namespace import list_local_namespaces
from minari.storage.remotes import huggingface

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.data.collection import minari_id
from vlsafe_agents.data.remote import fetched
from vlsafe_agents.data.storage import resolve_dataset
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder

NAME = "vlsafe/highway/expert-v0"


class Hub:
    """Stands for the Hub: repositories are folders."""

    root: Path

    def __init__(self, token: str | None = None) -> None:
        pass

    def create_repo(self, repo_id: str, **_: Any) -> None:
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, repo_id: str, folder_path: Path, path_in_repo: str, **_: Any) -> None:
        shutil.copytree(folder_path, self.root / repo_id / path_in_repo)

    def upload_file(self, path_or_fileobj: Any, path_in_repo: str, repo_id: str, **_: Any) -> None:
        target = self.root / repo_id / path_in_repo
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(path_or_fileobj) != target:
            shutil.copyfile(path_or_fileobj, target)

    def hf_hub_download(
        self, repo_id: str, filename: str, local_dir: Path | None = None, **_: Any
    ) -> str:
        source = self.root / repo_id / filename
        if not source.is_file():
            raise EntryNotFoundError(filename)
        if local_dir is None:
            return str(source)
        target = Path(local_dir) / filename
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(source, target))

    def list_datasets(self, author: str, dataset_name: str | None = None) -> Iterator[Any]:
        for folder in sorted((self.root / author).glob("*")):
            if dataset_name in (None, folder.name):
                yield SimpleNamespace(id=f"{author}/{folder.name}")

    def snapshot_download(
        self, repo_id: str, allow_patterns: str, local_dir: Path, **_: Any
    ) -> None:
        part = allow_patterns.removesuffix("/*")
        shutil.copytree(self.root / repo_id / part, Path(local_dir) / part)


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Minari root with drives of the expert."""
    root = tmp_path / "run" / "data"
    drive = ("--episodes", "2", "--mix", "expert=1", "--workers", "1", "--env-arg", "duration=3")
    with pytest.raises(SystemExit) as stop:
        cli.main(["collect", *drive, "--name", "expert", "--out", str(root)])
    assert not stop.value.code
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root


@pytest.mark.parametrize(
    ("env_id", "name", "found"),
    [
        ("VLSafe-Highway-v0", None, "vlsafe/highway-v0"),
        ("VLSafe-Highway-v0", "expert", NAME),
        ("VLSafe-Highway-v0", "expert-v3", "vlsafe/highway/expert-v3"),
        ("VLSafe-LeftTurn-v0", "me/left/mine", "me/left/mine-v0"),
        ("CartPole-v1", None, "vlsafe/cartpole-v1"),
        ("CartPole-v1", "random", "vlsafe/cartpole/random-v0"),
        ("mine:Line", None, "vlsafe/mine-line-v0"),
    ],
)
def test_ids_have_minaris_form(env_id: str, name: str | None, found: str) -> None:
    assert minari_id(env_id, name) == found
    assert parse_dataset_id(found)[0] == found.rpartition("/")[0]


def test_minari_lists_and_opens_what_was_collected(collected: Path) -> None:
    assert list(minari.list_local_datasets()) == [NAME]
    assert list_local_namespaces() == ["vlsafe", "vlsafe/highway"]
    episodes = list(minari.load_dataset(NAME).iterate_episodes())
    drives = EpisodeDataset.from_minari(NAME, cost="env")
    assert sum(len(one.rewards) for one in episodes) == drives.num_steps
    assert f"--name {NAME} " in commands(read_run_folder(collected.parent))


def test_drives_go_to_a_remote_and_come_back(
    collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.root = tmp_path / "hub"
    monkeypatch.setattr(huggingface, "HfApi", Hub)
    with monkeypatch.context() as mine:
        mine.setenv("MINARI_REMOTE", "hf://someone")
        minari.upload_dataset(NAME, token="secret")
    assert (Hub.root / "someone" / "vlsafe" / "highway" / "expert-v0" / "data").is_dir()
    there = tmp_path / "elsewhere"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(there))
    address = f"hf://someone/{NAME}"
    found = EpisodeDataset.from_minari(address, cost="env")
    before = EpisodeDataset.from_minari(collected / NAME, cost="env")
    assert found.num_steps == before.num_steps
    assert (found.metadata["env_id"], found.metadata["content_hash"]) == (
        "VLSafe-Highway-v0",
        before.metadata["content_hash"],
    )
    shutil.rmtree(Hub.root)
    assert resolve_dataset(Path(address)) == there / NAME / "data"  # is there, and so not asked for
    with pytest.raises(OSError, match="other-v0 of someone cannot be had"):
        resolve_dataset("hf://someone/vlsafe/highway/other-v0")


@pytest.mark.parametrize("name", ["vlsafe/highway-v0", "runs/hf/data", "hf:x", "s3://a/b-v0"])
def test_other_names_are_no_addresses(name: str, tmp_path: Path) -> None:
    assert fetched(name, tmp_path) is None
