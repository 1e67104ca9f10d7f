"""All settings of VLSafe beyond its constructor's arguments.

Every part is a frozen dataclass that refuses values out of range.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from vlsafe_agents.common.typed_config import Count, Share, check_config

Bins = Annotated[int, 3, None]
UPDATES = ("gated", "lagrangian", "none")


# --- world model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes of the recurrent state-space model (DreamerV3, 2024 release)."""

    deter: Count = 256  # D: size of the recurrent state; a multiple of `blocks`
    hidden: Count = 128  # width of the layers around the core
    stoch: Count = 16  # S: categorical variables
    classes: Annotated[int, 2, None] = 16  # K: classes of each
    blocks: Count = 4  # diagonal blocks of the recurrent weights
    prior_layers: int = 1  # layers that predict the prior
    unimix: Share = 0.01  # share of the uniform distribution in prior and posterior
    free_nats: float = 1.0  # KL below this costs nothing [nat], summed over the S variables


@dataclass(frozen=True)
class ImageConfig:
    """Encoder and decoder of 64 x 64 images.

    Each stage folds ``stride x stride`` pixels into channels and applies a convolution of width
    ``kernel``; the decoder mirrors it.  ``kernel=1`` keeps patches apart, so that every layer is
    one matrix product, which is several times faster on a CPU.
    """

    strides: tuple[Count, ...] = (4, 2, 2)
    channels: tuple[Count, ...] = (24, 48, 96)
    kernel: Count = 1
    norm: bool = False  # normalise inner layers too, not just the smallest map; slow on a CPU
    decoded_share: Share = 0.5  # share of a batch's frames that the decoder is trained on
    standardise: bool = False  # the encoder's pixels to mean 0 and variance 1 of the data
    colour_weight: float = 0.0  # extra weight of coloured pixels (see ObservationModel)


@dataclass(frozen=True)
class HeadConfig:
    """Reward, cost, continue, safety-score heads and the vector encoder and decoder."""

    units: Count = 128
    layers: int = 1
    vector_layers: int = 2
    standardise: bool = False  # vectors to mean 0 and variance 1 of the data, instead of symlog
    bins: Bins = 63  # of the two-hot reward and cost heads; odd
    bin_limit: Annotated[float, 1e-3, None] = 10.0  # largest bin, in symlog units


