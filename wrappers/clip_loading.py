"""Loading CLIP checkpoints through ``transformers``, and preparing frames for them quickly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .scorer import Frames

_BICUBIC = 3  # PIL's number


def bundled_folder() -> Path:
    """Folder of the CLIP shipped with this package.

    Raises ``ValueError`` when its weights are missing.
    """
    folder = Path(__file__).parent / "bundled_clip"
    if not (folder / "model.safetensors").is_file():
        raise ValueError(
            f"the bundled CLIP has no weights in {folder}; reinstall the package or train them "
            "with `vlsafe train-clip`"
        )
    return folder


def load_clip(checkpoint: str | Path) -> tuple[Any, Any, Any]:
    """Model (float32, evaluation mode), tokenizer and image processor of a checkpoint.

    ``checkpoint`` is a hub name or a folder.  The image processor is the PIL one, so that
    torchvision is not needed and results do not depend on whether it is installed.

    Raises ``ValueError`` when the checkpoint cannot be loaded, naming the remedy.
    """
    from transformers import CLIPModel

    source = str(checkpoint)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ValueError(f"folder {source} holds no checkpoint: config.json is missing")
    try:
        with no_weight_bars() if Path(source).is_dir() else nullcontext():
            model = CLIPModel.from_pretrained(source, dtype=torch.float32)
        tokenizer = load_tokenizer(source)
        processor = image_processor_class().from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"cannot load a CLIP checkpoint from {source!r}: {reason}  Without a network give the "
            'path of a folder written by save_pretrained, or scorer="bundled".'
        ) from error
    return model.eval().requires_grad_(False), tokenizer, processor


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


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a hub name or a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(source))


def image_processor_class() -> Any:
    """CLIP's image processor on PIL, under whichever name this ``transformers`` has it."""
    try:
        from transformers import CLIPImageProcessorPil
    except ImportError:
        from transformers import CLIPImageProcessor as CLIPImageProcessorPil
    return CLIPImageProcessorPil


def resize(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """``(N, 3, H, W)`` uint8 to ``(N, 3, height, width)`` uint8, antialiased bicubic as PIL's."""
    if (height, width) == tuple(pixels.shape[2:]):
        return pixels
    return torch.nn.functional.interpolate(
        pixels, (height, width), mode="bicubic", antialias=True, align_corners=False
    )


class FastPreprocessor:
    """An image processor's resize, centre crop and normalisation, for whole uint8 batches.

    CLIP's processor handles one PIL image at a time, about 2 ms each; here PyTorch resizes uint8
    batches with the same antialiased bicubic filter, within one grey level of PIL's result except
    where the filter overshoots at hard edges.  A processor with other steps is called itself.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        size = dict(processor.size)
        self._by_processor = not (
            processor.do_resize
            and processor.do_rescale
            and processor.do_normalize
            and int(processor.resample) == _BICUBIC
            and set(size) in ({"shortest_edge"}, {"height", "width"})
        )
        self.size = size
        self.crop = dict(processor.crop_size) if processor.do_center_crop else None
        scale = 1.0 / float(processor.rescale_factor)
        self.mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1) * scale
        self.std = torch.tensor(processor.image_std).view(1, 3, 1, 1) * scale

    def __call__(self, frames: Frames) -> torch.Tensor:
        """Pixels ``(N, 3, S, S)`` float32 from frames ``(N, H, W, 3)`` uint8."""
        if self._by_processor or not self._crop_fits(
            *self._resized(frames.shape[1], frames.shape[2])
        ):
            return self.processor(list(frames), return_tensors="pt")["pixel_values"]
        return (self.resize(frames).float() - self.mean) / self.std

    def resize(self, frames: Frames) -> torch.Tensor:
        """Resized and cropped ``(N, 3, S, S)`` uint8, from frames ``(N, H, W, 3)`` uint8."""
        height, width = self._resized(frames.shape[1], frames.shape[2])
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)  # (N, 3, H, W)
        pixels = resize(pixels, height, width)
        if self.crop is not None:
            top = (height - self.crop["height"]) // 2
            left = (width - self.crop["width"]) // 2
            pixels = pixels[:, :, top : top + self.crop["height"], left : left + self.crop["width"]]
        return pixels

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if "height" in self.size:
            return self.size["height"], self.size["width"]
        edge = self.size["shortest_edge"]
        if height <= width:
            return edge, int(edge * width / height)
        return int(edge * height / width), edge

    def _crop_fits(self, height: int, width: int) -> bool:
        return self.crop is None or (self.crop["height"] <= height and self.crop["width"] <= width)
