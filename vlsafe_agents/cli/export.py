"""``vlsafe export``: a trained agent as a file for others than PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def export(
    agent: Annotated[
        str,
        typer.Argument(help="An agent's folder, or pretrained:NAME (comes with vlsafe, or a Hub)."),
    ],
    onnx: Annotated[Path, typer.Option(help="The file to write, such as agent.onnx.")],
    cost_limit: Annotated[
        float | None, typer.Option(help="The one to act under, of an agent for a range of them.")
    ] = None,
) -> dict[str, Any]:
    """Write what an agent does, without exploring, as an ONNX graph, and check that it does that.

    The graph is run by onnxruntime beside the agent before the file is
    there; examples/drive_with_onnxruntime.py drives with it.  Needs the
    extra onnx.
    """
    from vlsafe_agents import VLSafe
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.pretrained.sources import named_folder
    from vlsafe_agents.vlsafe.onnx_export import check_onnx, export_onnx
    from wrappers.files import replacing

    if onnx.is_dir():
        raise ValueError(f"--onnx {onnx} is a folder; name a file, such as {onnx / 'agent.onnx'}")
    model = VLSafe.from_pretrained(named_folder(agent) or Path(agent), device="cpu")
    policy = model.policy
    if cost_limit is not None:
        if not isinstance(model.cost_limit, tuple):
            raise ValueError(
                f"--cost-limit {cost_limit:g}: {agent} was not trained for a range of limits; "
                "leave it out"
            )
        policy.acting_limit = cost_limit
    with replacing(onnx) as temporary:
        export_onnx(policy, temporary)
        furthest = check_onnx(policy, temporary)
    inputs = ", ".join(policy.observation_kinds)
    say(f"{onnx}: {onnx.stat().st_size / 1e6:.1f} MB, looks at {inputs}")
    say(f"checked: onnxruntime takes the agent's own actions, its states differ by {furthest:.1e}")
    return {"file": onnx, "inputs": list(policy.observation_kinds), "largest_difference": furthest}
