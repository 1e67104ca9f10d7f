"""``train.dtype`` and ``train.compile``: what they change, and what they must not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import record
from stable_baselines3.common.logger import configure
from tiny_agents import IMAGE, MULTI, make, weights

from vlsafe_agents import VLSafe
from vlsafe_agents.common import distributions
from vlsafe_agents.data.dataset import Episode, EpisodeDataset
from vlsafe_agents.vlsafe.batch import to_tensors
from vlsafe_agents.vlsafe.compiling import Compiled
from vlsafe_agents.vlsafe.rssm import RSSM


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(12)


def learned(
    dataset: EpisodeDataset, updates: int = 6, **train: Any
) -> tuple[VLSafe, dict[str, list[float]]]:
    """An agent after half its updates of the world model and half of the policy; its figures."""
    config = {"train": train, "model_warmup": 0.5, "critic_warmup": 0.0}
    agent, told = make(dataset, config=config), {}
    logger = configure(None, [])
    logger.record_mean = lambda name, value, *_: told.setdefault(name, []).append(value)  # type: ignore[method-assign]
    agent.set_logger(logger)
    agent.learn(updates)
    return agent, told


def test_bfloat16_learns_nearly_the_same_with_weights_in_float32(dataset: EpisodeDataset) -> None:
    (half, told), (plain, reference) = (learned(dataset, dtype=d) for d in ("bfloat16", "float32"))
    assert told.keys() == reference.keys()
    assert told["train/model_loss"] != reference["train/model_loss"]
    for name in ("train/model_loss", "train/behaviour_loss", "train/vector_loss"):
        assert told[name][0] == pytest.approx(reference[name][0], rel=0.02), name
    kinds, same = ({p.dtype for p in agent.policy.parameters()} for agent in (half, plain))
    assert kinds == same == {torch.float32}
    assert weights(half).isfinite().all()


def test_acting_stays_in_float32(dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, _ = learned(dataset, dtype="bfloat16")
    seen: list[torch.dtype] = []
    layer = agent.policy.world_model.rssm.logits
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    agent.predict(dataset.episode(0).obs["vector"][0])
    assert seen == [torch.float32]


def images() -> EpisodeDataset:
    rng = np.random.default_rng(0)
    obs = {"image": rng.integers(0, 256, (9, *IMAGE.shape), np.uint8)}
    obs["vector"] = rng.uniform(-1, 1, (9, 4)).astype(np.float32)
    zeros = np.zeros(8, np.float32)
    episode = Episode(
        obs=obs,
        action=np.zeros(8, np.int64),
        reward=zeros,
        env_cost=np.zeros(9, np.float32),
        safety_score=np.ones(9, np.float32),
        terminated=True,
    )
    from gymnasium import spaces

    return EpisodeDataset.from_arrays([episode] * 4, MULTI, spaces.Discrete(3))


@pytest.mark.parametrize("kernel", [1, 3])
def test_images_are_learned_from_in_bfloat16(kernel: int) -> None:
    data, losses = images(), []
    for dtype in ("bfloat16", "float32"):
        image = {"kernel": kernel, "norm": kernel > 1}
        config = {"train": {"dtype": dtype}, "world_model": {"image": image}}
        agent = VLSafe("MultiInputPolicy", None, data, "debug", seed=0, config=config, device="cpu")
        batch = to_tensors(data.sample(2, 8, np.random.default_rng(0)))
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss, _, figures = agent.policy.world_model.loss(batch)
        loss.backward()
        losses.append(figures["train/image_loss"])
        assert loss.dtype == torch.float32
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# --- compiling ------------------------------------------------------------------------------------


def broken(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise RuntimeError("no compiler was found\nand a long story")

    return fail


def test_where_compiling_fails_learning_goes_on_eagerly(
    dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = learned(dataset)
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match=r"goes on without it \(no compiler was found\)") as said:
        agent, _ = learned(dataset, compile=True)
    compiling = [x for x in said if "train.compile" in str(x.message)]
    assert len(compiling) == 2  # once for each step
    assert torch.equal(weights(agent), weights(plain))


def test_the_function_itself_answers_once_compiling_has_failed() -> None:
    calls = []

    def function(x: int) -> int:
        calls.append(x)
        return x + 1

    step = Compiled(function)
    step._fast = broken(function)
    with pytest.warns(UserWarning, match="no compiler"):
        assert step(1) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(2) == 3
    assert calls == [1, 2]


@pytest.mark.slow
def test_compiled_steps_give_the_eager_losses_gradients_and_dreams(
    dataset: EpisodeDataset,
) -> None:
    """A minute or more: it runs the compiler.

    Weights after several updates would tell less: the optimiser divides gradients by their size,
    rounding of the smallest included.
    """
    batch = to_tensors(dataset.sample(4, 8, np.random.default_rng(0)))
    found = []
    for compile_ in (True, False):
        agent = make(dataset, config={"train": {"compile": compile_}})
        model = agent.policy.world_model
        assert isinstance(model.rssm._observe_step, Compiled) == compile_
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="train.compile")
            loss, posterior, _ = model.loss(batch)
            loss.backward()
            dream = model.imagine(posterior.flatten(), agent.policy.actor_critic.actor.sample, 5)
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.detach(), grads, dream.feat, dream.action))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


# --- what is not computed twice ----------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_policies_observe_context_and_batch_once_each(
    share: float, dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the prior is fitted on other sequences' actions: both go side by side."""
    config = {"model_warmup": 0.0, "critic_warmup": 0.0, "forget_actions": share}
    agent = make(dataset, config=config)
    rows: list[int] = []
    observe = RSSM.observe

    def counted(self: RSSM, embed: Any, action: Any, *rest: Any) -> Any:
        rows.append(action.shape[0])
        return observe(self, embed, action, *rest)

    monkeypatch.setattr(RSSM, "observe", counted)
    agent.learn(1)
    batch = agent.config.train.batch_size
    assert rows == [batch * (2 if share else 1)] * 2


def test_variants_side_by_side_are_those_by_themselves(
    dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(dataset)
    monkeypatch.setattr(
        distributions,
        "sample_index",
        lambda probs, uniform: probs.argmax(-1, keepdim=True),
    )
    model, batch = (
        agent.policy.world_model,
        to_tensors(dataset.sample(3, 6, np.random.default_rng(0))),
    )
    embed = model.embed(batch)
    actions = [model.action_vector(x) for x in (batch.action, batch.action.flip(0))]
    both = model.observe(batch, embed, torch.cat(actions)).split(3)
    assert len(both) == 2
    for state, action in zip(both, actions, strict=True):
        alone = model.observe(batch, embed, action)
        torch.testing.assert_close(state.deter, alone.deter)
        torch.testing.assert_close(state.logits, alone.logits)
        assert torch.equal(state.stoch, alone.stoch)
