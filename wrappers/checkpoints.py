"""Checkpoints of ``transformers``, loaded whole or refused with the file and the remedy.

``from_pretrained`` draws weights at random where a checkpoint has none, makes an empty tokenizer
where there are no files of one, and raises whatever its readers raise.  A scorer of such parts
would give every frame nearly the same score, or another one at each start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wrappers.files import fault_of, read_json

PRECISIONS = ("float32", "bfloat16", "float16")  # of weights and activations
_MOST_TOKENIZER = 512 << 20  # [bytes] of a tokenizer's JSON; large vocabularies take some 40 MB
_JSON_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
_TOKENIZERS = ("tokenizer*.json", "vocab.*", "*.model", "merges.txt", "*.tiktoken", "tekken.json")
_SPREAD = 32  # numbers of a model for each one stored: some are packed, some shared
_SHOWN = 4  # names of weights in a message


class UnfitError(ValueError):
    """A checkpoint that must not be used; the message says why and what to do."""


@contextmanager
def loading(
    source: str, what: str, remedy: str, mend: str = "copy the checkpoint again"
) -> Iterator[None]:
    """Make every failure of the block an error that names the checkpoint, the file and a remedy.

    Args:
        source: hub name or folder.
        what: what is being loaded, such as "a CLIP checkpoint".
        remedy: what to do where nothing better is known.
        mend: what to do where one of its files is faulty.

    Raises:
        ValueError: in place of whatever the block raises.
    """
    try:
        yield
    except MemoryError:
        raise
    except UnfitError as error:
        raise ValueError(f"cannot load {what} from {source!r}: {error}") from None
    except Exception as error:
        fault = _fault_in(Path(source)) if Path(source).is_dir() else ""
        reason = f"{fault}; {mend}" if fault else f"{_first_words(error)}; {remedy}"
        raise ValueError(f"cannot load {what} from {source!r}: {reason}") from error


def check_folder(folder: Path) -> None:
    """Look at a checkpoint's folder before anything in it is loaded.

    Raises:
        UnfitError: for files that cannot be read, and for sizes in ``config.json`` that the weights
            cannot fill: building such a model would take all memory.
    """
    if not (folder / "config.json").is_file():
        raise UnfitError(
            f"folder {folder} holds no checkpoint: config.json is missing; name a folder written "
            "by save_pretrained"
        )
    for name in _JSON_FILES:
        if (path := folder / name).exists():
            try:
                read_json(path, remedy="copy the checkpoint again", most=_MOST_TOKENIZER)
            except ValueError as error:
                raise UnfitError(str(error)) from None
    stored = _stored_numbers(folder)
    if stored is not None:
        numbers, tensors = stored
        _check_sizes(json.loads((folder / "config.json").read_bytes()), numbers, tensors, folder)


def load_whole(auto_class: Any, source: str, **options: Any) -> Any:
    """``auto_class.from_pretrained``, in evaluation mode and without gradients.

    Names that ``transformers`` itself changes or leaves out (buffers of old versions, tied
    weights) are no fault.

    Raises:
        UnfitError: for a checkpoint that lacks weights of its model, or holds others.
    """
    with _quiet(Path(source).is_dir()):
        model, found = auto_class.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    name = type(model).__name__
    for key, stored, wanted in sorted(found["mismatched_keys"]):
        raise UnfitError(
            f"its weights {key} are {tuple(stored)}, its config.json makes them {tuple(wanted)}: "
            "they belong to different models; copy both from one place"
        )
    missing, foreign = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    if missing:
        raise UnfitError(
            f"it lacks {len(missing)} weights of its {name} ({_some(missing)}), which would be "
            "drawn at random; save the whole model with save_pretrained, or copy all its files"
        )
    if foreign:
        raise UnfitError(
            f"it holds {len(foreign)} weights that its {name} does not have ({_some(foreign)}): "
            "config.json and weights belong to different models; copy both from one place"
        )
    return model.eval().requires_grad_(False)


def check_vocabulary(tokenizer: Any, embeddings: int, source: str) -> None:
    """Refuse a tokenizer that cannot belong to a model with so many embeddings of tokens.

    Raises:
        UnfitError: for more tokens than embeddings, or fewer than half as many.
    """
    # Tokens that are only added (marks of other tasks) may lie beyond: no text comes to them.
    tokens, folder = int(tokenizer.vocab_size), Path(source)
    if tokens <= embeddings <= 2 * len(tokenizer):
        return
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise UnfitError(
            "it has no tokenizer, without which all words read alike; save that beside the model: "
            "tokenizer.save_pretrained(folder)"
        )
    raise UnfitError(
        f"its tokenizer knows {tokens:,} tokens, its model {embeddings:,}: they do not belong "
        "together; copy the tokenizer's files from where the model comes from"
    )


@contextmanager
def no_weight_bars() -> Iterator[None]:
    """Hide the bars of ``transformers`` for reading and writing weights (and for downloads)."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def device_of(name: str) -> torch.device:
    """The PyTorch device of a name.

    Raises:
        ValueError: for one that PyTorch does not know, or cannot use on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"device={name!r} cannot be used here ({reason}); use 'cpu'") from None
    return device


def dtype_of(precision: str) -> torch.dtype:
    """What numbers of a precision are to PyTorch.

    Raises:
        ValueError: for another than those in :data:`PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    found: torch.dtype = getattr(torch, precision)
    return found


def weights_sha256(model: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 of all weights, with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _quiet(is_folder: bool) -> Iterator[None]:
    """Without the table of weights that do not fit, which an error sums up; bars for downloads."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        if is_folder:
            with no_weight_bars():
                yield
        else:
            yield
    finally:
        logging.set_verbosity(level)


def _stored_numbers(folder: Path) -> tuple[int, int] | None:
    """How many numbers and tensors a folder's weights hold, by their headers.

    ``None`` where there are no safetensors.

    Raises:
        UnfitError: naming the file whose header cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    numbers = tensors = 0
    for path in files:
        try:
            with safe_open(path, "np") as file:
                for name in file.keys():  # noqa: SIM118  # it is no mapping
                    size = 1
                    for edge in file.get_slice(name).get_shape():
                        size *= edge
                    numbers, tensors = numbers + size, tensors + 1
        except (SafetensorError, OSError) as error:
            fault = fault_of(path) or f"cannot be read as weights ({error}); copy it again"
            raise UnfitError(f"{path} {fault}") from None
    return (numbers, tensors) if files else None


def _check_sizes(
    config: Mapping[str, Any], numbers: int, tensors: int, folder: Path, place: str = ""
) -> None:
    """Refuse sizes that so many stored numbers and tensors cannot fill."""
    for key, value in config.items():
        where = f"{place}{key}"
        if isinstance(value, Mapping):
            _check_sizes(value, numbers, tensors, folder, f"{where}.")
        elif isinstance(value, int):
            if key.endswith(("_size", "_dim", "d_model")) and key != "image_size":
                _check_size(where, value, numbers * _SPREAD, folder)
            elif key.endswith(("layers", "depth", "n_layer")):
                _check_size(where, value, tensors * _SPREAD, folder)
    width, words = config.get("hidden_size"), config.get("vocab_size")
    if isinstance(width, int) and isinstance(words, int):
        _check_size(f"{place}vocab_size * hidden_size", width * words, numbers * _SPREAD, folder)
    image, patch = config.get("image_size"), config.get("patch_size")
    if isinstance(image, int) and isinstance(patch, int) and patch > 0:
        patches = (image // patch) ** 2
        _check_size(f"{place}image_size / patch_size squared", patches, numbers * _SPREAD, folder)


def _check_size(what: str, value: int, most: int, folder: Path) -> None:
    if value > most:
        raise UnfitError(
            f"{folder / 'config.json'} says {what} = {value:,}, far more than the weights beside "
            "it can fill; copy both from one place"
        )


def _fault_in(folder: Path) -> str:
    """The first file of a checkpoint's folder that is plainly faulty, and how."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".txt", ".model", ".safetensors", ".bin") and path.is_file():
            if fault := fault_of(path):
                return f"{path} {fault}"
            if path.suffix == ".json" and path.stat().st_size <= _MOST_TOKENIZER:
                try:
                    json.loads(path.read_bytes().decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    return f"{path} is no JSON file ({_first_words(error)})"
    return ""


def _some(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _first_words(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".;")
