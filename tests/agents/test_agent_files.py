"""Agents' files: read again as they were, run nothing, and say what is wrong with them."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from stable_baselines3 import PPO as StockPPO
from stable_baselines3.common.utils import LinearSchedule
from tiny_agents import make

from vlsafe_agents import BC, CPQ, CQL, IQL, PPOLag, VLSafe
from vlsafe_agents.ppo_lag import MlpPolicy
from vlsafe_agents.stock import PPO

OBS = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
GOLDEN = Path(__file__).parent / "golden" / "vlsafe_2026_11.zip"
OFFLINE = {"bc": BC, "iql": IQL, "cql": CQL, "cpq": CPQ}
KINDS = {"vlsafe": VLSafe, **OFFLINE, "ppo_lag": PPOLag, "ppo": PPO}
SMALL: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "device": "cpu", "seed": 0}


def trained(name: str, **more: Any) -> Any:
    if name == "vlsafe":
        return make(record(10), **more).learn(6)
    if name in OFFLINE:
        kind: Any = OFFLINE[name]
        return kind("MlpPolicy", SpeedLimit(), record(10), device="cpu", seed=0, **more).learn(3)
    return KINDS[name]("MlpPolicy", SpeedLimit(), **SMALL, **more).learn(16)


@pytest.fixture(scope="module", params=sorted(KINDS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("agents") / f"{request.param}.zip"
    agent = trained(request.param)
    agent.save(path)
    return agent, path


def data_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("data"))


def changed(path: Path, target: Path, parts: dict[str, bytes | None]) -> Path:
    """A copy with some parts replaced, or left out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        names = dict.fromkeys([*archive.namelist(), *parts])
        for name in names:
            content = parts[name] if name in parts else archive.read(name)
            if content is not None:
                copy.writestr(name, content)
    return target


# --- read again -----------------------------------------------------------------------------------


def test_an_agent_is_read_again_as_it_was(saved: Any) -> None:
    agent, path = saved
    again = type(agent).load(path, device="cpu")
    for a, b in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(
        agent.predict(OBS, deterministic=True)[0], again.predict(OBS, deterministic=True)[0]
    )
    for name in ("num_timesteps", "_n_updates", "seed", "observation_space", "action_space"):
        assert getattr(agent, name) == getattr(again, name)
    for setting in agent._settings():
        mine, others = agent._setting(setting), again._setting(setting)
        assert repr(mine) == repr(others), setting


def test_files_hold_json_and_weights_alone(saved: Any) -> None:
    _, path = saved
    assert ":serialized:" not in json.dumps(data_of(path))
    again = io.BytesIO(path.read_bytes())
    assert type(saved[0]).load(again, device="cpu").num_timesteps == saved[0].num_timesteps


def test_saving_to_a_stream_and_without_an_ending_is_as_sb3s(saved: Any, tmp_path: Path) -> None:
    agent, _ = saved
    agent.save(tmp_path / "deep" / "agent")
    assert (tmp_path / "deep" / "agent.zip").exists()
    assert type(agent).load(tmp_path / "deep" / "agent", device="cpu").seed == agent.seed
    stream = io.BytesIO()
    agent.save(stream)
    stream.seek(0)
    assert type(agent).load(stream, device="cpu")._n_updates == agent._n_updates


def test_learning_goes_on_after_loading(saved: Any) -> None:
    agent, path = saved
    again = type(agent).load(path, env=SpeedLimit(), device="cpu")
    before = again.num_timesteps
    if hasattr(again, "set_dataset"):
        again.set_dataset(record(10))
    again.learn(8, reset_num_timesteps=False)
    assert again.num_timesteps == before + 8


@pytest.mark.parametrize("name", ["ppo", "ppo_lag"])
def test_a_loaded_agent_drives_other_episodes_than_a_new_one(name: str, tmp_path: Path) -> None:
    agent = trained(name)
    agent.save(tmp_path / "a.zip")
    first = KINDS[name]("MlpPolicy", SpeedLimit(), **SMALL)
    again = KINDS[name].load(tmp_path / "a.zip", env=SpeedLimit(), device="cpu")
    again.learn(8)  # resets its environment; the new one has drawn nothing yet
    starts = []
    for one in (first, again):
        starts.append(np.concatenate([one.env.reset() for _ in range(20)]))
    assert not np.array_equal(*starts)


def test_a_bc_run_that_goes_on_draws_other_batches(tmp_path: Path) -> None:
    agent = trained("bc")
    expected = agent._rng.bit_generator.state
    agent.save(tmp_path / "bc.zip")
    assert BC.load(tmp_path / "bc.zip")._rng.bit_generator.state == expected


