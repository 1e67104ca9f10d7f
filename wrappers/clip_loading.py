"""Loading dual encoders through ``transformers``, and preparing frames for them quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wrappers.checkpoints import UnfitError, check_folder, check_vocabulary, load_whole, loading
from wrappers.scorer import Frames

_REMEDY = (
    'without a network give the path of a folder written by save_pretrained, or scorer="bundled"'
)
_MOST_EDGE = 8192  # [px] of a picture that a model is shown
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Backbone:
    """A published dual encoder, which has a short name, and its size."""

    checkpoint: str  # hub name
    parameters: int  # of both encoders
    image_size: int  # [px], height and width that the model sees

    def weights_gigabytes(self, bytes_a_number: int = 4) -> float:
        """Memory of the weights [GB]: 4 bytes a number for float32, 2 for half precision."""
        return self.parameters * bytes_a_number / 1e9


# Memory: docs/scorers.md.  The first four are those that VL-SAFE (arXiv 2505.16377) compares; which
# one it settles on is not public.  VLM-RL, of the same group, uses ViT-bigG-14.
BACKBONES = {
    "vit-b-32": Backbone("openai/clip-vit-base-patch32", 151_277_313, 224),
    "vit-l-14": Backbone("openai/clip-vit-large-patch14", 427_616_513, 224),
    "vit-h-14": Backbone("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 986_109_441, 224),
    "vit-bigg-14": Backbone("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 2_539_567_105, 224),
    "siglip-b-16": Backbone("google/siglip-base-patch16-224", 203_155_970, 224),
    "siglip-so400m": Backbone("google/siglip-so400m-patch14-384", 877_960_498, 384),
    "siglip2-b-16": Backbone("google/siglip2-base-patch16-224", 375_187_970, 224),
}
PAPER_BACKBONES = ("vit-b-32", "vit-l-14", "vit-h-14", "vit-bigg-14")


def checkpoint_of(name: str) -> str:
    """The hub name of a short name; anything else (a hub name, a folder) as it is."""
    backbone = BACKBONES.get(name)
    return name if backbone is None else backbone.checkpoint


def bundled_folder() -> Path:
    """Folder of the CLIP shipped with this package.

    Raises:
        ValueError: when its weights are missing.
    """
    folder = Path(__file__).parent / "bundled_clip"
    if not (folder / "model.safetensors").is_file():
        raise ValueError(
            f"the bundled CLIP has no weights in {folder}; reinstall the package or train them "
            "with `vlsafe train-clip`"
        )
    return folder


def load_dual_encoder(
    checkpoint: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[Any, Any, Any]:
    """Model (evaluation mode), tokenizer and image processor of a checkpoint.

    ``checkpoint`` is a hub name or a folder of any model that encodes images and texts into one
    space: CLIP, SigLIP, SigLIP 2, MetaCLIP 2, ALIGN, ...  The image processor is the PIL one, so
    that torchvision is not needed and results do not depend on whether it is installed.

    Raises:
        ValueError: for a checkpoint that cannot be loaded whole, whose parts do not belong together
            (the message names the file or part, and the remedy), or of a model of another kind
            (before its weights are fetched).
    """
    source = str(checkpoint)
    with loading(source, "a CLIP checkpoint", _REMEDY):
        from transformers import MODEL_MAPPING, AutoConfig, AutoModel

        if Path(source).is_dir():
            check_folder(Path(source))
        config = AutoConfig.from_pretrained(source)
        _check_kind(MODEL_MAPPING.get(type(config), None))
        model = load_whole(AutoModel, source, config=config, dtype=dtype)
        tokenizer = load_tokenizer(source)
        check_vocabulary(tokenizer, model.config.text_config.vocab_size, source)
        processor = _load_image_processor(source)
        _check_pictures(processor, model.config.vision_config)
    return model, tokenizer, processor


def _check_kind(model_class: Any) -> None:
    needed = ("get_image_features", "get_text_features")
    if not all(hasattr(model_class, name) for name in needed):
        name = getattr(model_class, "__name__", "unknown model")
        raise UnfitError(
            f"it is a {name}, not a dual encoder (it lacks {' or '.join(needed)}); a VLM that "
            "answers in words is the scorer 'local-vlm:...'"
        )


def _check_pictures(processor: Any, config: Any) -> None:
    """Refuse an image processor that makes other pictures than the model takes."""
    edges = {**dict(processor.size or {}), **dict(getattr(processor, "crop_size", None) or {})}
    if any(isinstance(edge, int) and edge > _MOST_EDGE for edge in edges.values()):
        raise UnfitError(f"its image processor makes pictures of {edges} px: copy it again")
    grey = np.full((32, 32, 3), 127, np.uint8)
    pixels = processor([grey], return_tensors="pt")["pixel_values"]
    if not torch.isfinite(pixels).all():
        raise UnfitError("its image processor makes pixels that are not finite: copy it again")
    wanted = getattr(config, "image_size", None)
    if not (isinstance(wanted, int) and hasattr(config, "patch_size")):
        return  # of any size
    if pixels.ndim == 4 and tuple(pixels.shape[2:]) != (wanted, wanted):
        raise UnfitError(
            f"its image processor makes pictures of {tuple(pixels.shape[2:])} px and its model "
            f"takes {wanted} px: they do not belong together; copy both from one place"
        )


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a hub name or a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(source))


def _load_image_processor(source: str) -> Any:
    from transformers import AutoImageProcessor

    try:
        from transformers import CLIPImageProcessorPil  # noqa: F401  # is there a choice?
    except ImportError:
        return AutoImageProcessor.from_pretrained(source, use_fast=False)
    return AutoImageProcessor.from_pretrained(source, backend="pil")


def image_processor_class() -> Any:
    """CLIP's image processor on PIL, under whichever name this ``transformers`` has it."""
    try:
        from transformers import CLIPImageProcessorPil
    except ImportError:
        from transformers import CLIPImageProcessor as CLIPImageProcessorPil
    return CLIPImageProcessorPil


