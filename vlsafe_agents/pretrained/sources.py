"""Where a trained model is: in the package, in a folder, or in a Hugging Face repository."""

from __future__ import annotations

import re
from pathlib import Path

from vlsafe_agents.pretrained.bundle import Bundle
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import MODEL_FILE, SETTINGS_FILE

PREFIX = "pretrained:"  # of a name on the command line
CARD_FILE, FACTS_FILE = "README.md", "card.json"
FILES = (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE, FACTS_FILE, CARD_FILE)  # of a shared agent

DRIVERS = Bundle(
    Path(__file__).parent / "models",
    MODEL_FILE,
    "trained driver",
    "or name a folder, or a Hugging Face repository such as owner/name",
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def driver_names() -> tuple[str, ...]:
    """The trained drivers that come with vlsafe."""
    return DRIVERS.names()


def driver_folder(name: str) -> Path:
    """The folder of a trained driver that comes with vlsafe.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    return DRIVERS.folder(name)


def find_folder(
    name: str | Path,
    bundle: Bundle = DRIVERS,
    files: tuple[str, ...] = FILES,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model; from the Hub it is fetched first.

    Args:
        name: of a bundled model, of a folder, or ``"owner/repository"``.  A ``Path`` is a folder.
        files: what is fetched of a repository; nothing else is.
        revision: of a repository: branch, tag or commit.
        token: of a private repository, see ``huggingface_hub.snapshot_download``; so are the
            others.

    Raises:
        ValueError: for a name of nothing, which says what there is, and one of two things.
        FileNotFoundError: for a folder that is not there, or no model's.
        OSError: where a repository cannot be had.
    """
    bundled = None if isinstance(name, Path) else bundle.find(name)
    here = (Path(name) / bundle.file).is_file()
    if bundled is not None and revision is not None:
        raise ValueError(f"{name!r} comes with vlsafe and has no revisions; leave revision out")
    if bundled is not None and here:
        raise ValueError(
            f"{name!r} is a {bundle.what} that comes with vlsafe, and here a folder with one, too; "
            f"write ./{name} for the folder, or go elsewhere for the other"
        )
    if bundled is not None or (here and revision is None):
        return bundled or Path(name)
    if isinstance(name, Path) or Path(name).is_dir() or name.startswith(("/", ".")):
        raise FileNotFoundError(f"there is no {bundle.what} in {name} (no {bundle.file})")
    if not _REPOSITORY.fullmatch(name):
        return bundle.folder(name)  # which says what there is
    try:
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            str(name),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(files),
            library_name="vlsafe",
        )
    except OSError as error:  # all errors of the Hub are
        raise OSError(
            f"there is no folder {str(name)!r}, and the Hugging Face repository of that name "
            f"cannot be had ({_first_line(error)}); check name, revision and network, or take one "
            f"that comes with vlsafe: {', '.join(bundle.names())}"
        ) from error
    folder = Path(str(found))
    if not (folder / bundle.file).is_file():
        raise FileNotFoundError(f"the repository {name} holds no {bundle.what} (no {bundle.file})")
    return folder


def named_folder(name: str) -> Path | None:
    """The folder behind ``pretrained:NAME[@REVISION]`` of the command line; None of other names.

    Raises:
        as :func:`find_folder`
    """
    if not name.startswith(PREFIX):
        return None
    found, _, revision = name.removeprefix(PREFIX).partition("@")
    return find_folder(found, revision=revision or None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
