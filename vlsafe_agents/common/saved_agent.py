"""SB3 algorithms whose files hold numbers, text and weights, and no code."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from vlsafe_agents.common.agent_file import (
    AgentPath,
    CannotStoreError,
    HoldsPicklesError,
    from_plain,
    read_agent,
    space_from_json,
    space_to_json,
    to_plain,
    write_agent,
)
from vlsafe_agents.common.devices import team_size
from vlsafe_agents.common.random_states import (
    common_random_states,
    common_random_states_kept,
    set_common_random_states,
)
from vlsafe_agents.common.running import (
    RUNNING,
    logged_so_far,
    reading_running,
    set_logged_so_far,
    to_tensors,
    warn_not_exact,
)
from vlsafe_agents.common.seeds import derived_seed
from vlsafe_agents.pretrained.agent import SHARED, SharedAgent
from wrappers.checks import one_number
from wrappers.random_states import generator_state, set_generator_state, space_generators

# Not settings: what an agent is given to work with, and SB3's own construction.
NO_SETTINGS = {"self", "policy", "env", "device", "dataset", "_init_setup_model"}
NO_SETTINGS |= {"rollout_buffer_class", "rollout_buffer_kwargs"}
COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_num_timesteps_at_start",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
)


class SavedAgent(SharedAgent):
    """Mixin, to be named before SB3's class: ``save`` and ``load`` without pickles.

    A file holds the constructor's arguments, counters, spaces and whatever :meth:`_state` adds, all
    as JSON; the weights, and what learning is in the middle of (:meth:`_running`), which are read
    with ``weights_only``.  Arguments that are code (a schedule that is a function, a network class
    of one's own) are not stored; ``load`` then asks for them by name.
    """

    _unread_settings: ClassVar[frozenset[str]] = frozenset()  # constructor arguments left out
    shares_batches: ClassVar[bool] = False  # whether a team (see `devices`) can train one together
    _left_off: dict[str, Any] | None = None  # what a loaded agent has not gone on with yet

    def _state(self) -> dict[str, Any]:
        """What a file holds beyond arguments, counters and weights; plain data."""
        return {name: to_plain(getattr(self, name)) for name in COUNTERS}

    def _restore(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`_state`; called when networks and weights are there."""
        for name in COUNTERS:
            setattr(
                self, name, type(getattr(self, name))(one_number(state[name], name, "counters"))
            )

    # --- what learning is in the middle of --------------------------------------------------------

    def _running(self) -> dict[str, Any]:
        """What goes on from one update to the next, beyond weights and counters.

        Plain data, arrays and tensors by name; copies of what changes in place.
        """
        return {
            "random": common_random_states(),
            "action_space": [generator_state(one) for one in space_generators(self.action_space)],
            "log": logged_so_far(self._logger) if hasattr(self, "_logger") else {},
        }

    def _resume_point(self) -> dict[str, Any]:
        """What was running where a file lets learning go on: here and now, but for rollouts."""
        return self._running()

    def _go_on(self, running: dict[str, Any]) -> None:
        """Inverse of :meth:`_running`, but for random states; the logger is there."""
        set_logged_so_far(self.logger, running["log"])

    def _begin(self, afresh: bool) -> bool:
        """What ``_setup_learn`` does first; whether a loaded agent goes on where it had left off.

        Where it does not, it is seeded anew: what was drawn with the seed itself (first episodes,
        noise) is not drawn again.

        Raises:
            ValueError: in a team, for an algorithm that one device trains.
        """
        if team_size() > 1 and not self.shares_batches:
            raise ValueError(f"{type(self).__name__} trains on one device; start one process")
        if self._left_off is None:
            return False
        goes_on = not afresh or not self.num_timesteps
        if not (goes_on and "random" in self._left_off) and self.seed is not None:
            steps = self.num_timesteps
            self.set_random_seed(derived_seed(self.seed, steps) if steps else self.seed)
        if not afresh and not self._left_off:
            warn_not_exact("it was saved by an earlier version, without what was running")
        return goes_on

    def _take_up(self, goes_on: bool) -> None:
        """What ``_setup_learn`` does last: put back what was running, if a loaded agent goes on.

        Raises:
            ValueError: where its file holds something else.
        """
        running, self._left_off = self._left_off, None
        if not running or not goes_on:
            return
        with reading_running():
            self._go_on(running)
            if "random" in running:
                generators = space_generators(self.action_space)
                for one, state in zip(generators, running["action_space"], strict=True):
                    set_generator_state(one, state)
                set_common_random_states(running["random"])

    # --- files ------------------------------------------------------------------------------------

    @classmethod
    def _settings(cls) -> list[str]:
        """Names of the constructor's arguments that a file holds and that ``load`` may change."""
        found: dict[str, None] = {}
        for kind in cls.__mro__:
            own = vars(kind).get("__init__")
            parameters = inspect.signature(own).parameters if own is not None else {}
            found |= dict.fromkeys(
                name
                for name, p in parameters.items()
                if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            )
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and parameters:
                break  # the next constructor's arguments are not the user's
        return [n for n in found if n not in NO_SETTINGS and n not in cls._unread_settings]

    def save(
        self,
        path: AgentPath,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Write SB3's zip file, whole or not at all, without data set and pickled objects.

        Learning goes on from it as if it had not been stopped; see :meth:`load`.

        Args:
            exclude: arguments to leave out, which ``load`` then asks for.
            include: as SB3's, to store all the same; nothing beyond the arguments can be.

        Raises:
            ValueError: for an ``include`` that cannot be stored.
        """
        known = self._settings()
        foreign = sorted(set(include or ()) - set(known))
        if foreign:
            raise ValueError(
                f"cannot include {', '.join(foreign)}: a {type(self).__name__} file holds its "
                "constructor's arguments, counters and weights, and no other objects"
            )
        arguments, left_out = {}, sorted((set(exclude or ()) - set(include or ())) & set(known))
        for name in known:
            if name not in left_out:
                try:
                    arguments[name] = to_plain(self._setting(name))
                except CannotStoreError:
                    left_out.append(name)
        data = {
            "algorithm": type(self).__name__,
            "policy": self._policy_name(),
            "arguments": arguments,
            "left_out": left_out,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "n_envs": self.n_envs,
            "state": self._state(),
        }
        running = self._resume_point() if self._left_off is None else self._left_off
        write_agent(path, data, {**self.get_parameters(), RUNNING: to_tensors(running)})

    def save_checkpoint(self, path: Path) -> None:
        """Write what a training that is stopped goes on from: a file, and what stands beside it."""
        self.save(path)

    @classmethod
    def load_checkpoint(cls, path: Path, env: GymEnv, device: torch.device | str) -> Self:
        """Inverse of :meth:`save_checkpoint`.

        Raises:
            FileNotFoundError, ValueError: as :meth:`load`.
        """
        return cls.load(path, env=env, device=device)

    def remove_checkpoint(self, path: Path) -> None:
        """Remove what :meth:`save_checkpoint` has written."""
        path.unlink(missing_ok=True)

    def _setting(self, name: str) -> Any:
        return getattr(self, "_stats_window_size" if name == "stats_window_size" else name)

    def _policy_name(self) -> str | None:
        """SB3's name of the policy's class; None for a class of the user's own."""
        return next((k for k, v in self.policy_aliases.items() if v is self.policy_class), None)

    @classmethod
    def load(
        cls,
        path: AgentPath,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        allow_pickle: bool = False,
        **changes: Any,
    ) -> Self:
        """Load a saved agent; no code in the file is run.

        Loading touches none of the random generators that the process has in common.
        ``learn(..., reset_num_timesteps=False)`` then sets them to where they were when the agent
        was saved, and goes on, on a CPU bit for bit, as if it had not been stopped.  Where that
        cannot be, a :class:`~vlsafe_agents.common.running.NotExactWarning` says why.  Any other
        ``learn`` draws anew, from a seed made of ``seed`` and the timesteps so far.

        Args:
            env: where to go on learning; must have the agent's spaces.
            custom_objects: ``{"policy_class": ...}`` for a policy of one's own; further entries
                count as ``changes``, but what the file does not hold is only warned of, as SB3
                passes over it.
            force_reset: as SB3's; the environment is always reset before learning goes on.
            allow_pickle: also read a file of Stable-Baselines3's own, whose pickled entries run
                code; only for files that you trust.
            changes: constructor's arguments to replace; with another ``seed``, what follows is
                drawn anew from it.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is damaged, another algorithm's, or holds pickled objects;
                for arguments that the file lacks; or for an ``env`` with other spaces.
            TypeError: for a change that the constructor does not know.
        """
        if print_system_info:
            get_system_info()
        custom = dict(custom_objects or {})
        policy_class = custom.pop("policy_class", None)
        changes = {**cls._held_by_files(custom), **changes}
        dataset = changes.pop("dataset", None) if hasattr(cls, "set_dataset") else None
        unknown = sorted(set(changes) - set(cls._settings()))
        if unknown:
            raise TypeError(
                f"{cls.__name__}.load got unknown arguments {', '.join(unknown)}; what can be "
                f"changed is {', '.join(cls._settings())}"
            )
        try:
            data, params = read_agent(path, device)
        except HoldsPicklesError:
            if not allow_pickle:
                raise
            return super().load(path, env, device, custom_objects, False, force_reset, **changes)
        try:
            data = cls._upgraded(data)
            with common_random_states_kept():
                model = cls._build(data, policy_class, env, device, changes)
            left_off = dict(params.pop(RUNNING, {}))
            if SHARED in data:
                model._take_shared(params["policy"])
            else:
                model.set_parameters(params, exact_match=True, device=device)
            model._restore(data["state"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except (KeyError, AttributeError, TypeError, RuntimeError, IndexError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
            raise ValueError(
                f"{path} does not fit this version of {cls.__name__} ({what})"
            ) from error
        if "seed" in changes:
            left_off.pop("random", None)
        model._left_off = left_off
        if dataset is not None:
            model.set_dataset(dataset)  # type: ignore[attr-defined]
        return model

    @classmethod
    def _held_by_files(cls, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
        """Those entries that files hold; warns of the others (``lr_schedule`` is a common one)."""
        held = set(cls._settings()) | ({"dataset"} if hasattr(cls, "set_dataset") else set())
        others = sorted(set(custom_objects) - held)
        if others:
            warnings.warn(
                f"custom_objects has {', '.join(others)}, which no {cls.__name__} file holds: it "
                "is passed over",
                stacklevel=3,
            )
        return {name: value for name, value in custom_objects.items() if name in held}

    @classmethod
    def _upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The data of an older version as this one writes them."""
        return data

    @classmethod
    def _build(
        cls,
        data: dict[str, Any],
        policy_class: Any,
        env: GymEnv | None,
        device: torch.device | str,
        changes: Mapping[str, Any],
    ) -> Self:
        """An agent as it was constructed, but for ``changes``."""
        if data["algorithm"] != cls.__name__:
            raise ValueError(f"the file holds a {data['algorithm']}, not a {cls.__name__}")
        missing = [name for name in data["left_out"] if name not in changes]
        policy: type[BasePolicy] | str | None = policy_class or data["policy"]
        if policy is None:
            missing.append('custom_objects={"policy_class": ...}')
        if missing:
            raise ValueError(
                f"the file lacks {', '.join(missing)}: code is not stored; give it to "
                f"{cls.__name__}.load(path, ...) again"
            )
        arguments = cls._merged({k: from_plain(v) for k, v in data["arguments"].items()}, changes)
        foreign = sorted(set(arguments) - set(cls._settings()))
        if foreign:
            raise ValueError(f"the file has arguments that are not known: {', '.join(foreign)}")
        model = cls(policy, None, device=device, _init_setup_model=False, **arguments)  # type: ignore[arg-type,call-arg]
        model.observation_space = space_from_json(data["observation_space"])
        model.action_space = space_from_json(data["action_space"])
        model.n_envs = int(data["n_envs"])
        if env is not None:
            wrapped = cls._wrap_env(env, model.verbose)
            check_for_correct_spaces(wrapped, model.observation_space, model.action_space)
            model.env, model.n_envs = wrapped, wrapped.num_envs
            model._vec_normalize_env = unwrap_vec_normalize(wrapped)
        model._setup_model()
        return model

    @classmethod
    def _merged(cls, arguments: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Stored arguments with changes.

        Raises:
            ValueError: for other ``policy_kwargs``, as SB3: the weights would not fit.
        """
        given, stored = changes.get("policy_kwargs"), arguments.get("policy_kwargs")
        if stored is not None and given is not None and to_plain(given) != to_plain(stored):
            raise ValueError(f"policy_kwargs {given} are not those of the file, {stored}")
        return {**arguments, **changes}
