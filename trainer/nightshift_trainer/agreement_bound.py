"""How far from its sampler a batch may be, before anything has moved. No torch here."""

from dataclasses import dataclass
from pathlib import Path

from nightshift_trainer.config import LogprobGate
from nightshift_trainer.handover import MANIFEST, read_manifest

NOISE = 1e-3
"""Nothing below this is left for its growth: it moves no ratio by more than a thousandth."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """On the mean |trainer − sampler| logprob of a batch's first step.

    Above `refuse` the batch is an error: another adapter, template or base sampled it. Above `leave` nothing is learned
    from it and the run goes on: a step sees some groups of a batch, which may differ in this by chance.
    """

    refuse: float
    leave: float


def bounds_of(directory: Path, iteration: int, gate: LogprobGate) -> Bounds:
    """Of batch `iteration`: the configured bound, and with `max_growth` so many times what the run's first batch
    showed.

    The first batch was sampled with the policy that the run starts from, on the server that samples the others: the
    base model's own |Δ| where the run starts from the base. It is read from the adapter that came of that batch, so a
    resumed run finds the same bound.
    """
    if gate.max_growth is None:
        return Bounds(gate.max_mean_abs_delta, gate.max_mean_abs_delta)
    for earlier in range(1, iteration):
        manifest = read_manifest(directory / f"adapter-{earlier}")
        if manifest is None:
            raise FileNotFoundError(directory / f"adapter-{earlier}" / MANIFEST)
        first = manifest["metrics"].get("logprob_mean_abs_delta")
        if first is not None:
            grown = max(gate.max_growth * first, NOISE)
            return Bounds(gate.max_mean_abs_delta, min(gate.max_mean_abs_delta, grown))
    return Bounds(gate.max_mean_abs_delta, gate.max_mean_abs_delta)
