"""Shared set-up, before NumPy and torch are imported.

One torch thread: small networks on busy machines run many times faster.  And NumPy without its
AVX-512 kernels, whose tangents, arcs and scalar products differ in the last bit from those on
other processors: highway-env, which computes with them, would drive otherwise here than there.
"""

from __future__ import annotations

import itertools
import os
import platform

if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
    # NumPy passes over names that it does not know: they have changed from version to version.
    os.environ.setdefault(
        "NPY_DISABLE_CPU_FEATURES",
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
    )
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach for a model hub

import pytest
import torch
from gymnasium.utils import seeding

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test leaves unseeded is drawn alike in every run, so that a failure comes back."""
    torch.manual_seed(0)
    unused, np_random = itertools.count(1 << 40), seeding.np_random
    monkeypatch.setattr(
        seeding, "np_random", lambda seed=None: np_random(next(unused) if seed is None else seed)
    )


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither fill the user's cache of scores nor find anything there."""
    os.environ["VLSAFE_CACHE"] = str(tmp_path_factory.mktemp("vlsafe_cache"))
