"""What sharing takes whatever the model is: a folder that may be written to, and a repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from vlsafe_agents.pretrained.sources import FACTS_FILE


def folder_to_share(folder: str | Path, file: str) -> Path:
    """A folder for a shared model, made where there is none.

    Args:
        file: the model's name there.

    Raises:
        FileExistsError: where the folder holds a model that was not shared from here.
    """
    out = Path(folder)
    if (out / file).exists() and not (out / FACTS_FILE).exists():
        raise FileExistsError(
            f"{out} holds a {file} that was not shared from here, perhaps the only copy of "
            "one; choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def push(
    repository: str,
    write: Callable[[Path], object],
    *,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    message: str,
) -> str:
    """Upload a folder to a Hugging Face repository, which is made where there is none.

    Args:
        repository: ``"owner/name"``.
        write: fills the folder.

    Returns:
        The commit's address.
    """
    from huggingface_hub import HfApi

    hub = HfApi(token=token, library_name="vlsafe")
    hub.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=place,
            commit_message=message,
            revision=revision,
        )
    return str(commit.commit_url)
