"""The night, from the trainer's side: wait for batch k, learn from it, publish adapter k, wait for k + 1."""

import math
import resource
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import torch
from torch.optim import AdamW

from nightshift_trainer import advantage
from nightshift_trainer.agreement_bound import Bounds, bounds_of
from nightshift_trainer.arrival import await_batch
from nightshift_trainer.base_model import require_base
from nightshift_trainer.batch import check_fits
from nightshift_trainer.checkpoint import Progress, resume, save_checkpoint, seed_minibatch
from nightshift_trainer.config import RunConfig, located
from nightshift_trainer.errors import InterruptError, OutOfMemoryError, named
from nightshift_trainer.handover import MANIFEST, digest_of, encode_json, publish
from nightshift_trainer.lora import load_policy
from nightshift_trainer.proximal import correct_batch, proximal_logprobs
from nightshift_trainer.reference import build_reference
from nightshift_trainer.report import StepReport, iteration_metrics
from nightshift_trainer.stages import begins_stage, learn_by, objective_of, stages_through, take_step_by
from nightshift_trainer.status import Metrics, Status
from nightshift_trainer.types import Batch, Learning

POLL_S = 0.1
T = TypeVar("T")


class Night:
    """One run from where it stands to its end. The adapter only ever holds the weights of `progress`."""

    def __init__(
        self,
        directory: Path,
        config: RunConfig,
        status: Status,
        stop: Event,
        say: Callable[[str], None],
        pace: Callable[[str], None] = lambda _: None,
        cache: Path | None = None,
    ) -> None:
        """`say` gets what happened; `pace` gets how far the work is, as often as somebody could want to know. The
        digests of the base's files are kept in `cache`, or in the run directory."""
        torch.set_num_threads(config.threads)
        self._pace = pace
        self._directory, self._config, self._status, self._stop, self._say = (
            directory,
            config,
            status,
            stop,
            say,
        )
        self._metrics = Metrics(directory)
        base = located(directory, config.base_model)
        require_base(base, config.base_model.digest, self._beat, cache or directory)
        self._policy = load_policy(directory, config)
        if self._policy.unpacked is not None:
            say(f"rows that begin alike are not packed: {self._policy.unpacked}")
        self._budget_tokens = config.micro_batch_tokens
        self._optimizer = AdamW(
            list(self._policy.parameters().values()),
            lr=config.optimizer.lr,
            weight_decay=config.optimizer.weight_decay,
        )
        resumed = resume(directory, config, self._policy, self._optimizer)
        self.progress, self._proximal_T = resumed or (Progress(), None)
        self._saved_step = self.progress.step if resumed else None
        self._metrics.rewind(self.progress.iteration, self.progress.minibatch)
        if resumed:
            status.update(resumed_from=self.progress.step, step=self.progress.step)
            say(f"resumed after step {self.progress.step}, in iteration {self.progress.iteration}")

    def run(self) -> None:
        """Trains every iteration. Raises RunError; on InterruptError a checkpoint of the last whole step is on disk."""
        try:
            while self.progress.iteration <= self._config.iterations:
                batch = self._wait_for_batch()
                check_fits(batch, self._policy.vocabulary_size(), self._policy.max_positions())
                self._learn(batch)
                self.progress, self._proximal_T = self.progress.next_iteration(), None
        except InterruptError:
            self._checkpoint()
            raise

    def _wait_for_batch(self) -> Batch:
        iteration = self.progress.iteration
        self._status.update(
            phase="waiting", iteration=iteration, objective=objective_of(self._config, iteration)
        )
        self._say(f"{_iteration_name(self._config, iteration)}: waiting for its batch")
        return await_batch(self._directory, iteration, self._config.batch_deadline_s, self._pause)

    def _pause(self, lacks: str) -> None:
        self._beat(f"  waiting for batch-{self.progress.iteration}: {lacks}")
        self._stop.wait(POLL_S)

    def _learn(self, batch: Batch) -> None:
        config = self._config
        self._status.update(phase="training")
        if config.sabotage is not None:
            self._say(f"SABOTAGE {config.sabotage}: this adapter is made bad on purpose")
            batch = advantage.sabotage(batch, config.sabotage, config.seed)
        if self.progress.minibatch == 0 and begins_stage(config, self.progress.iteration):
            self._optimizer.state.clear()
        with named(batch.source):
            learning, corrected = self._correct(learn_by(batch, config))
        count, iteration = config.minibatches_per_batch, self.progress.iteration
        parts = advantage.minibatches(learning.groups, count, config.seed, iteration)
        parts = [part for part in parts if not all(group.is_masked for group in part)]
        for index in range(self.progress.minibatch, len(parts)):
            if self.progress.reports and self.progress.reports[-1].stopped is not None:
                break
            self._step(parts[index], batch.source, index)
        self._checkpoint()
        self._publish(batch, learning, corrected)

    def _correct(self, learning: Learning) -> tuple[Learning, dict[str, Any]]:
        """The batch in the three-policy form, if the run asks for it, and what that tells of the whole batch."""
        by = objective_of(self._config, self.progress.iteration)
        if self._config.loss.correction is None or by != "grpo":
            return learning, {}
        if self._proximal_T is None:
            assert self.progress.minibatch == 0, "the weights that the batch found are gone"
            self._proximal_T = self._fitting(
                lambda budget: proximal_logprobs(self._policy, learning.groups, budget, self._beat)
            )
        return correct_batch(learning, self._proximal_T, self._config.loss.correction, self._bounds().refuse)

    def _bounds(self) -> Bounds:
        return bounds_of(self._directory, self.progress.iteration, self._config.logprob_gate)

    def _step(self, groups: Any, source: str, index: int) -> None:
        bounds = self._bounds() if index == 0 else None
        if bounds is not None and self._proximal_T is not None:
            # The whole batch has passed already: what the mask left of its first part cannot fail it.
            bounds = replace(bounds, refuse=math.inf)

        def attempt(budget: int) -> StepReport:
            seed_minibatch(self._config.seed, self.progress)
            return take_step_by(
                self._policy,
                self._optimizer,
                groups,
                self._config,
                objective_of(self._config, self.progress.iteration),
                budget_tokens=budget,
                bounds=bounds,
                beat=lambda done: self._beat(f"  step {self.progress.step + 1}: {done:.0%} of its rows"),
            )

        with named(source):
            report = self._fitting(attempt)
        self.progress = self.progress.after(report)
        row = {
            "type": "step",
            "objective": objective_of(self._config, self.progress.iteration),
            "iteration": self.progress.iteration,
            "minibatch": index,
            "step": self.progress.step,
        }
        speed = {
            "logical_tokens_per_s": report.logical_tokens / report.seconds,
            "physical_tokens_per_s": report.physical_tokens / report.seconds,
            "peak_memory_bytes": _peak_memory_bytes(),
        }
        self._metrics.append({**row, **asdict(report), **speed})
        self._status.update(step=self.progress.step)
        self._say(_step_line(self.progress.step, report))
        if report.stopped is None and self.progress.step % self._config.checkpoint_every_steps == 0:
            self._checkpoint()

    def _fitting(self, attempt: Callable[[int], T]) -> T:
        """Tried with half the micro-batch for as long as memory does not suffice; what sufficed is kept."""
        while True:
            try:
                return attempt(self._budget_tokens)
            except OutOfMemoryError as error:
                smaller = min(self._budget_tokens, error.largest_tokens) // 2
                if smaller < 1 or error.rows == 1:
                    raise
                self._say(
                    f"  out of memory with {error.largest_tokens} tokens at once: trying {smaller} instead"
                )
                self._budget_tokens = smaller

    def _publish(self, batch: Batch, learning: Learning, corrected: dict[str, Any]) -> None:
        config, iteration = self._config, self.progress.iteration
        self._status.update(phase="publishing")
        reference = self._fitting(
            lambda budget: build_reference(
                self._policy,
                batch,
                config.probe.min_tokens,
                budget,
                config.base_model.digest,
                beat=lambda done: self._beat(f"  reference.json of adapter-{iteration}: {done:.0%}"),
            )
        )
        files = self._policy.adapter_files(config.base_model.path) | {
            "reference.json": encode_json(reference)
        }
        metrics = iteration_metrics(learning, self.progress.reports) | corrected
        fields = {
            "version": 1,
            "run_id": config.run_id,
            "agent": config.agent,
            "iteration": iteration,
            "step": self.progress.step,
            "base_model_digest": config.base_model.digest,
            "parent_adapter_digest": self._parent_digest(),
            "batch_digest": digest_of((self._directory / f"batch-{iteration}" / MANIFEST).read_bytes()),
            "lora": {"rank": config.lora.rank, "alpha": config.lora.alpha},
            "stages": stages_through(config, iteration),
            "sabotage": config.sabotage,
            "metrics": metrics,
        }
        digest = publish(self._directory / f"adapter-{iteration}", files, fields)
        self._metrics.append(
            {
                "type": "iteration",
                "objective": objective_of(config, iteration),
                "iteration": iteration,
                "adapter_digest": digest,
                **metrics,
            }
        )
        self._say(_iteration_line(_iteration_name(config, iteration), iteration, digest, metrics))

    def _parent_digest(self) -> str | None:
        before = self._directory / f"adapter-{self.progress.iteration - 1}" / MANIFEST
        if self.progress.iteration > 1:
            return digest_of(before.read_bytes())
        return self._config.start_adapter.digest if self._config.start_adapter else None

    def _checkpoint(self) -> None:
        if self.progress.step != (self._saved_step or 0):
            save_checkpoint(
                self._directory, self._config, self._policy, self._optimizer, self.progress, self._proximal_T
            )
            self._saved_step = self.progress.step

    def _beat(self, doing: str | None = None) -> None:
        if self._stop.is_set():
            raise InterruptError("asked to stop")
        self._status.beat()
        if doing is not None:
            self._pace(doing)