def test_agents_of_november_2026_are_still_read() -> None:
    agent = VLSafe.load(GOLDEN, device="cpu")
    assert agent.predict(OBS, deterministic=True)[0].tolist() == 10 * [2]
    assert sum(float(p.detach().abs().sum()) for p in agent.policy.parameters()) == pytest.approx(
        408.99061, rel=1e-6
    )
    assert (agent.update, agent.cost_limit, agent.num_timesteps) == ("lagrangian", 0.5, 23)
    assert not agent.schedule.warming_up(agent._n_updates), "what has warmed up stays so"
    agent.set_dataset(record(5))
    agent.learn(2, reset_num_timesteps=False)


# --- changes and code -----------------------------------------------------------------------------


def test_arguments_may_be_changed_on_loading_and_unknown_ones_are_refused(saved: Any) -> None:
    agent, path = saved
    assert type(agent).load(path, device="cpu", seed=5).seed == 5
    with pytest.raises(TypeError, match=r"colour.*what can be changed is"):
        type(agent).load(path, colour="red")


def test_settings_of_vlsafe_are_changed_one_by_one(tmp_path: Path) -> None:
    agent = trained("vlsafe", config={"imagination": {"horizon": 4}})
    agent.save(tmp_path / "a.zip")
    again = VLSafe.load(tmp_path / "a.zip", config={"imagination": {"gamma": 0.5}}, cost_limit=3.0)
    assert (again.config.imagination.horizon, again.config.imagination.gamma) == (4, 0.5)
    assert again.policy.actor_critic.cost_limit == 3.0
    with pytest.raises(ValueError, match="sizes cannot be changed"):
        VLSafe.load(tmp_path / "a.zip", preset="12M")
    with pytest.raises(ValueError, match="policy_kwargs are sizes"):
        VLSafe.load(tmp_path / "a.zip", policy_kwargs={"net_arch": [1]})


def test_networks_and_linear_schedules_are_stored_by_name(tmp_path: Path) -> None:
    kwargs = {"activation_fn": torch.nn.ELU, "net_arch": {"pi": [4], "vf": [5]}}
    agent = trained("ppo_lag", policy_kwargs=kwargs, learning_rate=LinearSchedule(1e-3, 1e-4, 0.5))
    agent.save(tmp_path / "a.zip")
    again = PPOLag.load(tmp_path / "a.zip")
    assert again.policy_kwargs == kwargs
    assert [again.lr_schedule(p) for p in (1.0, 0.75, 0.0)] == pytest.approx([1e-3, 5.5e-4, 1e-4])
    with pytest.raises(ValueError, match="not those of the file"):
        PPOLag.load(tmp_path / "a.zip", policy_kwargs={"net_arch": [3]})


def test_code_is_not_stored_but_asked_for(tmp_path: Path) -> None:
    class Mine(MlpPolicy):
        pass

    agent = PPOLag(Mine, SpeedLimit(), **SMALL, learning_rate=lambda p: 1e-3 * p).learn(8)
    agent.save(tmp_path / "a.zip")
    with pytest.raises(ValueError, match=r"learning_rate, custom_objects.*policy_class"):
        PPOLag.load(tmp_path / "a.zip")
    custom = {"policy_class": Mine}
    again = PPOLag.load(tmp_path / "a.zip", custom_objects=custom, learning_rate=lambda p: p)
    assert isinstance(again.policy, Mine)
    assert again.lr_schedule(0.5) == 0.5


def test_what_cannot_be_stored_is_not_included_in_silence(saved: Any, tmp_path: Path) -> None:
    agent, _ = saved
    with pytest.raises(ValueError, match="cannot include env"):
        agent.save(tmp_path / "a.zip", include=["env"])
    assert not list(tmp_path.iterdir())
    agent.save(tmp_path / "a.zip", exclude=["seed"])
    with pytest.raises(ValueError, match="lacks seed"):
        type(agent).load(tmp_path / "a.zip")


# --- foreign and damaged files --------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("place", ["data", "weights"])
def test_pickles_in_a_file_are_never_run(place: str, saved: Any, tmp_path: Path) -> None:
    agent, path = saved
    mark = tmp_path / "was_run"
    pickled = cloudpickle.dumps(Bomb(mark))
    if place == "data":
        entry = {":serialized:": base64.b64encode(pickled).decode()}
        parts: dict[str, Any] = {"data": json.dumps({**data_of(path), "evil": entry}).encode()}
    else:
        parts = {"policy.pth": pickled}
    bad = changed(path, tmp_path / "bad.zip", parts)
    with pytest.raises(ValueError, match=re.escape(str(bad))):
        type(agent).load(bad)
    assert not mark.exists()


