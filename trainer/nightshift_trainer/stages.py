"""What an iteration learns by: examples (`sft`), ratios to the sampler (`grpo`), or ranked pairs (`dpo`).

All read the same batches and move the same adapter, so a stage is nothing but the iterations that name its objective.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace

from torch.optim import Optimizer

from nightshift_trainer import advantage, dpo, sft
from nightshift_trainer.agreement_bound import Bounds
from nightshift_trainer.config import Objective, RunConfig
from nightshift_trainer.lora import Policy
from nightshift_trainer.report import StepReport
from nightshift_trainer.step import take_step
from nightshift_trainer.types import Batch, Learning, LearningGroup


def objective_of(config: RunConfig, iteration: int) -> Objective:
    """The entry of `stages` at `iteration` (counted from 1); the last one holds for all that follow."""
    return config.stages[min(iteration, len(config.stages)) - 1]


def begins_stage(config: RunConfig, iteration: int) -> bool:
    """Whether the iteration before had another objective, whose optimiser moments say nothing of this one's."""
    return iteration > 1 and objective_of(config, iteration) != objective_of(config, iteration - 1)


def stages_through(config: RunConfig, iteration: int) -> list[Objective]:
    """The stages of a run up to and with `iteration`, each named once."""
    first = [k for k in range(1, iteration + 1) if k == 1 or begins_stage(config, k)]
    return [objective_of(config, k) for k in first]


def learn_by(batch: Batch, config: RunConfig) -> Learning:
    """What the batch teaches by the objective of its iteration. Pure."""
    learning = advantage.learn_from(batch, config.advantage.std_floor, config.advantage.normalization)
    objective = objective_of(config, batch.iteration)
    rewards = {m.rollout_id: m.reward for g in batch.groups for m in g.members if m.reward is not None}
    if objective == "sft" and config.sft is not None:
        return sft.choose_examples(learning, rewards, config.sft.min_reward, config.sft.members_per_group)
    if objective == "dpo" and config.dpo is not None:
        return dpo.choose_pairs(learning, rewards, config.dpo.min_gap)
    return learning


def take_step_by(
    policy: Policy,
    optimizer: Optimizer,
    groups: Seq[LearningGroup],
    config: RunConfig,
    objective: Objective,
    *,
    budget_tokens: int,
    bounds: Bounds | None,
    beat: Callable[[float], None],
) -> StepReport:
    """`take_step` by an objective: at the rate of its stage, whose warm-up counts from where the stage began."""
    began = time.monotonic()
    weighed = None
    if objective == "dpo" and config.dpo is not None:
        weighed = dpo.weigh_pairs(policy, groups, config.dpo.beta, budget_tokens, lambda: beat(0.0))
        groups = weighed.groups
    report = take_step(
        policy,
        optimizer,
        groups,
        at_rate_of(config, objective),
        budget_tokens=budget_tokens,
        step=_steps_taken(optimizer) + 1,
        bounds=bounds,
        beat=beat,
        objective=objective,
    )
    if weighed is None:
        return report
    seconds = time.monotonic() - began
    return replace(report, loss=weighed.loss, preference_margin=weighed.margin, seconds=seconds)


def at_rate_of(config: RunConfig, objective: Objective) -> RunConfig:
    """The run's configuration with the learning rate of the objective's stage."""
    own = {"sft": config.sft, "grpo": config.optimizer, "dpo": config.dpo}[objective]
    if own is None:
        raise ValueError(f"the run has no {objective} stage")
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": own.lr})})


def _steps_taken(optimizer: Optimizer) -> int:
    """By its own count, which a checkpoint keeps and the begin of a stage forgets."""
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)
