"""Shared set-up: one torch thread (small networks on busy machines run many times faster)."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach for a model hub

import torch

torch.set_num_threads(1)