def _peak_memory_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _step_line(step: int, report: StepReport) -> str:
    rate = report.logical_tokens / report.seconds
    if report.stopped is not None:
        return f"  batch stopped before step {step + 1}: {report.stopped}"
    return (
        f"  step {step}: loss {report.loss:+.4f}, grad norm {report.grad_norm:.3f}, ratio p95 {report.ratio_p95:.3f}, "
        f"k3 {report.k3:.5f}, {report.sampled_tokens} sampled tokens, {rate:.0f} tokens/s"
    )


def _iteration_name(config: RunConfig, iteration: int) -> str:
    objective = objective_of(config, iteration)
    return f"iteration {iteration}/{config.iterations}" + ("" if objective == "grpo" else f" ({objective})")


def _iteration_line(name: str, iteration: int, digest: str, metrics: dict[str, Any]) -> str:
    masked = f", masked {metrics['sequences_masked']} sequences" if metrics.get("sequences_masked") else ""
    if metrics["members_without_probability"]:
        masked += f", left out {metrics['members_without_probability']} members without a probability"
    dropped = ", ".join(f"{n} {reason}" for reason, n in metrics["groups_dropped"].items()) or "none"
    reward = "none" if metrics["reward_mean"] is None else f"{metrics['reward_mean']:.3f}"
    return (
        f"{name}: published adapter-{iteration} {digest[7:19]}, mean reward {reward}, "
        f"kept {metrics['groups_kept']} groups, dropped {dropped}{masked}"
    )