def test_a_class_in_a_file_is_looked_up_and_not_imported(tmp_path: Path) -> None:
    agent = trained("ppo", policy_kwargs={"activation_fn": torch.nn.ELU})
    agent.save(tmp_path / "a.zip")
    for name in ("os:system", "antigravity:x", "torch.nn.utils:clip_grad_norm_", "builtins:exec"):
        data = data_of(tmp_path / "a.zip")
        data["arguments"]["policy_kwargs"]["activation_fn"] = {"__class__": name}
        bad = changed(tmp_path / "a.zip", tmp_path / "b.zip", {"data": json.dumps(data).encode()})
        with pytest.raises(ValueError, match=f"'{name}'"):
            PPO.load(bad)


def test_sb3s_own_files_need_a_flag_that_says_what_it_means(tmp_path: Path) -> None:
    stock = StockPPO("MlpPolicy", SpeedLimit(), **SMALL)
    stock.save(tmp_path / "stock.zip")
    with pytest.raises(ValueError, match=r"pickled objects.*run code.*allow_pickle=True"):
        PPO.load(tmp_path / "stock.zip")
    again = PPO.load(tmp_path / "stock.zip", allow_pickle=True, device="cpu")
    assert np.array_equal(
        stock.predict(OBS, deterministic=True)[0], again.predict(OBS, deterministic=True)[0]
    )
    again.save(tmp_path / "safe.zip")
    for allowed in (False, True):
        assert PPO.load(tmp_path / "safe.zip", allow_pickle=allowed).n_steps == 8


def test_a_file_cut_anywhere_is_named(saved: Any, tmp_path: Path) -> None:
    agent, path = saved
    content = path.read_bytes()
    bad = tmp_path / "cut.zip"
    for share in (0.0, 0.01, 0.3, 0.7, 0.99, 0.9999):
        bad.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=re.escape(str(bad))):
            type(agent).load(bad)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 100, "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "git lfs pull"),
        (b"<!doctype html><html>", "web page"),
        (b"hello", "no agent"),
    ],
)
def test_what_is_no_agent_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    for kind in KINDS.values():
        with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
            kind.load(path)
        assert said in str(caught.value)
    with pytest.raises(FileNotFoundError, match="nothing"):
        VLSafe.load(tmp_path / "nothing.zip")


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda data: {k: v for k, v in data.items() if k != key}


@pytest.mark.parametrize(
    "spoil",
    [
        *(without(key) for key in ("algorithm", "arguments", "state", "action_space", "n_envs")),
        lambda data: {**data, "algorithm": "Other"},
        lambda data: {**data, "arguments": {**data["arguments"], "predict": 1}},
        lambda data: {**data, "arguments": {**data["arguments"], "seed": [1]}},
        lambda data: {**data, "arguments": {**data["arguments"], "seed": "x"}},
        lambda data: {**data, "state": {}},
        lambda data: {**data, "state": {**data["state"], "num_timesteps": None}},
        lambda data: {**data, "action_space": {"kind": "Discrete", "n": 7, "start": 0}},
        lambda data: {**data, "action_space": {"kind": "Discrete", "n": -1, "start": 0}},
        lambda data: {
            **data,
            "observation_space": {
                "kind": "Box", "low": 0, "high": 1, "shape": [10**6, 10**6], "dtype": "float32"
            },
        },
        lambda data: {**data, "observation_space": {"kind": "Text"}},
        lambda data: {**data, "observation_space": None},
        lambda data: [],
        lambda data: {},
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_with_the_files_name(
    spoil: Any, saved: Any, tmp_path: Path
) -> None:
    agent, path = saved
    spoilt = json.dumps(spoil(data_of(path))).encode()
    bad = changed(path, tmp_path / "bad.zip", {"data": spoilt})
    with pytest.raises(ValueError, match=re.escape(str(bad))):
        type(agent).load(bad)


@pytest.mark.parametrize("part", ["data", "policy.pth"])
def test_files_that_lack_a_part_or_would_inflate_beyond_measure_are_refused(
    part: str, saved: Any, tmp_path: Path
) -> None:
    agent, path = saved
    bad = changed(path, tmp_path / "bad.zip", {part: None})
    with pytest.raises(ValueError, match="holds no agent"):
        type(agent).load(bad)
    with zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(part, b"0" * (2**25))
    with pytest.raises(ValueError, match=r"would inflate|too large"):
        type(agent).load(bad)
