"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

EnvArg = Annotated[
    list[str] | None, typer.Option(help="More of the environment's arguments, key=value.")
]
Wrapper = Annotated[
    list[str] | None, typer.Option(help="Another environment's wrapper, module:Class.")
]
CostKey = Annotated[str | None, typer.Option(help="Another environment's info that is the cost.")]
CostFunction = Annotated[
    str | None, typer.Option(help="Another environment's cost, module:function.")
]
RewardFunction = Annotated[
    str | None, typer.Option(help="Another environment's reward, module:function.")
]
AllowImport = Annotated[
    bool, typer.Option("--allow-import", help="Use an environment that files name and not we.")
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Also load a model saved by Stable-Baselines3 itself, whose file can run code: only "
        "if you trust where it came from.",
    ),
]
FirstSeed = Annotated[int, typer.Option(help="Seed of the first episode.", min=0)]
Threads = Annotated[int, typer.Option(help="PyTorch threads.", min=1)]

FIRST_SEED = 3_000_000_000  # of drives that are measured; data sets have seeds below 2**31
