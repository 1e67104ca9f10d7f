"""Command lines with mistakes: exit code 2, one sentence, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.malformed.files import good
from benchmarks.malformed.runner import Case, command

WRONG: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("collect --out {}/x --env Atari", ("Atari",)),
    ("collect --out {}/x --env os:system", ("os:system",)),
    ("collect --out {}/x --steps 0", ("steps",)),
    ("collect --out {}/x --steps -5", ("steps",)),
    ("collect --out {}/x --episodes 1 --steps 1", ("steps",)),
    ("collect --out {}/x --mix expert=0.5", ("shares", "mix")),
    ("collect --out {}/x --mix expert=NaN", ("mix", "share")),
    ("collect --out {}/x --mix expert", ("mix",)),
    ("collect --out {}/x --mix racer=1", ("racer",)),
    ("collect --out {}/x --density nan", ("density",)),
    ("collect --out {}/x --density -1", ("density",)),
    ("collect --out {}/x --env-arg density=[1]", ("density",)),
    ("collect --out {}/x --env-arg =1", ("env-arg",)),
    ("collect --out {}/x --env-arg lanes=1e999", ("lanes",)),
    ("collect --out {}/x --env-arg colour=3", ("colour",)),
    ("collect --out {}/x --env-arg scorer=none", ("scorer",)),
    ("collect --out {}/x --seed -1", ("seed",)),
    ("collect --out {}/x --workers 0", ("workers",)),
    ("collect --out {}/x --workers many", ("workers",)),
    ("collect --out {}/x --settings {}/none", ("none",)),
    ("collect --out {}/x --name a", ("Minari id",)),
    ("label {}/none", ("none",)),
    ("label {}", ("data set", "vlsafe collect")),
    ("label RUN/data --scorer nonsense", ("nonsense",)),
    ("label RUN/data --scorer constant:7", ("constant", "7")),
    ("label RUN/data --scorer clip:/nowhere", ("nowhere",)),
    ("label RUN/data --engine steam", ("steam", "engine")),
    ("label RUN/data --batch-size 0", ("batch-size",)),
    ("label RUN/data --cache {}/c --no-cache", ("cache",)),
    ("train --out {}/a --algo sac", ("sac",)),
    ("train --out {}/a", ("data",)),
    ("train --out {}/a --data {}/none", ("none",)),
    ("train --out {}/a --algo ppo --track wandbb", ("wandbb",)),
    ("train --out {}/a --data RUN/data --cost vim", ("vim",)),
    ("train --out {}/a --data RUN/data --update guarded", ("guarded",)),
    ("train --out {}/a --data RUN/data --safety 2", ("safety",)),
    ("train --out {}/a --data RUN/data --safety scores", ("safety",)),
    ("train --out {}/a --data RUN/data --preset 13M", ("13M",)),
    ("train --out {}/a --data RUN/data --envs 4", ("envs",)),
    ("train --out {}/a --data RUN/data --scorer oracle", ("scorer",)),
    ("train --out {}/a --data RUN/data --update none --cost-limit 1", ("cost-limit",)),
    ("train --out {}/a --data RUN/data --env VLSafe-Merge-v0", ("--env",)),
    ("train --out {}/a --data RUN/data --config a=1 --config a=2", ("twice",)),
    ("train --out {}/a --data RUN/data --config speed", ("config",)),
    ("train --out {}/a --data RUN/data --config imagination.horizon=0", ("horizon",)),
    ("train --out {}/a --data RUN/data --config train=1 --config train.clip=1", ("train",)),
    ("train --out {}/a --data RUN/data --world-model {}/none", ("none",)),
    ("train --out {}/a --data RUN/data --world-model RUN/bc", ("bc", "world model")),
    ("train --out {}/a --data RUN/data --steps 0", ("steps",)),
    ("train --out {}/a --data RUN/data --device abacus", ("abacus",)),
    ("train --out {}/a --data RUN/data --threads 0", ("threads",)),
    ("train --out {}/a --algo bc --data RUN/data --update gated", ("update",)),
    ("train --out {}/a --algo bc --data RUN/data --config batch_size=0", ("batch_size",)),
    ("train --out {}/a --algo ppo_lag --update gated", ("update",)),
    ("train --out {}/a --algo ppo_lag --cost vlm --scorer none", ("scorer",)),
    ("train --out {}/a --algo ppo_lag --config n_epochs=-1", ("n_epochs",)),
    ("train --out {}/a --algo ppo --cost-limit 1", ("cost-limit",)),
    ("train --out {}/a --algo ppo --reward-scale 0", ("reward-scale",)),
    ("train --out {}/a --algo ppo --env-arg density=-1", ("density",)),
    ("train --out RUN/bc --algo bc --data RUN/data --steps 7", ("steps", "another")),
    ("train --out RUN --overwrite --algo bc --data RUN/data --steps 1", ("no agent",)),
    ("evaluate nobody", ("nobody",)),
    ("evaluate {}", ("model.zip",)),
    ("evaluate expert", ("--out",)),
    ("evaluate RUN/bc --env VLSafe-Merge-v0", ("--env",)),
    ("evaluate RUN/bc --episodes 0", ("episodes",)),
    ("evaluate RUN/bc --workers 0", ("workers",)),
    ("evaluate RUN/bc --scorer nonsense", ("nonsense",)),
    ("evaluate RUN/bc --first-seed -1", ("seed",)),
    ("evaluate RUN/bc --density nan", ("density",)),
    ("evaluate RUN/bc --env-arg observation=image", ("observation",)),
    ("compare {}/none.json", ("none.json",)),
    ("compare RUN/bc/settings.json", ("settings.json",)),
    ("compare RUN", ("evaluation", "folder", "file")),
    ("report {}/none", ("none",)),
    ("audit {}/none --out {}/audit", ("none",)),
    ("audit RUN/data --scorer nonsense --out {}/audit", ("nonsense",)),
    ("calibrate RUN/data --scorer nonsense --out {}/c.json", ("nonsense",)),
    ("demo --observation pixel --out {}/demo", ("pixel",)),
    ("demo --scale 0 --out {}/demo", ("scale",)),
    ("demo --workers 0 --out {}/demo", ("workers",)),
    ("nonsense", ("nonsense",)),
    ("train --colour red --out {}/a", ("colour",)),
    ("collect", ("--out",)),
)


def cases() -> Iterator[Case]:
    """All of them."""
    for line, words in WRONG:
        yield Case("commands", f"vlsafe {line}", partial(_run, line), words)


def _run(line: str, folder: Path) -> None:
    if "RUN" in line:
        (folder / "run").symlink_to(good())
        line = line.replace("RUN", "{}/run")
    before = sorted(folder.iterdir())
    try:
        command(*line.split())(folder)
    finally:
        left = [path.name for path in sorted(folder.iterdir()) if path not in before]
        if left:
            raise AssertionError(f"left {', '.join(left)} behind")
