"""Options that several commands have, for environments of other people."""

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
