"""run.json: what one night trains, from where, and how. Read once, strictly: an unknown key is an error."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from nightshift_trainer.errors import ConfigError

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Objective = Literal["sft", "grpo", "dpo"]


class Strict(BaseModel):
    """No unknown keys, no coercion, no NaN, no assignment."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Located(Strict):
    """A directory (relative to the run directory, or absolute) and the digest that identifies its content."""

    path: Text
    digest: Text


class Lora(Strict):
    """Shape of the adapter. `all-linear` is every linear layer but the output head."""

    rank: Annotated[int, Field(ge=1, le=512)]
    alpha: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Literal["all-linear"]


class Optimizer(Strict):
    """AdamW: constant rate after `warmup_steps` linear ones; gradients clipped to the global norm `clip_norm`."""

    lr: Positive
    weight_decay: NotNegative
    clip_norm: Positive
    warmup_steps: Annotated[int, Field(ge=0)]


class Correction(Strict):
    """The three-policy form: ρ against π_old, times min(π_old/μ, `tis_cap`); a sequence whose geometric mean of π_old/μ
    is outside [`mask_low`, `mask_high`] leaves the loss."""

    tis_cap: Positive
    mask_low: Annotated[float, Field(gt=0, le=1)]
    mask_high: Annotated[float, Field(ge=1)]


class Loss(Strict):
    """`cispo` caps the ratio at `ratio_cap`, `grpo` clips it to [1 − clip_low, 1 + clip_high], `gspo` clips that of
    whole sequences; KL weighs `kl_beta`. With `constant_length` the sum is divided by loss members times that many
    tokens (Dr. GRPO), the same for short and long batches; else by the sampled tokens. Without `correction` ρ is
    against the sampler."""

    kind: Literal["cispo", "grpo", "gspo"]
    ratio_cap: Positive
    clip_low: Annotated[float, Field(gt=0, le=1)]
    clip_high: Positive
    kl_beta: NotNegative
    constant_length: Count | None = None
    correction: Correction | None = None


class Advantage(Strict):
    """How a group's rewards become advantages."""

    std_floor: Positive
    normalization: Literal["group_std", "batch_std", "none"]


class Sft(Strict):
    """Examples are a group's best members above its mean, of at least `min_reward`, at most `members_per_group`."""

    lr: Positive
    min_reward: float
    members_per_group: Count


class Dpo(Strict):
    """Pairs are members of a group whose rewards are at least `min_gap` apart; `beta` is DPO's own."""

    lr: Positive
    beta: Positive
    min_gap: NotNegative


class LogprobGate(Strict):
    """A batch whose mean |trainer − sampler| logprob exceeds the bound is refused; with `max_growth`, nothing is
    learned from a later one that exceeds so many times what the run's first batch showed."""

    max_mean_abs_delta: Positive
    max_growth: Annotated[float, Field(ge=1)] | None = None


class Probe(Strict):
    """Least number of tokens in reference.json."""

    min_tokens: Count


class RunConfig(Strict):
    """The whole of run.json."""

    version: Literal[1]
    run_id: Text
    agent: Text
    base_model: Located
    start_adapter: Located | None
    lora: Lora
    optimizer: Optimizer
    loss: Loss
    advantage: Advantage
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)]
    iterations: Count
    minibatches_per_batch: Annotated[int, Field(ge=1, le=4)]
    micro_batch_tokens: Count
    gradient_checkpointing: bool = False
    checkpoint_every_steps: Count
    batch_deadline_s: Positive
    heartbeat_interval_s: Positive
    logprob_gate: LogprobGate
    dtype: Literal["float32", "bfloat16"]
    threads: Count
    probe: Probe
    sabotage: Literal["shuffle_rewards", "invert_rewards"] | None = None
    stages: Annotated[list[Objective], Field(min_length=1)] = ["grpo"]
    """What iteration 1, 2, … learns by; the last entry holds for all that follow."""
    sft: Annotated[Sft | None, Field(validate_default=True)] = None
    dpo: Annotated[Dpo | None, Field(validate_default=True)] = None

    @field_validator("stages")
    @classmethod
    def _an_iteration_each(cls, value: list[Objective], info: ValidationInfo) -> list[Objective]:
        iterations = info.data.get("iterations", len(value))
        if len(value) > iterations:
            raise ValueError(f"{len(value)} stages for {iterations} iterations: the last would never come")
        return value

    @field_validator("sft", "dpo")
    @classmethod
    def _told_where_named(cls, value: Sft | Dpo | None, info: ValidationInfo) -> Sft | Dpo | None:
        if value is None and info.field_name in info.data.get("stages", ()):
            raise ValueError(f"stages names {info.field_name}, so it must be here")
        return value


def load_config(path: Path) -> tuple[Path, RunConfig]:
    """(run directory, configuration) from a run directory or the path of its run.json. Raises ConfigError."""
    file = path / "run.json" if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return file.resolve().parent, RunConfig.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{file}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """`path: what is wrong`, of the first problem, with the number of others."""
    issues = error.errors(include_url=False, include_input=False)
    first = issues[0]
    path = ".".join(str(part) for part in first["loc"]) or "(root)"
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return f"{path}: {first['msg']}{more}"


def located(directory: Path, location: Located) -> Path:
    """The directory that a relative or absolute path of run.json means."""
    return (directory / location.path).resolve()
