"""Why some of Stable-Baselines3's tests do not apply to an algorithm of ours."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Why tests fail that are not ours to pass.

    Args:
        why: in a sentence, for the table.
        said: what the error must say; a test that fails in another way is a fault.
        tests: how ``file::test[parameters]`` begins.
    """

    why: str
    said: str
    tests: tuple[str, ...]


# --- of all of ours -------------------------------------------------------------------------------

FILES = (
    Reason(
        "an argument that save() was told to exclude is asked for: a default cost limit would be "
        "a silent change",
        "the file lacks verbose",
        ("test_save_load.py::test_exclude_include_saved_params",),
    ),
    Reason(
        "a loaded agent brings its environments back itself, when it learns; load() keeps no "
        "observation, whatever force_reset says",
        "_last_obs",
        ("test_save_load.py::test_set_env",),
    ),
)
# Speed by the clock is measured while sleeping 1 ms a step.
BUSY = Reason(
    "steps per second by the clock: needs cores that nothing else uses",
    "assert (1000 / 10) <=",
    ("test_logger.py::test_fps_logger",),
)
# Of those that sit in PPO's seat.
ARGUMENTS = (
    Reason(
        "a wrong argument is a ValueError that names it, not an AssertionError",
        "clip_range_vf is -0.2; expected a finite number of at least 0",
        ("test_run.py::test_ppo[-0.2-",),
    ),
    Reason(
        "the advice against a GPU names our class, not PPO",
        "Regex pattern did not match any of the 1 warnings",
        ("test_run.py::test_ppo_warnings",),
    ),
    Reason(
        "code is not stored: load() asks for a schedule that is a function",
        "code is not stored",
        (
            "test_save_load.py::test_cast_lr_schedule",
            "test_save_load.py::test_save_load_backward_compatible",
        ),
    ),
    Reason(
        "there are no pickles in a file that could be spoilt",
        "learning_rate",
        ("test_save_load.py::test_load_invalid_object",),
    ),
    Reason(
        "costs are kept beside rewards in a rollout buffer of its own",
        "brings its own rollout buffer",
        ("test_buffers.py::test_custom_rollout_buffer",),
    ),
    Reason(
        "a vector environment without infos reports no cost",
        "infos for 4 environments",
        ("test_vec_extract_dict_obs.py::test_vec_with_ppo",),
    ),
    Reason(
        "a damaged file is named in other words",
        "is no agent's file",
        ("test_save_load.py::test_load_bad_zip",),
    ),
    Reason(
        "there are none of our files from the time of Stable-Baselines3 1.6",
        "DID NOT WARN",
        ("test_save_load.py::test_save_load_env_cnn",),
    ),
    Reason(
        "A2C's optimiser gets the value right in 500 steps; PPO's does not, in stock PPO either",
        "< 1.0",
        ("test_gae.py::test_infinite_horizon[True-",),
    ),
)

# --- RecurrentPPOLag ------------------------------------------------------------------------------

MEMORY = (
    Reason(
        "a policy with a memory is given its state: `forward` of an observation alone, which the "
        "test replaces by one with constant values, is not called",
        "function allclose",
        ("test_gae.py::test_gae_computation",),
    ),
    Reason(
        "an LSTM needs three times the test's steps: after 4,096 it has 100 of 100 in each",
        "Mean reward below threshold",
        (
            "test_identity.py::test_discrete[env1-",
            "test_identity.py::test_discrete[env2-",
            "test_identity.py::test_continuous[",
        ),
    ),
    Reason(
        "Stable-Baselines3's advice against a GPU is about networks without a memory",
        "DID NOT WARN",
        ("test_run.py::test_ppo_warnings",),
    ),
    Reason(
        "values and distributions need the state of a memory, as sb3-contrib's",
        "missing 2 required positional arguments: 'lstm_states' and 'episode_starts'",
        (
            "test_gae.py::test_infinite_horizon",
            "test_distributions.py::test_get_distribution",
            "test_distributions.py::test_predict_values",
        ),
    ),
)

# --- BC -------------------------------------------------------------------------------------------

CLONING = (
    Reason(
        "what drove at random is imitated: nothing is learnt from rewards",
        "Mean reward below threshold",
        ("test_identity.py::",),
    ),
    Reason(
        "no value is learnt from rewards",
        "abs((49.9",
        ("test_gae.py::test_infinite_horizon",),
    ),
    Reason(
        "no environment is stepped, so no episode ends for callbacks to count",
        "`dones` variable is not defined",
        ("test_callbacks.py::test_callbacks",),
    ),
    Reason(
        "there are no rollouts",
        "rollout_buffer",
        (
            "test_buffers.py::test_custom_rollout_buffer",
            "test_sde.py::test_state_dependent_noise",
        ),
    ),
    Reason(
        "there are no rollouts",
        "collect_rollouts",
        ("test_train_eval_mode.py::test_a2c_ppo_collect_rollouts_with_batch_norm",),
    ),
    Reason(
        "gSDE is noise to explore with",
        "squash_output=True is only available when using gSDE",
        (
            "test_distributions.py::test_squashed_gaussian",
            "test_sde.py::test_state_dependent_noise",
        ),
    ),
    Reason(
        "words of learning from rewards are not words of cloning",
        "normalize_advantage",
        ("test_run.py::test_advantage_normalization",),
    ),
    Reason(
        "rewards are not discounted",
        "no attribute 'gamma'",
        ("test_tensorboard.py::",),
    ),
    Reason(
        "the refusal has other words",
        "Multi-dimensional MultiBinary",
        ("test_spaces.py::test_multidim_binary_not_supported",),
    ),
    Reason(
        "there are none of our files from the time of Stable-Baselines3 1.6",
        "DID NOT WARN",
        ("test_save_load.py::test_save_load_env_cnn",),
    ),
)