def own_temperature(model: Any) -> float | None:
    """The temperature a model was trained with, or ``None`` where it has none.

    ``1 / exp(logit_scale)`` for CLIP (0.01 for OpenAI's) and SigLIP (about 0.0085).  SigLIP's head
    is a sigmoid of ``exp(logit_scale) * cosine + logit_bias`` for each sentence by itself; between
    two sentences the bias cancels, so the same temperature serves the contrast.
    """
    if hasattr(model, "logit_scale"):
        return float(torch.exp(-model.logit_scale.detach().float().cpu()))
    temperature = getattr(model, "temperature", None)  # ALIGN
    return None if temperature is None else float(temperature)


def text_length(model: Any, tokenizer: Any) -> int:
    """Tokens of a sentence that a model reads, those that mark begin and end among them."""
    return int(min(model.config.text_config.max_position_embeddings, tokenizer.model_max_length))


def text_features(model: Any, tokenizer: Any, sentences: Sequence[str]) -> torch.Tensor:
    """Features ``(len(sentences), D)`` float32 of unit length.

    All sentences are padded to the model's full length, so that none depends on the others; for
    SigLIP, whose text encoder was trained with this padding and without a mask, it is a must.
    """
    tokens = tokenizer(
        list(sentences),
        padding="max_length",
        truncation=True,
        max_length=text_length(model, tokenizer),
        return_tensors="pt",
    ).to(model.device)
    masked = not model.config.model_type.startswith("siglip")
    mask = {"attention_mask": tokens["attention_mask"]} if masked else {}
    with torch.inference_mode():
        found = features_of(model.get_text_features(input_ids=tokens["input_ids"], **mask))
    return torch.nn.functional.normalize(found.float(), dim=-1)


def features_of(output: Any) -> torch.Tensor:
    """Projected features; older ``transformers`` return them bare, newer ones in a container."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def resize(
    pixels: torch.Tensor, height: int, width: int, filter_name: str = "bicubic"
) -> torch.Tensor:
    """``(N, 3, H, W)`` uint8 to ``(N, 3, height, width)`` uint8, antialiased as PIL's."""
    if (height, width) == tuple(pixels.shape[2:]):
        return pixels
    return torch.nn.functional.interpolate(
        pixels, (height, width), mode=filter_name, antialias=True, align_corners=False
    )


