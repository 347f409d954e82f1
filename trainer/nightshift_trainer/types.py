"""The trainer's vocabulary: what a batch says, and what a step needs of it. No torch here."""

from dataclasses import dataclass

ROUNDING = 1e-9
"""Rewards closer than this are equal: 0.6 - 0.5 is a little less than 0.1."""

LEAST_LOGPROB = -104.0
"""Servers draw from probabilities in fp32, where exp of less than this is 0: whoever says less of a token that was
sampled has no probability for it. vLLM writes −9999 where JSON cannot hold −∞. `src/rollout/group.ts` has the same
number."""


@dataclass(frozen=True, slots=True)
class Call:
    """One model call as sampled: exact ids and the sampler's processed logprobs, one per completion token."""

    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    adapter_digest: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Member:
    """One rollout. `reward` is None exactly when it is masked."""

    rollout_id: str
    reward: float | None
    excluded_from_loss: bool
    staleness: int
    calls: tuple[Call, ...]

    @property
    def masked(self) -> bool:
        """Spoiled by the replay or the infrastructure: in no statistic."""
        return self.reward is None

    @property
    def lacks_probability(self) -> bool:
        """The server had no probability for one of its tokens, so there is no ratio to what sampled it."""
        return any(logprob < LEAST_LOGPROB for call in self.calls for logprob in call.logprobs)


@dataclass(frozen=True, slots=True)
class Group:
    """G attempts at one scenario. `line` is its line in groups.jsonl, counted from 1."""

    group_id: str
    scenario_id: str
    weight: float
    members: tuple[Member, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One iteration's groups, in file order; `source` names the file in messages."""

    iteration: int
    source: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Proximal:
    """The three-policy form's numbers of one sequence, along its positions: what ρ is taken against, the trainer's own
    logprobs π_old before the batch's first step, and the weights that correct π_old for the sampler."""

    logprobs: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """One or more calls laid end to end. Only the sampled tokens are trained.

    `positions` index the sampled tokens in `token_ids`, ascending and never 0; `sampler_logprobs` and
    `temperatures` run along them. Without `proximal` ρ is taken against the sampler.
    """

    token_ids: tuple[int, ...]
    positions: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    temperatures: tuple[float, ...]
    proximal: Proximal | None = None


@dataclass(frozen=True, slots=True)
class LossMember:
    """A member that is trained on: its advantage (what weighs its tokens, whichever way it is learned from) and its
    sequences. `masked_tokens` were sampled in sequences that the geometric mask took out: they count in the normaliser.
    """

    rollout_id: str
    advantage: float
    staleness: int
    sequences: tuple[Sequence, ...]
    masked_tokens: int = 0


@dataclass(frozen=True, slots=True)
class LearningGroup:
    """A kept group with the members that enter the loss (never none)."""

    group_id: str
    weight: float
    members: tuple[LossMember, ...]

    @property
    def is_masked(self) -> bool:
        """The geometric mask left none of its sequences: it only counts in its minibatch's normaliser."""
        return not any(member.sequences for member in self.members)


@dataclass(frozen=True, slots=True)
class Learning:
    """What a batch teaches, and what was left out and why. Rewards are over unmasked members."""

    groups: tuple[LearningGroup, ...]
    dropped: dict[str, int]
    masked_members: int
    excluded_members: int
    """In the baseline, not in the loss, whatever the reason."""
    reward_mean: float | None
    reward_spread: float | None
    """Mean over groups of the deviation (divisor n) inside the group."""
    members_without_probability: int = 0
    """Excluded ones whose sampler had no probability for a token."""
