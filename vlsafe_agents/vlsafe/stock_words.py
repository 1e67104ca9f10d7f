"""Stable-Baselines3's constructor words: those with a meaning here become settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlsafe_agents.common.typed_config import flatten, unflatten
from wrappers.checks import whole_number

# Words and the settings that they stand for.
MEANT: dict[str, tuple[str, ...]] = {
    "learning_rate": ("train.learning_rate", "network.learning_rate"),
    "gamma": ("imagination.gamma",),
    "batch_size": ("train.batch_size",),
    "buffer_size": ("online.buffer_size",),
    "learning_starts": ("online.learning_starts",),
    "policy_kwargs": ("network.units", "network.layers"),
}
_UNKNOWN = "; vlsafe_agents/vlsafe/config.py lists all settings"
# Words of PPO, SAC, TD3, DQN and A2C that are none here, with what to write instead.
_INSTEAD = {
    "gae_lambda": "config={'imagination': {'lambda_': 0.95}} is the lambda of imagined returns",
    "tau": "config={'imagination': {'slow_rate': 0.02}} is the rate of the slow critics",
    "target_update_interval": "slow critics follow in every update: imagination.slow_rate",
    "n_steps": "train_freq says how often it learns, imagination.horizon how long dreams are",
    "n_epochs": "gradient_steps or online.train_ratio says how often a step is learned from",
    "ent_coef": "the prior and improvement.beta set how random the actor is",
    "clip_range": "improvement.beta sets how far the actor goes from the prior",
    "clip_range_vf": "critics learn a distribution over bins, with nothing to clip",
    "target_kl": "improvement.beta sets how far the actor goes from the prior",
    "normalize_advantage": "advantages are always in units of their spread",
    "vf_coef": "critics and actor share no weights that a coefficient would balance",
    "max_grad_norm": "config={'train': {'clip': 0.3}} is the adaptive clipping of gradients",
    "action_noise": "the actor is sampled from; imagination.explore sets exploring in dreams",
    "exploration_fraction": "the actor is sampled from; learning_starts sets the random phase",
    "exploration_initial_eps": "learning_starts sets the random phase",
    "exploration_final_eps": "the actor is sampled from, with 1% of the uniform distribution",
    "use_sde": "the actor is sampled from at each step",
    "use_sde_at_warmup": "the actor is sampled from at each step",
    "sde_sample_freq": "the actor is sampled from at each step",
    "replay_buffer_class": "there is one kind of replay, of whole episodes",
    "replay_buffer_kwargs": "config={'online': {...}} has the settings of the replay",
    "optimize_memory_usage": "the replay holds each observation once as it is",
    "rollout_buffer_class": "it learns from a replay: buffer_size",
    "rollout_buffer_kwargs": "it learns from a replay: buffer_size",
    "monitor_wrapper": "an environment is always monitored",
}


def with_words(
    config: Mapping[str, Any] | None, words: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Settings that replace a preset's, with those that SB3's words stand for among them.

    Args:
        config: nested settings as the user gave them.
        words: SB3's words by name, None where they are not given.

    Raises:
        ValueError: for what is given both ways, and for values that mean nothing here.
    """
    given = {name: value for name, value in words.items() if value is not None}
    if not given or (config is not None and not isinstance(config, Mapping)):
        return config  # make_config says what it should be
    flat = flatten(config or {})
    for word, value in given.items():
        if callable(value):
            raise ValueError(
                f"{word} must be a number: on recorded drives rates fall to a tenth in the second "
                "half of training, online they are constant"
            )
        values = _network(value) if word == "policy_kwargs" else (value,) * len(MEANT[word])
        for key, one in zip(MEANT[word], values, strict=bool(values)):
            if key in flat:
                raise ValueError(f"{word} and config's {key} are the same; give one of them")
            flat[key] = one
    return unflatten(flat)


def refuse_words(words: Mapping[str, Any]) -> None:
    """Raise for words that have no meaning here.

    Raises:
        TypeError: naming the first, with its equivalent where it is one of SB3's.
    """
    for name in words:
        raise TypeError(
            f"VLSafe has no argument {name!r}: {_INSTEAD.get(name, 'it is unknown')}{_UNKNOWN}"
        )


def frequency(train_freq: Any, gradient_steps: Any) -> int | None:
    """Steps of SB3's ``train_freq``; None: ``online.train_ratio`` says how often it learns.

    Raises:
        ValueError: for other values of either word.
    """
    if isinstance(train_freq, tuple | list) and list(train_freq[1:]) == ["step"]:
        train_freq = train_freq[0]
    if isinstance(train_freq, tuple | list):
        raise ValueError(
            f"train_freq is {train_freq}; give a number of steps of each environment: updates do "
            "not wait for the end of an episode"
        )
    if train_freq is not None:
        train_freq = whole_number(train_freq, "train_freq", "VLSafe", low=1)
    if gradient_steps is not None and gradient_steps != -1:
        whole_number(gradient_steps, "gradient_steps", "VLSafe", low=1)
    return train_freq


def _network(policy_kwargs: Any) -> tuple[int, ...]:
    """Width and depth of actor, prior and critics.

    Raises:
        ValueError: for anything but ``net_arch`` of equal layers.
    """
    if isinstance(policy_kwargs, Mapping) and not policy_kwargs:
        return ()
    arch = policy_kwargs.get("net_arch") if isinstance(policy_kwargs, Mapping) else None
    if not isinstance(arch, list | tuple) or set(policy_kwargs) != {"net_arch"}:
        raise ValueError(
            f"policy_kwargs is {policy_kwargs!r}; here it may hold net_arch=[units] * layers for "
            "actor and critics; the world model has config={'world_model': {...}}"
        )
    if not all(type(units) is int for units in arch) or len(set(arch)) != 1:
        raise ValueError(f"net_arch is {arch!r}; all layers have one width: [units] * layers")
    return arch[0], len(arch)
