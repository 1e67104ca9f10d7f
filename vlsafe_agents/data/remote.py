"""Data sets on Minari's remotes, such as Hugging Face: ``hf://owner/namespace/env/name-v0``.

Minari keeps and finds data sets by namespaces, each with a file of its own beside them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wrappers.files import write_json

NAMESPACE_FILE = "namespace_metadata.json"
REMOTE = "MINARI_REMOTE"  # where Minari looks, of environment variables
# A path has lost one of the two slashes.
_ADDRESS = re.compile(r"^(?P<kind>hf|gcp):/{1,2}(?P<owner>[^/]+)/(?P<name>.+-v\d+)$")


def note_namespaces(root: Path, dataset_id: str) -> None:
    """Make the folders above a data set namespaces, without which Minari does not upload it."""
    folder = root
    for part in dataset_id.split("/")[:-1]:
        folder = folder / part
        if not (folder / NAMESPACE_FILE).exists():
            write_json(folder / NAMESPACE_FILE, {})


def fetched(address: str, root: Path) -> Path | None:
    """The folder of a data set on a remote, downloaded unless it is there; None of other names.

    Args:
        address: ``hf://owner/namespace/env/name-v0``.
        root: where Minari keeps data sets.

    Raises:
        OSError: where it cannot be had.
    """
    found = _ADDRESS.match(address)
    if found is None:
        return None
    folder = root / found["name"]
    if (folder / "data").is_dir():
        return folder
    with _looking_at(f"{found['kind']}://{found['owner']}"):
        import minari

        try:
            minari.download_dataset(found["name"])
        except Exception as error:  # of Minari, the Hub's client or the network below it
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise OSError(
                f"the data set {found['name']} of {found['owner']} cannot be had ({reason}); check "
                "its name and the network"
            ) from error
    return folder


@contextmanager
def _looking_at(remote: str) -> Iterator[None]:
    """Have all of Minari's functions look there: some take no address."""
    before = os.environ.get(REMOTE)
    os.environ[REMOTE] = remote
    try:
        yield
    finally:
        os.environ.pop(REMOTE)
        if before is not None:
            os.environ[REMOTE] = before