# --- VLSafe ---------------------------------------------------------------------------------------

VLSAFE = (
    Reason(
        "a word without a meaning here is refused with what to write instead",
        "VLSafe has no argument",
        (
            "test_buffers.py::",
            "test_callbacks.py::test_eval_success_logging",
            "test_distributions.py::test_squashed_gaussian",
            "test_gae.py::",
            "test_her.py::",
            "test_n_step_replay.py::",
            "test_run.py::test_advantage_normalization",
            "test_run.py::test_offpolicy_multi_env[VLSafe_SAC]",
            "test_run.py::test_sac",
            "test_save_load.py::test_save_load_policy[True-",
            "test_save_load.py::test_warn_buffer",
            "test_sde.py::",
            "test_spaces.py::test_sde_multi_dim",
            "test_train_eval_mode.py::",
            "test_vec_normalize.py::",
        ),
    ),
    Reason(
        "n-step returns, and the warnings about them, are other algorithms'; n_steps is refused",
        "DID NOT",
        ("test_n_step_replay.py::",),
    ),
    Reason(
        "an agent that drives and never learns is refused",
        "gradient_steps is 0",
        ("test_train_eval_mode.py::test_offpolicy_collect_rollout_batch_norm",),
    ),
    Reason(
        "updates do not wait for the end of an episode",
        "do not wait for the end of an episode",
        ("test_run.py::test_train_freq[train_freq2]",),
    ),
    Reason(
        "an episode's first step alone takes two rows of the replay",
        "buffer_size is 1; expected a whole number of at least 2",
        ("test_callbacks.py::test_callbacks_can_cancel_runs",),
    ),
    Reason(
        "an update needs a sequence of as many rows as it reads, more than the three steps driven",
        "assert 0.0 ==",
        ("test_run.py::test_offpolicy_multi_env[VLSafe_DQN]",),
    ),
    Reason(
        "sizes of networks: actor, prior and critics have layers of one width, and the world model "
        "its own encoder, whose settings are config's",
        "here it may hold net_arch",
        (
            "test_custom_policy.py::",
            "test_train_eval_mode.py::",
            "test_cnn.py::test_image_like_input",
            "test_cnn.py::test_cnn",
            "test_cnn.py::test_features_extractor_target_net",
        ),
    ),
    Reason(
        "actor, prior and critics have at least one layer, all of one width",
        "all layers have one width",
        ("test_custom_policy.py::", "test_utils.py::"),
    ),
    Reason(
        "parts of another algorithm: entropy coefficient, Q network, target network, critic",
        "has no attribute",
        (
            "test_save_load.py::test_save_load_pytorch_var",
            "test_save_load.py::test_save_load_q_net",
            "test_save_load.py::test_save_load_env_cnn[VLSafe_A2C]",
            "test_save_load.py::test_dqn_target_update_interval",
            "test_cnn.py::test_features_extractor_target_net",
            "test_distributions.py::",
        ),
    ),
    Reason(
        "images stay as the environment gives them, channels last",
        "VecTransposeImage",
        ("test_cnn.py::test_cnn[",),
    ),
    Reason(
        "sizes of networks in Stable-Baselines3's old format are refused, without its warning",
        "DID NOT WARN",
        ("test_custom_policy.py::test_flexible_mlp",),
    ),
    Reason(
        "warnings of DQN's own",
        "DID NOT WARN",
        (
            "test_run.py::test_warn_dqn_multi_env",
            "test_save_load.py::test_save_load_no_target_params",
        ),
    ),
    Reason(
        "the actor reads states of the world model, no observations: it is no policy by itself",
        "has no attribute 'actor'",
        ("test_save_load.py::test_save_load_policy[False-",),
    ),
    Reason(
        "the replay holds whole episodes in the time convention of recorded drives, on the CPU; "
        "Stable-Baselines3's buffer holds single steps",
        "'Replay' object has no attribute",
        ("test_save_load.py::test_save_load_replay_buffer",),
    ),
    Reason(
        "it takes spaces of actions that the algorithm in whose seat it sits does not",
        "DID NOT RAISE",
        (
            "test_spaces.py::test_action_spaces",
            "test_spaces.py::test_multidim_binary_not_supported",
        ),
    ),
    Reason(
        "the world model scales its inputs; statistics that move on do not fit a replay",
        "VecNormalize",
        (
            "test_callbacks.py::test_eval_friendly_error",
            "test_callbacks.py::test_checkpoint_additional_info",
            "test_dict_env.py::test_vec_normalize",
            "test_vec_normalize.py::test_offpolicy_normalization",
            "test_cnn.py::test_image_like_input",
        ),
    ),
    Reason(
        "a few hundred steps are too few to learn a world model and a policy",
        "Mean reward below threshold",
        ("test_identity.py::",),
    ),
)

REASONS: dict[str, tuple[Reason, ...]] = {
    "PPO": (*FILES, BUSY, *ARGUMENTS),
    "PPOLag": (*FILES, BUSY, *ARGUMENTS),
    "RecurrentPPOLag": (*FILES, BUSY, *ARGUMENTS, *MEMORY),
    "BC": (*FILES, BUSY, *CLONING),
    "VLSafe": (*FILES, BUSY, *VLSAFE),
}
