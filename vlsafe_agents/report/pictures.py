"""Frames as data URIs: pictures of dreams, videos of drives."""

from __future__ import annotations

import base64
import math
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.pages import ABSENT
from vlsafe_agents.pages.html import png_uri
from vlsafe_agents.report.run_folder import Arrays

VIDEO_SCALE = 2  # each frame pixel becomes 2 x 2 video pixels: crisp edges, even sizes
SLOWEST_FPS = 4  # of a video; rarer decisions are shown faster than they were made
MAX_STRIP = 20  # frames in a strip

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StripFrame:
    """One column of the strip: pictures as data URIs, figures as text."""

    step: int
    seen: bool  # context: the model saw this frame
    truth: str
    dream: str
    error: str
    safety_score: tuple[str, str]  # truth, predicted
    cost: tuple[str, str]


def strip(arrays: Arrays) -> list[StripFrame]:
    """Columns of the real-versus-dreamed strip.

    ``arrays`` holds ``truth`` and ``dream`` ``(K, H, W, 3)`` uint8, ``context``, and perhaps
    ``safety_score_true``, ``safety_score_pred``, ``cost_true``, ``cost_pred`` ``(K,)``.

    Raises ``ValueError`` when pictures are missing or do not fit together.
    """
    if "truth" not in arrays or "dream" not in arrays:
        raise ValueError("truth or dream is missing (a model of vectors dreams no pictures)")
    truth, dream = np.asarray(arrays["truth"]), np.asarray(arrays["dream"])
    if truth.shape != dream.shape or truth.ndim != 4 or truth.shape[-1] != 3:
        raise ValueError(f"truth {truth.shape} and dream {dream.shape} must be (K, H, W, 3)")
    context = int(arrays.get("context", 0))
    columns = []
    for k in range(min(len(truth), MAX_STRIP)):
        error = np.abs(truth[k].astype(np.int16) - dream[k]).mean(-1) / 255.0  # (H, W)
        columns.append(
            StripFrame(
                step=k,
                seen=k < context,
                truth=png_uri(truth[k].astype(np.uint8)),
                dream=png_uri(dream[k].astype(np.uint8)),
                error=png_uri(_heat(error)),
                safety_score=_pair(arrays, "safety_score", k),
                cost=_pair(arrays, "cost", k),
            )
        )
    return columns


def _pair(arrays: Arrays, name: str, k: int) -> tuple[str, str]:
    values = (arrays.get(f"{name}_true"), arrays.get(f"{name}_pred"))
    true, pred = (ABSENT if v is None or len(v) <= k else _decimal(float(v[k])) for v in values)
    return true, pred


def _decimal(value: float) -> str:
    """Two decimals, without a sign before zero; a dash for what is no number."""
    return f"{value:.2f}".replace("-0.00", "0.00") if math.isfinite(value) else ABSENT


def _heat(error: npt.NDArray[np.floating[Any]]) -> Frames:
    """Errors from black (none) over orange to white (half of the range and more)."""
    level = np.clip(2.0 * error, 0.0, 1.0)[..., None]  # (H, W, 1)
    ramp = np.clip(level * np.array([2.4, 1.5, 1.2]) - np.array([0.0, 0.25, 0.6]), 0.0, 1.0)
    return np.asarray(np.round(255 * ramp), np.uint8)


def drive_video(arrays: Arrays) -> str:
    """A recorded episode as a video as fast as was driven, but at least at ``SLOWEST_FPS``."""
    driven = float(arrays.get("fps", math.nan))  # recordings of before lack it
    return video_uri(arrays["frames"], max(driven, SLOWEST_FPS) if driven > 0 else SLOWEST_FPS)


def video_uri(frames: Frames, fps: float = SLOWEST_FPS) -> str:
    """Frames ``(T, H, W, 3)`` uint8 as a ``data:video/mp4`` URI (H.264, yuv420p).

    Raises ``ValueError`` for arrays of another shape and ``RuntimeError`` when no encoder works.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(f"frames must be (T, H, W, 3) with T >= 1, got {frames.shape}")
    import imageio_ffmpeg

    height, width = frames.shape[1:3]
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps:g} -i -".split()
    filters = f"scale={VIDEO_SCALE}*iw:{VIDEO_SCALE}*ih:flags=neighbor"
    coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "24", "-preset", "fast"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive.mp4"
        try:
            encoder = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "-vf", filters]
            subprocess.run(
                [*encoder, *coding, "-movflags", "+faststart", str(path)],
                input=np.ascontiguousarray(frames, np.uint8).tobytes(),
                capture_output=True,
                check=True,
            )
            content = path.read_bytes()
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"no video: {error.stderr.decode(errors='replace')}") from error
        except (OSError, RuntimeError) as error:
            raise RuntimeError(f"no video: {error}") from error
    return "data:video/mp4;base64," + base64.b64encode(content).decode("ascii")
