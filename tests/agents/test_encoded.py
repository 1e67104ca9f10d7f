"""What a resting world model's encoder makes of the data is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import record
from stable_baselines3.common.logger import configure
from tiny_agents import make

from vlsafe_agents.data.dataset import ENCODED, EpisodeDataset
from vlsafe_agents.data.mixture import MixedDataset
from vlsafe_agents.vlsafe.batch import to_tensors


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(12)


def agent_of(dataset: EpisodeDataset, memory: float = 1.0, **config: Any) -> Any:
    train = {"encoded_memory": memory, "batch_size": 32}
    own = {"train": train, "model_warmup": 0.5, "critic_warmup": 0.5}
    return make(dataset, config=own | config)


@pytest.mark.parametrize("mixed", [False, True])
def test_vectors_are_what_the_encoder_gives(dataset: EpisodeDataset, mixed: bool) -> None:
    """Also in a part of the data, whose rows are not all of them, and in a mix."""
    agent = agent_of(dataset)
    part, _ = dataset.split(0.3)
    data = MixedDataset([part, dataset], [0.5, 0.5]) if mixed else part
    encoded = agent.policy.encoded(data)
    draws = [d.sample(4, 5, np.random.default_rng(0), context=3) for d in (data, encoded)]
    plain, short = (to_tensors(batch) for batch in draws)
    assert set(short.obs) == {ENCODED}
    model = agent.policy.world_model
    torch.testing.assert_close(model.embed(short), model.embed(plain))
    for name in ("action", "reward", "cost", "safety_score", "is_first", "weight"):
        assert torch.equal(getattr(plain, name), getattr(short, name))


def test_policies_learn_the_same_from_encoded_data(
    dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[tuple[str, float]]] = []
    for memory in (1.0, 0.0):
        agent = agent_of(dataset, memory, critic_warmup=0.0)
        logger = configure(None, [])
        rows: list[tuple[str, float]] = []
        monkeypatch.setattr(
            logger, "record_mean", lambda name, x, rows=rows: rows.append((name, x))
        )
        agent.set_logger(logger)
        agent.learn(8)
        assert (agent._encoded is agent.dataset) == (memory == 0.0)
        told.append(rows)
    first = [row[0] for row in told[0]].index("train/actor_loss")
    encoded, plain = (dict(rows[: first + 12]) for rows in told)  # rounding soon makes other draws
    assert encoded.keys() == plain.keys()
    assert encoded == pytest.approx(plain, rel=1e-4, abs=1e-5)


def test_the_encoder_reads_each_frame_once(
    dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_of(dataset)
    agent.learn(30)
    rows: list[int] = []
    observation = agent.policy.world_model.observation
    embed = observation.embed

    def counted(inputs: Any) -> Any:
        found = embed(inputs)
        rows.append(len(found))
        return found

    monkeypatch.setattr(observation, "embed", counted)
    agent.world_model_frozen = True
    agent.learn(60)
    total = dataset.num_steps + dataset.num_episodes
    assert sum(rows) == -(-total // 256) * 256  # whole chunks


def test_data_are_encoded_only_where_that_pays(dataset: EpisodeDataset) -> None:
    few = agent_of(record(300)).learn(2)
    assert few._encoded is few.dataset  # fewer rows are read than there are
    learning = agent_of(dataset, model_every=1).learn(60)
    assert learning._encoded is None  # the encoder changes
    again = agent_of(dataset).learn(60)
    first = again._encoded
    again.learn(60)
    assert again._encoded is not first  # another model since
