"""``vlsafe train-risk``: what actions lead to, learnt from a simulator's branches, for a shield."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.options import EnvArg, Threads

if TYPE_CHECKING:
    import numpy as np

    from vlsafe_agents.cli.detecting import Seeing
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.cli.policies import ShownVehicles
    from vlsafe_agents.data.driving import Driver
    from vlsafe_agents.risk import BranchingConfig, RiskModel
    from vlsafe_agents.risk.judge import Judge
    from vlsafe_agents.risk.outcomes import Outcomes
    from vlsafe_agents.risk.training import TrainingConfig

COUNTS = "counts.json"  # of all attempts
NEAR = 6.0  # [m] between the centres of two vehicles
THRESHOLD, JUDGE_THRESHOLD = 0.05, 0.2  # chance of a crash; danger by a judge's word
DEFAULT_MIX = {"expert": 0.5, "noisy": 0.15, "inattentive": 0.15}
_COUNTED = {
    "states": "states",
    "drives": "drives",
    "drive_steps": "steps",
    "drive_events": "crashes",
    "branches": "branches",
    "branch_steps": "steps in branches",
    "branch_events": "crashes in branches",
}


def train_risk(
    out: Annotated[Path, typer.Option(help="Folder of the risk model, e.g. runs/mine/risk.")],
    env: Annotated[
        str, typer.Option(help="One of our environments.", autocompletion=completion.env_ids)
    ] = "VLSafe-Highway-v0",
    density: Annotated[
        str | None,
        typer.Option(help="Traffic density; 0.8:1.5 draws one for each episode from this range."),
    ] = None,
    env_arg: EnvArg = None,
    states: Annotated[
        int, typer.Option(help="States of mixed drives from which branches leave.", min=1)
    ] = 6000,
    rounds: Annotated[
        int, typer.Option(help="Further rounds, of drives behind the shield so far.", min=0)
    ] = 2,
    round_states: Annotated[int, typer.Option(help="States of each of them.", min=1)] = 4000,
    held_out: Annotated[
        int, typer.Option(help="States of yet other drives, to examine the model on.", min=2)
    ] = 500,
    horizon: Annotated[
        float, typer.Option(help="Crashes within so many seconds count [s].", min=0.1)
    ] = 6.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Chance of a crash from which on the shield steps in, or danger by the judge's "
            f"word. [default: {THRESHOLD}; {JUDGE_THRESHOLD} by a judge]",
            min=0,
            max=1,
        ),
    ] = None,
    events: Annotated[
        Literal["simulator", "judge"],
        typer.Option(help="Learn from crashes, or without, from what a scorer says of frames."),
    ] = "simulator",
    scorer: Annotated[
        str | None,
        typer.Option(
            help="The judge: bundled, distilled, a folder, ... [default: bundled]",
            autocompletion=completion.scorers,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Folder of a trained agent that drives behind the shield in rounds."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Begin with the risk model of this folder, or of an environment that one is "
            "bundled for, of a road whose outcomes are cheaper."
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Learn from the outcomes in this folder as well, of a road where they are "
            "cheaper: half of every batch. May be repeated."
        ),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Drivers of mixed drives and their shares; the rest goes ahead minding nobody. "
            f"[default: {', '.join(f'{name}={share}' for name, share in DEFAULT_MIX.items())}]"
        ),
    ] = None,
    random_actions: Annotated[
        int, typer.Option(help="Random actions that are tried in each state besides.", min=0)
    ] = 1,
    updates: Annotated[int, typer.Option(help="Gradient updates a round.", min=1)] = 5000,
    observation: Annotated[
        str,
        typer.Option(
            help="vehicles: the simulator says where they are. ways: and which ways they may take "
            "(roads with a route). image: a detector finds them in the agent's pictures; only its "
            "training is told where they are."
        ),
    ] = "vehicles",
    pictures: Annotated[
        int, typer.Option(help="Pictures of drives that the detector learns from.", min=1)
    ] = 12_000,
    picture_density: Annotated[
        str | None,
        typer.Option(
            help="Traffic density in them, such as 1.3:2.6; nobody has to drive safely there. "
            "[default: as elsewhere]"
        ),
    ] = None,
    detector_updates: Annotated[
        int, typer.Option(help="Gradient updates of the detector.", min=1)
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
    threads: Threads = 1,
) -> dict[str, Any]:
    """Learn the chance of a crash after an action, for `vlsafe evaluate --shield`.

    In states of drives the simulator goes on under other actions and comes back.  The same command
    goes on where it was killed: what is lost are the states since the last file of 500, or of 50
    where branches are slow, in forks of the process.
    """
    import torch

    from vlsafe_agents.cli.detecting import seeing
    from vlsafe_agents.cli.environments import EnvChoice, choose_env, parse_density
    from vlsafe_agents.cli.risk_sources import (
        beside_of,
        check_crashes_end,
        check_ways,
        judge_of,
        start_of,
        stated_policy,
    )
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.common.vehicle_rows import WAYS
    from vlsafe_agents.risk import BranchingConfig, RiskConfig
    from vlsafe_agents.risk.run_folder import claim, settings_of
    from vlsafe_agents.risk.training import TrainingConfig
    from vlsafe_agents.training.facts import TRAINING_FILE
    from vlsafe_envs.drivers.macros import tail_names
    from vlsafe_envs.options import make_scenario
    from vlsafe_envs.registry import row_of
    from wrappers.files import one_writer, read_json, write_json

    choice = choose_env(env, env_arg or [], parse_density(density))
    if not isinstance(choice, EnvChoice):
        raise ValueError(
            f"--env {env} is not ours, and cannot be brought back to a state for branches to "
            "leave from; give one of ours"
        )
    tails = tail_names(choice.env_id, **choice.kwargs)
    traffic = make_scenario(row_of(choice.env_id).name, **choice.kwargs).traffic
    shares = _shares(choice, mix, tails[0])
    frequency = float(traffic.policy_frequency)
    branching = BranchingConfig(tails, frequency, horizon, random_actions=random_actions)
    judge, judged = judge_of(events, scorer, threads)
    if judge is None:
        check_crashes_end(choice)
    if threshold is None:
        threshold = THRESHOLD if judge is None else JUDGE_THRESHOLD
    config = TrainingConfig(
        states=states,
        rounds=rounds,
        round_states=round_states,
        seed=seed,
        model=RiskConfig(horizon=horizon, updates=updates, threshold=threshold),
    )
    eyes = seeing(observation, choice, picture_density, frequency, pictures, detector_updates)
    known = None if eyes is None else eyes.stated
    ways = observation == WAYS
    if ways:
        check_ways(choice)
    (first, started), (others, joined) = start_of(start), beside_of(beside or [])
    told = (stated_policy(policy), branching, config, held_out, judged, known, started)
    settings = settings_of(choice, shares, *told, ways, joined)
    torch.set_num_threads(threads)
    with one_writer(out, f"vlsafe train-risk --out {out}"), _interruption_told(out):
        if claim(out, settings):
            say(f"{out} is trained already")
        else:
            how = (branching, config, policy, held_out, judge, eyes, first, ways, others)
            facts = _train(choice, out, shares, *how)
            write_json(out / TRAINING_FILE, facts)
        facts = read_json(out / TRAINING_FILE)
        _print(out, facts, threshold)
    return {"folder": out, "threshold": threshold, **facts}


@contextmanager
def _interruption_told(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; finished files of states are in {out}, and the same command goes on from "
            "there"
        ) from None


def _shares(choice: EnvChoice, mix: str | None, tail: str) -> dict[str, float]:
    """Shares of mixed drives; what is left is the macro-action's.

    Raises:
        ValueError: for unknown drivers, and for shares of more than all drives.
    """
    from vlsafe_agents.cli.environments import parse_mix
    from vlsafe_envs.drivers import driver_names
    from wrappers.checks import did_you_mean, one_number

    shares = dict(DEFAULT_MIX) if mix is None else parse_mix(mix)
    known = (*driver_names(choice.env_id), tail)
    for name, share in shares.items():
        if name not in known:
            raise ValueError(
                f"--mix: unknown driver {name!r}; {choice.env_id} has {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        one_number(share, name, "--mix", 0.0, 1.0)
    rest = 1 - sum(shares.values())
    if rest < -1e-6:
        raise ValueError(f"--mix: the shares add up to {1 - rest:g}; give 1 together, or less")
    if rest > 1e-6:
        shares[tail] = round(shares.get(tail, 0.0) + rest, 9)
    return shares


def _train(
    choice: EnvChoice,
    out: Path,
    shares: Mapping[str, float],
    branching: BranchingConfig,
    config: TrainingConfig,
    policy: Path | None,
    held_out: int,
    judge: Judge | None,
    eyes: Seeing | None,
    start: RiskModel | None,
    ways: bool,
    beside: Outcomes | None,
) -> dict[str, Any]:
    """Do what is not done yet; returns the facts to be stored."""
    from vlsafe_agents.cli.policies import ShownVehicles, agent_shown_all
    from vlsafe_agents.data.branching import Brancher
    from vlsafe_agents.risk.examination import examine_on_new_drives
    from vlsafe_agents.risk.run_folder import facts_of
    from vlsafe_agents.risk.training import CHUNK, OUTCOMES, SLOW_CHUNK, train
    from vlsafe_envs.drivers.macros import make_macro
    from vlsafe_envs.registry import row_of

    begin, fresh = time.monotonic(), not (out / OUTCOMES).exists()
    agent, observation = (None, "vehicles") if policy is None else agent_shown_all(policy)
    drive, detector = partial(mixed, shares), None
    if eyes is not None:  # before there is another environment: on MetaDrive there can be one only
        observation = "all"
        with _Parts(None, out / COUNTS) as parts:
            detector = eyes.learn(out, drive, config.seed, parts)
    made = choice.factory(observation=observation, scorer=None)()
    env = ShownVehicles(made, image=eyes is not None, ways=ways)
    try:
        if agent is not None and agent.action_space != env.action_space:
            raise ValueError(
                f"--policy {policy}: its actions are {agent.action_space}, those of "
                f"{choice.env_id} {env.action_space}"
            )
        told = row_of(choice.env_id).told_tails
        brancher = Brancher(env.branches, make_macro, near_plan if told else None)
        with _Parts(env, out / COUNTS) as parts:
            how = (env, out, drive, brancher, branching, config, agent, parts, judge)
            chunk = SLOW_CHUNK if choice.one_a_process else CHUNK
            model = train(*how, detector, chunk, told, start, beside)
            examined = examine_on_new_drives(model, held_out, *how, chunk)
    finally:
        env.close()
    seconds = time.monotonic() - begin if fresh else None
    counts = None if choice.one_a_process else parts.counts  # whose branches are in forks
    return facts_of(model, examined, config, seconds, counts, beside)


def near_plan(env: Any, info: Mapping[str, Any]) -> float:
    """How soon somebody comes near the plan of an environment of ours, in [0, 1]."""
    from vlsafe_agents.data.branching import urgency
    from vlsafe_envs.env import vehicles_seen
    from vlsafe_envs.vehicle_set import plan_contact

    seconds = plan_contact(vehicles_seen(env)["vehicles"], NEAR)
    return max(urgency(info), urgency({**info, "time_to_collision": seconds}))


def mixed(shares: Mapping[str, float], env: Any, rng: np.random.Generator) -> Driver:
    """A driver of the mix, by chance."""
    from vlsafe_envs.drivers import driver_names, make_driver
    from vlsafe_envs.drivers.macros import make_macro

    name = str(rng.choice(list(shares), p=list(shares.values())))
    known = driver_names(env.unwrapped.scenario.row.env_id)
    driver: Driver = (make_driver if name in known else make_macro)(name, env, rng)
    return driver


class _Parts:
    """The progress of one part of the work after another; notes what each drive has simulated.

    Args:
        env: in which is driven; None: one that does not count.
        file: where the numbers are kept for the next attempt, if this one is killed.
    """

    def __init__(self, env: ShownVehicles | None, file: Path) -> None:
        from wrappers.files import read_json

        self._env, self._file = env, file
        before = read_json(file) if file.exists() else {}
        self._before = int(before.get("steps", 0)), int(before.get("events", 0))

    @property
    def counts(self) -> tuple[int, int]:
        """Steps and events of all attempts."""
        if self._env is None:
            return self._before
        return self._before[0] + self._env.steps, self._before[1] + self._env.events

    def __enter__(self) -> _Parts:
        self._part, self._shown = "", ExitStack()
        return self

    def __call__(self, part: str, done: int, total: int) -> None:
        from vlsafe_agents.common.progress import ProgressReport
        from wrappers.files import write_json

        learns = part.endswith("learning")
        if not learns:
            write_json(self._file, dict(zip(("steps", "events"), self.counts, strict=True)))
        if part != self._part:
            self._shown.close()
            report = ProgressReport(part, total, "updates" if learns else "states")
            self._report = self._shown.enter_context(report)
            self._part = part
        self._report.update(done)

    def __exit__(self, *error: Any) -> None:
        self._shown.__exit__(*error)


def _print(out: Path, facts: Mapping[str, Any], threshold: float) -> None:
    from vlsafe_agents.cli.detecting import print_finds
    from vlsafe_agents.cli.tables import print_table, say
    from vlsafe_agents.report.tables import NOT_KNOWN, figure, interval, percent

    rows: list[tuple[str, ...]] = [
        (name, *(f"{part[key]:,}" for key in _COUNTED)) for name, part in facts["simulated"].items()
    ]
    print_table("What was simulated", ("", *_COUNTED.values()), rows)
    if facts["env_steps_lost"]:
        say(f"and {facts['env_steps_lost']:,} steps that were lost to kills and driven again")

    def estimate(entry: Mapping[str, Any], show: Any) -> str:
        between = interval(entry, show)
        text = NOT_KNOWN if entry["value"] is None else show(entry["value"])
        return f"{text} ({between})" if between else text

    rows = []
    for name, found in facts["held_out"].items():
        rate = estimate(found["event_rate"], percent)
        rows += [
            (name, "branches", f"{found['branches']:,}, {found['events']:,} with a crash"),
            ("", "cross-entropy [nat]", estimate(found["cross_entropy"], figure)),
            ("", "of a constant", figure(found["base_entropy"])),
            ("", "AUROC", estimate(found["auroc"], figure)),
            ("", "actions called safe", f"{found['safe_actions']:,} of {found['actions']:,}"),
            ("", "crashes after these", f"{found['events_after_safe']:,}, {rate}"),
        ]
        if name in facts.get("judgement", {}):
            said = facts["judgement"][name]
            rows += [
                ("", "AUROC of the judge itself", estimate(said["auroc"], figure)),
                ("", "before the crash shows", estimate(said["auroc_before"], figure)),
            ]
    if facts.get("detector"):
        print_finds(facts["detector"])
    title = f"On drives that were not learnt from (safe: below {threshold:g}; 95% intervals)"
    print_table(title, ("drives", "figure", "value"), rows)
    say(f"{out}: shield an agent with `vlsafe evaluate AGENT --shield {out}`")