@dataclass(frozen=True)
class LossScales:
    """Weights of the world model's losses; a scale of 0 switches a loss off."""

    image: float = 1.0
    vector: float = 1.0
    vehicles: float = 1.0  # of a set of vehicles
    reward: float = 1.0
    cost: float = 1.0
    cont: float = 1.0
    safety_score: float = 1.0
    dyn: float = 1.0
    rep: float = 0.1
    disagreement: float = 1.0


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that defines a :class:`~vlsafe_agents.vlsafe.world_model.WorldModel`."""

    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    scales: LossScales = field(default_factory=LossScales)
    cost_positive_weight: float = 2.0  # weight of the cost loss where cost > 0 (see loss())
    ensemble: int = 0  # members of the disagreement ensemble; 0 switches it off


@dataclass(frozen=True)
class TrainConfig:
    """How the world model is fitted."""

    batch_size: Count = 16  # B
    sequence_length: Annotated[int, 2, None] = 64  # T
    # K: rows before each sequence on which its first state is made, without losses; 0: a sequence
    # that begins in mid-episode begins with a state that remembers nothing.
    burn_in: Annotated[int, 0, None] = 8
    # What the resting model's encoder makes of the data is kept in memory up to this size [GiB]
    # while policies are learnt; 0: it is computed anew for each batch.
    encoded_memory: Annotated[float, 0.0, None] = 1.0
    learning_rate: float = 4e-5
    warmup: int = 1000  # [gradient steps]
    clip: float = 0.3  # adaptive gradient clipping
    # Of matrix products and convolutions in updates; weights, losses, acting stay in float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # torch.compile the recurrent steps of updates: a minute at the start.
    compile: bool = False


# --- actor and critics ----------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkConfig:
    """Actor, behaviour prior and critics."""

    units: Count = 128
    layers: int = 2
    bins: Bins = 63  # of the critics' two-hot outputs; odd
    bin_limit: Annotated[float, 1e-3, None] = 10.0  # largest bin, in symlog units
    learning_rate: float = 5e-4
    warmup: int = 20  # [gradient steps], of each part from its own first one; the actor has few


@dataclass(frozen=True)
class ImaginationConfig:
    """What is imagined and how returns are made of it."""

    starts: Count = 128  # N: states of the batch to dream from
    horizon: Count = 10  # H [steps]
    # Per decision, here of 1 s: three quarters of the weight lies within 45 s.
    gamma: Annotated[float, 1e-3, 1.0] = 0.97
    lambda_: Share = 0.95
    # Share of dreams whose first action is any supported one, so that Q learns about all of them.
    explore: Share = 0.5
    slow_rate: Share = 0.02  # of the slow critics, per update


@dataclass(frozen=True)
class ImprovementConfig:
    """How advantages become a policy; see :mod:`~vlsafe_agents.vlsafe.policy_extraction`."""

    beta_reward: float = 0.3  # inverse temperature of A_r / S_r in the gated weight
    beta_cost: float = 30.0  # and of A_c / S_c: among dangerous choices take the least so
    beta: float = 3.0  # of the one advantage of "lagrangian" and "none"
    # exp(beta A / S) is at most this, so that the policy stays near the data's; None: no limit.
    weight_limit: Annotated[float, 1.0, None] | None = 100.0
    gate_lookahead: int = 3  # k [steps]; the gate is the lowest p of the next k states; 0: paper's
    support_threshold: Share = 0.1  # drop actions below this share of the prior's most likely one
    # The gated update calls an action feasible below cost_limit, or below this quantile of the
    # least Q_c in recorded states if that is higher: so many of them then have a feasible action,
    # however high the critic's floor is. 0: below cost_limit only. Not higher: where more than
    # half of the states are dangerous, danger is what is ordinary.
    feasible_quantile: Share = 0.5
    # K: actions compared per state of a continuous space, half of them the policy's own
    candidates: Annotated[int, 2, None] = 16


@dataclass(frozen=True)
class PlainConfig:
    """Settings of :class:`~vlsafe_agents.common.lagrange.LagrangeMultiplier`."""

    initial: float = 0.0
    learning_rate: float = 0.1  # a few hundred updates have to be enough for it to settle
    maximum: float = 100.0


@dataclass(frozen=True)
class PIDConfig:
    """Settings of :class:`~vlsafe_agents.common.lagrange.PIDLagrange`."""

    kp: float = 0.1
    ki: float = 0.02
    kd: float = 0.05
    ema: float = 0.5
    maximum: float = 100.0


@dataclass(frozen=True)
class MultiplierConfig:
    """Lagrange multiplier of ``update="lagrangian"``."""

    kind: Literal["plain", "pid"] = "plain"
    plain: PlainConfig = field(default_factory=PlainConfig)
    pid: PIDConfig = field(default_factory=PIDConfig)
    # Where the imagined cost return is read: "first" states of episodes, as in the definition of a
    # constrained MDP, or all states of the "data", which include those that bad drivers got into.
    constraint_states: Literal["first", "data"] = "first"
    episode_steps: Annotated[float, 1.0, None] | None = (
        None  # L [steps]; None: mean length of the data set's episodes
    )


@dataclass(frozen=True)
class ResearchConfig:
    """Switches for experiments: ablations, and ideas that have not been shown to pay."""

    # False, False: the paper's weight as printed.
    normalise_gate: bool = True  # each exponential has mean 1 under the prior, state by state
    # In the reward's term, only actions with Q_c below the limit (FISOR's and FOSP's indicator).
    feasible_only: bool = True
    imagined: float = 1.0  # weight of the critics' targets on imagined steps
    anchor: float = 1.0  # and of those on recorded steps; 0 and 1: offline without a model
    data_share: Share = 0.5  # weight of recorded states against imagined ones in the actor's loss
    # Reward minus, cost plus, this times the ensemble's disagreement (MOPO, arXiv 2005.13239).
    disagreement_penalty: float = 0.0
    # Share of sequences drawn from those in which an episode ends with a cost.  Where a crash comes
    # once in thousands of steps, model and critics would hardly meet one otherwise.  They come to
    # expect more of them than there are: a higher cost_limit makes up for it.
    unsafe_ends: Share = 0.0


@dataclass(frozen=True)
class OnlineConfig:
    """How an agent learns while it drives; of no effect on learning from recorded drives.

    Then everything is trained in every update, at constant rates, as in DreamerV3:
    :func:`online_config` says what that replaces.
    """

    # Steps drawn from the replay for each step of an environment (DreamerV3's train_ratio): one
    # update per ``batch_size * sequence_length / train_ratio`` steps.
    train_ratio: Annotated[float, 1e-3, None] = 256.0
    learning_starts: int = 1000  # steps with random actions, unless there are recorded drives
    buffer_size: Count = 1_000_000  # rows of the replay
    data_share: Share = 0.5  # of the sequences, from recorded drives where there are any
    # In place of improvement.support_threshold: the prior is fitted to the replay, which the agent
    # fills itself, so that what it seldom does now must not be left out for ever.
    support_threshold: Share = 0.0
    # The agent stops exploring (it takes the actor's most likely action) while the mean cost of
    # the last `explore_episodes` episodes is above this.  None: cost_limit after learning from
    # recorded drives, and no limit for an agent that has to explore to know anything.
    explore_cost_limit: float | None = None
    explore_episodes: Count = 10


# --- all of it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VLSafeConfig:
    """Everything about training; :func:`~vlsafe_agents.vlsafe.presets.make_config` builds it."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    imagination: ImaginationConfig = field(default_factory=ImaginationConfig)
    improvement: ImprovementConfig = field(default_factory=ImprovementConfig)
    multiplier: MultiplierConfig = field(default_factory=MultiplierConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    research: ResearchConfig = field(default_factory=ResearchConfig)
    model_warmup: Share = 0.6  # share of updates that train world model and prior only
    # Weight of the prior's likelihood among the world model's losses while it warms up: features
    # that tell what drivers do. 0: the model learns nothing from actions, as in DreamerV3.
    shaping: float = 200.0
    # Share of sequences on which the prior is fitted with other sequences' past actions in its
    # features' memory, so that it cannot learn to repeat the last action: at 10 Hz that is right
    # four times in five, and tells nothing of when to brake.
    forget_actions: Share = 0.0
    # Fit the prior to those recorded drives alone that cost at most this, as BC-Safe does (Liu et
    # al. 2023, arXiv 2306.09303): what reckless drivers do is then no choice of the policy, while
    # model and critics still learn what comes of it. None: to all drives. Set it for the world
    # model's training, too: what a policy updates later hardly moves the prior.
    prior_cost_limit: Annotated[float, 0.0, None] | None = None
    # Share of the updates after that in which the critics evaluate the prior and the actor rests:
    # improving on critics that have just begun ruins the policy that they are to evaluate.
    critic_warmup: Share = 0.2
    # After the warm-up, train the world model in every n-th update; 0: leave it as it is.  The data
    # do not grow, and features that stand still are what critics can rely on.
    model_every: int = 0
    # K: of a range of cost limits, how many evenly spaced ones are learnt, interpolated between.
    limit_knots: Annotated[int, 2, None] = 5
    torch_threads: Count | None = None  # None: 1 on a CPU for small presets, else unchanged

    def __post_init__(self) -> None:
        check_config(self)
        if self.research.disagreement_penalty and not self.world_model.ensemble:
            raise ValueError(
                "research.disagreement_penalty has no effect without an ensemble that can "
                "disagree; set world_model.ensemble, for example to 5"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, the inverse of ``make_config(preset, dictionary)``."""
        return dataclasses.asdict(self)