class FastPreprocessor:
    """An image processor's resize, centre crop and normalisation, for whole uint8 batches.

    The processors of CLIP and SigLIP handle one picture at a time, up to 2 ms each.  Here frames
    that keep their size or shrink by a whole number (224 to 112 px, say) are resized as a batch by
    PyTorch's antialiased filter, which gives PIL's result in all but a few pixels; others one by
    one by PIL, as the processor does.  Whether the results agree is tried out on a picture; a
    processor with other steps is called itself.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.size = {k: v for k, v in dict(processor.size or {}).items() if v is not None}
        self.filter = next((k for k, v in _FILTERS.items() if v == processor.resample), "")
        crops = getattr(processor, "do_center_crop", None)
        self.crop = dict(processor.crop_size) if crops else None
        self.is_fast = self._has_known_steps()
        if self.is_fast:
            scale = 1.0 / float(processor.rescale_factor)
            self.mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1) * scale
            self.std = torch.tensor(processor.image_std).view(1, 3, 1, 1) * scale
            self.is_fast = self._agrees()

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what happens to a frame."""
        kept = ("resample", "rescale_factor", "image_mean", "image_std")
        return {
            "processor": type(self.processor).__name__.removesuffix("Pil"),
            "fast": self.is_fast,
            "size": self.size,
            "crop": None if self.crop is None else dict(self.crop),
            **{name: _plain(getattr(self.processor, name, None)) for name in kept},
        }

    def __call__(self, frames: Frames) -> torch.Tensor:
        """Pixels ``(N, 3, S, S)`` float32 from frames ``(N, H, W, 3)`` uint8."""
        return self.finish(self.prepare(frames), torch.device("cpu"))["pixel_values"]

    def prepare(self, frames: Frames) -> dict[str, torch.Tensor]:
        """The model's image inputs but for the last step; pixels may still be uint8.

        Small to move between processes and to a GPU; :meth:`finish` does the rest.
        """
        if not self.is_fast or not self._crop_fits(*self._resized(*frames.shape[1:3])):
            return dict(self.processor(list(frames), return_tensors="pt"))
        return {"pixel_values": self.resize(frames)}

    def finish(
        self, inputs: dict[str, torch.Tensor], device: torch.device
    ) -> dict[str, torch.Tensor]:
        """What :meth:`prepare` returned, moved to ``device`` and normalised."""
        moved = {name: value.to(device) for name, value in inputs.items()}
        pixels = moved["pixel_values"]
        if self.is_fast and pixels.dtype == torch.uint8:
            mean, std = self.mean.to(device), self.std.to(device)
            moved["pixel_values"] = pixels.float().sub_(mean).div_(std)
        return moved

    def resize(self, frames: Frames) -> torch.Tensor:
        """Resized and cropped ``(N, 3, S, S)`` uint8, from frames ``(N, H, W, 3)`` uint8."""
        height, width = self._resized(frames.shape[1], frames.shape[2])
        if frames.shape[1] % height or frames.shape[2] % width:  # PyTorch would be a grey level off
            frames = np.stack([self._resize_one(frame, height, width) for frame in frames])
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)  # (N, 3, H, W)
        pixels = resize(pixels, height, width, self.filter)
        if self.crop is not None:
            top = (height - self.crop["height"]) // 2
            left = (width - self.crop["width"]) // 2
            pixels = pixels[:, :, top : top + self.crop["height"], left : left + self.crop["width"]]
        return pixels

    def _resize_one(self, frame: Frames, height: int, width: int) -> Frames:
        picture = Image.fromarray(frame).resize((width, height), _FILTERS[self.filter])
        return np.asarray(picture)

    def _has_known_steps(self) -> bool:
        processor = self.processor
        return bool(
            processor.do_resize
            and processor.do_rescale
            and processor.do_normalize
            and not getattr(processor, "do_pad", False)
            and self.filter
            and set(self.size) in ({"shortest_edge"}, {"height", "width"})
        )

    def _agrees(self) -> bool:
        """Whether a smooth picture comes out as the processor makes it, within a grey level."""
        edge = self.size.get("shortest_edge", 0)
        height, width = self.size.get("height", edge) * 2, self.size.get("width", edge) * 2
        if not self._crop_fits(*self._resized(height, width)):
            return True  # such frames go to the processor anyway
        rows, columns = np.mgrid[0:height, 0:width]
        waves = [np.sin(rows / 17 + 1), np.cos(columns / 23), np.sin((rows + columns) / 29)]
        picture = (127.5 + 127.5 * np.stack(waves, -1)).round().astype(np.uint8)
        expected = self.processor([picture], return_tensors="pt")["pixel_values"]
        found = self(picture[None])
        largest = 1.01 / self.std.min()
        return found.shape == expected.shape and bool((found - expected).abs().max() <= largest)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if "height" in self.size:
            return self.size["height"], self.size["width"]
        edge = self.size["shortest_edge"]
        if height <= width:
            return edge, int(edge * width / height)
        return int(edge * height / width), edge

    def _crop_fits(self, height: int, width: int) -> bool:
        return self.crop is None or (self.crop["height"] <= height and self.crop["width"] <= width)


def _plain(value: Any) -> Any:
    """Numbers and lists of them, whatever enumeration or tuple they came in."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    return float(value) if isinstance(value, float) else int(value)
