"""The sentences on top of the report: how the agents taught in imagination compare with PPO-Lag."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.tables import apart, count, figure, percent

MOST = 4  # agents in a sentence, where none of them is of VLSafe or PPO-Lag

Entry = Mapping[str, float | None]


def headline(agents: Sequence[AgentRun]) -> list[str]:
    """Sentences computed from the evaluations, which say so when it went the other way."""
    evaluated = [a for a in agents if a.evaluation is not None and not a.is_model_only]
    ours = [a for a in evaluated if a.role.key == "vlsafe"]
    rivals = [a for a in evaluated if a.role.key == "ppo_lag"]
    told = [*ours, *rivals] or [a for a in evaluated if not a.is_driver][:MOST]
    if not told:
        return ["No agent that has learned has been evaluated in this run yet."]
    sentences = ["; ".join(map(_drives, told)) + "."]
    if ours and rivals and all(agent.drove_where(told[0]) for agent in told):
        sentences.append(_verdict(ours, rivals))
        sentences.extend(_arrivals_compared(ours, rivals))
    elif ours and rivals:
        sentences.append("They drove in different environments, so this is no comparison.")
    if ours or rivals:
        sentences.extend(_learning_sentences(ours, rivals))
    return sentences


def _drives(agent: AgentRun) -> str:
    rate, speed, arrival = map(agent.mean, ("collision_rate", "mean_speed", "arrival_rate"))
    pace = "" if speed is None else f" at {figure(speed)} m/s"
    goal = "" if arrival is None else f" and arrived in {percent(arrival)}"
    episodes = f"{agent.episode_count} episodes"
    if rate is None:
        return f"{agent.title} drove {episodes}{pace}{goal}; its collisions are not known"
    return f"{agent.title} collided in {percent(rate)} of {episodes}{pace}{goal}"


def _known(agents: Sequence[AgentRun], metric: str) -> list[Entry] | None:
    """The metric of all agents; None where it is not known of one of them."""
    found: list[Entry] = [entry for agent in agents if (entry := agent.summary(metric)) is not None]
    return found if len(found) == len(agents) else None


def _verdict(ours: Sequence[AgentRun], rivals: Sequence[AgentRun]) -> str:
    mine, others = _known(ours, "collision_rate"), _known(rivals, "collision_rate")
    if mine is None or others is None:
        return "Not all collision rates are known, so nothing is said about who collided less."
    if _all(mine, others, apart):
        return "Fewer collisions than PPO-Lag, and the 95% intervals do not overlap."
    if _all(mine, others, _lower):
        return "Fewer collisions than PPO-Lag, but the 95% intervals overlap: a tendency, no proof."
    if any(_lower(one, other) for one in mine for other in others):
        return "Only some of the VLSafe policies collided less often than PPO-Lag."
    return "Here PPO-Lag collided no more often than the VLSafe policies did."


def _all(
    mine: Sequence[Entry], others: Sequence[Entry], holds: Callable[[Entry, Entry], bool]
) -> bool:
    return all(holds(one, other) for one in mine for other in others)


def _lower(one: Entry, other: Entry) -> bool:
    return one["mean"] < other["mean"]  # type: ignore[operator]  # known both


def _arrivals_compared(ours: Sequence[AgentRun], rivals: Sequence[AgentRun]) -> list[str]:
    """Who arrived less often, where no interval leaves a doubt: a collision rate alone flatters."""
    mine, others = _known(ours, "arrival_rate"), _known(rivals, "arrival_rate")
    if mine is None or others is None:
        return []
    if all(apart(other, one) for one in mine for other in others):
        return ["PPO-Lag arrived less often."]
    if _all(mine, others, apart):
        return ["The VLSafe policies arrived less often."]
    return []


def _learning_sentences(ours: Sequence[AgentRun], rivals: Sequence[AgentRun]) -> list[str]:
    sentences = []
    for agent in rivals:
        caused = agent.training("collisions_caused")
        if caused is not None:
            sentences.append(f"{agent.title} caused {_collisions(caused)} while it learned.")
    learned = [(a, caused) for a in ours if (caused := a.training("collisions_caused")) is not None]
    if ours and len(learned) == len(ours) and not any(caused for _, caused in learned):
        held = {agent.training("dataset_collisions") for agent in ours}
        inherited = held.pop() if len(held) == 1 else None
        has = "" if inherited is None else f"; the data it learned from hold {count(inherited)}"
        sentences.append(f"VLSafe caused none{has}.")
    else:
        sentences += [
            f"{agent.title} caused {_collisions(caused)} while it learned."
            for agent, caused in learned
        ]
    unknown = [a.title for a in (*ours, *rivals) if a.training("collisions_caused") is None]
    if unknown:
        sentences.append(f"How many {', '.join(unknown)} caused while learning is not known.")
    return sentences


def _collisions(number: float) -> str:
    return f"{count(number)} collision{'' if number == 1 else 's'}"
