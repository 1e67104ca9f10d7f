"""Going back to a state, and driving on from it under several plans.

    snapshot = save(env)
    ...  # drive on
    restore(env, snapshot)  # and on otherwise: the same actions lead to the same bits

A snapshot holds the simulator's arrays, the task's progress, the random generator and the counters
of wrappers, by copy.  MetaDrive's state cannot be copied; :func:`branches` drives on from there in
forks of the process, and everywhere else from a snapshot.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from vlsafe_envs.batch.gymnasium import VectorDrivingEnv
from vlsafe_envs.checks import check_integer, check_kind, shown
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.state import State, restore_attributes, save_attributes
from wrappers.traced_env import TracedEnv

Plan = TypeVar("Plan")
Result = TypeVar("Result")
Env = gym.Env[Any, Any]

# What Gymnasium's wrappers keep of an episode, as far as its version has it.
_OF_GYMNASIUM: dict[type[Any], tuple[str, ...]] = {
    OrderEnforcing: ("_has_reset",),
    TimeLimit: ("_elapsed_steps",),
    PassiveEnvChecker: ("checked_reset", "checked_step", "checked_data_reuse", "_previous_data"),
}


@dataclass(frozen=True)
class Snapshot:
    """Where an environment was; to be restored as often as one likes."""

    configuration: tuple[Any, ...]  # of the environment, see ``DrivingEnv.configuration``
    state: State  # see ``DrivingEnv.save``
    layers: tuple[tuple[str, State], ...] = ()  # names and states of the wrappers, outermost first


def save(env: Env) -> Snapshot:
    """Where ``env`` is, which may be wrapped.

    Raises:
        ValueError: for an environment that is not ours, and for a wrapper of which it is not known
            what it keeps.
        RuntimeError: before the first ``reset``.
        NotImplementedError: on MetaDrive, see :func:`branches`.
    """
    layers, inner = _layers(env)
    kept = tuple((type(layer).__name__, _save_layer(layer)) for layer in layers)
    return Snapshot(inner.configuration, inner.save(), kept)


def restore(env: Env, snapshot: Snapshot) -> None:
    """Put ``env`` where it, or another of the same configuration, was saved.

    Raises:
        ValueError: for an environment of another configuration or in other wrappers.
        NotImplementedError: on MetaDrive.
    """
    check_kind("snapshot", snapshot, Snapshot, "what save() returned")
    layers, inner = _layers(env)
    _check_configuration(snapshot, inner)
    here, there = [type(layer).__name__ for layer in layers], [name for name, _ in snapshot.layers]
    if here != there:
        raise ValueError(
            f"the snapshot is of an environment wrapped in {there or 'nothing'}, this one is "
            f"wrapped in {here or 'nothing'}: wrap both alike, or save and restore env.unwrapped"
        )
    inner.restore(snapshot.state)
    for layer, (_, state) in zip(layers, snapshot.layers, strict=True):
        _restore_layer(layer, state)


def save_row(envs: gym.vector.VectorEnv[Any, Any, Any], row: int) -> Snapshot:
    """Where environment ``row`` of a vector environment of ``gym.make_vec`` is.

    Raises:
        ValueError: for environments that are not stepped together, and a row that there is not.
        RuntimeError: before its first reset.
    """
    inner = _together(envs)
    check_integer("row", row, 0, inner.num_envs - 1)
    return Snapshot(inner.envs[row].configuration, inner.batch.save(row))


def fan_out(
    envs: gym.vector.VectorEnv[Any, Any, Any], snapshot: Snapshot, rows: Iterable[int]
) -> None:
    """Put each of the environments ``rows`` where one like them was saved, alone or in a row.

    ``envs.observations`` shows what they see there.  Episodes that were over are not any more.

    Raises:
        ValueError: for environments that are not stepped together, of another configuration or in
            a vector environment with wrappers, and for rows that there are not.
    """
    check_kind("snapshot", snapshot, Snapshot, "what save() returned")
    inner, chosen = _together(envs), np.array(list(rows), np.int64)
    for row in chosen.tolist():
        check_integer("rows", row, 0, inner.num_envs - 1)
        _check_configuration(snapshot, inner.envs[row])
    if chosen.size:
        inner.restore(snapshot.state, chosen)


def branches(
    env: Env, plans: Iterable[Plan], read: Callable[[Env, Plan], Result]
) -> Iterator[Result]:
    """Yield ``read(env, plan)`` for each plan, always from the state in which ``env`` is now.

    ``read`` drives ``env`` as the plan says and returns what is to be known of it.  Afterwards
    ``env`` is where it was.

    On MetaDrive ``read`` runs in a fork of this process, and what it returns is pickled: arrays
    and plain values will do.  Where processes cannot be forked, the episode is driven again from
    its beginning after each plan; the outermost layer of ``env`` then has to be a ``TracedEnv``.

    Raises:
        ValueError: for an environment that is not ours, or in wrappers that cannot be saved.
        RuntimeError: before the first ``reset``, where ``read`` failed in a fork, and where an
            episode could not be driven again.
    """
    _, inner = _layers(env)
    try:
        snapshot = save(env)
    except NotImplementedError:
        inner.scene  # raises before the first reset  # noqa: B018
        drive_on = _forked if hasattr(os, "fork") else _driven_again
        yield from drive_on(env, plans, read)
        return
    for plan in plans:
        try:
            result = read(env, plan)
        finally:
            restore(env, snapshot)
        yield result


def _forked(
    env: Env, plans: Iterable[Plan], read: Callable[[Env, Plan], Result]
) -> Iterator[Result]:
    for plan in plans:
        source, sink = os.pipe()
        child = os.fork()
        if not child:
            _answer(sink, partial(read, env, plan))
        os.close(sink)
        try:
            with open(source, "rb") as stream:
                sent = stream.read()
        finally:
            os.waitpid(child, 0)
        if not sent:
            raise RuntimeError("a fork that drove on died, often out of memory")
        fault, result = pickle.loads(sent)  # of our own process
        if fault:
            raise RuntimeError(f"driving on in a fork failed: {fault}")
        yield result


def _answer(sink: int, ask: Callable[[], Any]) -> None:
    """Write an answer and end this process, without anything that an exit would tidy up."""
    gc.freeze()  # to look at what the parent made would copy all its memory; new garbage is found
    sent = b""
    try:
        try:
            sent = pickle.dumps(("", ask()))
        except BaseException as error:  # told to the parent
            sent = pickle.dumps((f"{type(error).__name__}: {error}", None))
        with open(sink, "wb") as stream:
            stream.write(sent)
    finally:
        os._exit(0)


def _driven_again(
    env: Env, plans: Iterable[Plan], read: Callable[[Env, Plan], Result]
) -> Iterator[Result]:
    if not isinstance(env, TracedEnv):
        raise ValueError(
            "this environment cannot be saved, and this system cannot fork: wrap it in "
            "wrappers.traced_env.TracedEnv, so that its episode can be driven again"
        )
    here = env.running_episode()
    for plan in plans:
        result = read(env, plan)
        fault = env.return_to_episode(here)
        if fault:
            raise RuntimeError(f"the episode could not be driven again: {fault}")
        yield result


def _layers(env: Any) -> tuple[list[gym.Wrapper[Any, Any, Any, Any]], DrivingEnv]:
    """The wrappers around one of our environments, outermost first, and that itself."""
    layers, inner = [], env
    while isinstance(inner, gym.Wrapper):
        layers.append(inner)
        inner = inner.env
    if not isinstance(inner, DrivingEnv):
        raise ValueError(f"env={shown(env)}: only the VLSafe environments can be saved")
    return layers, inner


def _save_layer(layer: Any) -> State:
    names = _OF_GYMNASIUM.get(type(layer))
    if names is not None:
        return save_attributes(layer, [name for name in names if name in vars(layer)])
    _need_own_state(layer)
    state: State = layer.save_layer()
    return state


def _restore_layer(layer: Any, state: State) -> None:
    if type(layer) in _OF_GYMNASIUM:
        restore_attributes(layer, state)
        return
    _need_own_state(layer)
    layer.restore_layer(state)


def _need_own_state(layer: Any) -> None:
    """Raise ``ValueError`` for a wrapper that does not say what it keeps."""
    kind = type(layer)  # attributes of instances may be those of the environment inside
    if not (hasattr(kind, "save_layer") and hasattr(kind, "restore_layer")):
        raise ValueError(
            f"{kind.__name__}: it is not known what this wrapper keeps of an episode; give it "
            "save_layer() and restore_layer(state), or save and restore env.unwrapped"
        )


def _check_configuration(snapshot: Snapshot, env: DrivingEnv) -> None:
    if snapshot.configuration == env.configuration:
        return
    differ = [
        f"{shown(there, 200)} there, {shown(here, 200)} here"
        for there, here in zip(snapshot.configuration, env.configuration, strict=False)
        if there != here
    ]
    raise ValueError(
        f"the snapshot is of an environment of another configuration ({'; '.join(differ)}): make "
        "this one with the same arguments"
    )


def _together(envs: Any) -> VectorDrivingEnv:
    if isinstance(envs, VectorDrivingEnv):
        return envs
    raise ValueError(
        f"envs={shown(envs)}: give what gym.make_vec makes of ids that are stepped together (those "
        "on highway-env's roads), without wrappers"
    )
