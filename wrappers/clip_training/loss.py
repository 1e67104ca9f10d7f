"""CLIP's contrastive loss when one caption may be true of many frames, and many of one frame."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean of the frame-to-caption and caption-to-frame cross-entropies.

    ``logits (B, C)`` are scaled cosines, ``truth (B, C)`` in [0, 1] says how true caption c is of
    frame b.  Each row's (column's) target is its truth values divided by their sum; with a truth
    that is the identity this is CLIP's loss (Radford et al. 2021).  Rows and columns without any
    truth are left out.
    """
    return (_soft_cross_entropy(logits, truth) + _soft_cross_entropy(logits.T, truth.T)) / 2


def contrast_pair_loss(safe: Tensor, unsafe: Tensor, safety: Tensor) -> Tensor:
    """Cross-entropy of the choice between two sentences that :class:`~wrappers.ClipScorer` makes.

    ``safe (B, P)`` and ``unsafe (B, P)`` are the scaled cosines with P pairs of opposite sentences,
    ``safety (B,)`` the soft target in [0, 1].  It makes the softmax mean what the simulator says.
    """
    target = safety[:, None].expand_as(safe)
    return F.binary_cross_entropy_with_logits(safe - unsafe, target)


def patch_loss(predicted: Tensor, labels: Tensor) -> Tensor:
    """Of the labels of :mod:`.patch_labels`; both ``(B, P, 4)``, ``predicted`` as logits.

    Mean cross-entropy of presence over all patches, plus that of danger and the absolute error of
    the velocity over the patches in which there is a vehicle.
    """
    present = labels[..., 0]
    presence = F.binary_cross_entropy_with_logits(predicted[..., 0], present)
    there = present > 0
    if not bool(there.any()):
        return presence
    found, true = predicted[there], labels[there]  # (vehicles, 4)
    danger = F.binary_cross_entropy_with_logits(found[:, 1], true[:, 1])
    velocity = F.smooth_l1_loss(found[:, 2:], true[:, 2:], beta=0.1)
    return presence + danger + velocity


def _soft_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    mass = truth.sum(dim=1, keepdim=True)  # (rows, 1)
    kept = mass.squeeze(1) > 1e-6
    target = truth[kept] / mass[kept]
    return -(target * F.log_softmax(logits[kept], dim=1)).sum(dim=1).mean()
