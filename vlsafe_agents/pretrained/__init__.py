"""Trained models to take and to share: in the package, in folders, in Hugging Face repositories.

A shared agent is a folder:

================= =========================================================================
``model.zip``     the agent without what only learning needs, its matrices as float16
``settings.json`` how it was trained (:class:`~vlsafe_agents.training.TrainSettings`)
``training.json`` what learning has cost
``card.json``     facts: data, scorer, drives that were measured, versions, hashes
``README.md``     the model card, made of the three
================= =========================================================================

``settings.json`` and ``training.json`` are there where the agent comes from ``vlsafe train``.  A
shared risk model is the same with ``risk.zip`` (:mod:`vlsafe_agents.risk.shared`).
"""

from vlsafe_agents.pretrained.bundle import Bundle
from vlsafe_agents.pretrained.sources import DRIVERS, driver_folder, driver_names

__all__ = ["DRIVERS", "Bundle", "driver_folder", "driver_names"]
