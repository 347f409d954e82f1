"""Independent reference of the canary's statistics, written from the formulas alone.

It goes by other means than src/promotion: plain linear space over whole arrays, products instead of running sums of
logs, the closed form of the beta functions instead of one-step predictions. Prints one JSON document: seeded streams
of units and the statistics after every twentieth of them.

    cd test/promotion/reference && python canary_reference.py > canary_reference.json
"""

import json
import math

import numpy as np

GAMMA = np.array([0.3, 0.4, 0.2, 0.1])
MULTIPLES = np.array([0.5, 1.0, 2.0, 4.0])
RATES = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0])
CONCENTRATION = 1000.0


def stream(
    seed: int, n: int, rates: tuple[float, float], weights: list[tuple[int, float]], missing: float
) -> list[dict]:
    """Units as a router makes them; `weights`: (first unit, weight) stages, `rates`: success of stable, candidate."""
    rng = np.random.default_rng(seed)
    units = []
    for i in range(n):
        p = [weight for first, weight in weights if i >= first][-1]
        candidate = bool(rng.random() < p)
        outcome: float | None = float(rng.random() < rates[int(candidate)])
        if rng.random() < 0.2:
            outcome = round(float(rng.random()), 3)  # graded outcomes exist too
        if rng.random() < missing:
            outcome = None
        bad = bool(rng.random() < (0.2 if candidate else 0.1))
        units.append({"arm": "candidate" if candidate else "stable", "p": p, "outcome": outcome, "bad": bad})
    return units


def betting(units: list[dict], side: str, delta: float, lambda0: float) -> tuple[np.ndarray, float]:
    """phi of every unit and the final K of one side."""
    worst = "candidate" if side == "promote" else "stable"
    factors = np.ones((len(units), 4))
    phis = np.zeros(len(units))
    for i, unit in enumerate(units):
        means = []
        for arm in ("stable", "candidate"):
            known = [
                0.0 if u["outcome"] is None else u["outcome"]
                for u in units[:i]
                if u["arm"] == arm and not (u["outcome"] is None and arm != worst)
            ]
            means.append((sum(known) + 1) / (len(known) + 2))
        m0, m1 = means
        a, p, y = float(unit["arm"] == "candidate"), unit["p"], unit["outcome"]
        g = m1 - m0
        if y is None and unit["arm"] != worst:
            phi = g
        else:
            y = 0.0 if y is None else y
            phi = g + a * (y - m1) / p - (1 - a) * (y - m0) / (1 - p)
        lo = min(g - m1 / p, g - (1 - m0) / (1 - p))
        hi = max(g + (1 - m1) / p, g + m0 / (1 - p))
        wish = lambda0 * MULTIPLES * 4 * p * (1 - p)
        if side == "promote":
            factors[i] = 1 + np.minimum(wish, 0.9 / (-lo - delta)) * (phi + delta)
        else:
            factors[i] = 1 - np.minimum(wish, 0.9 / hi) * phi
        phis[i] = phi
    return phis, float(GAMMA @ np.prod(factors, axis=0))


def guardrail(units: list[dict], r0: float) -> float:
    total = 0.0
    for r in r0 * RATES:
        product = 1.0
        for unit in units:
            if not unit["bad"]:
                continue
            w = unit["p"]
            q0 = w * r0 / (w * r0 + 1 - w)
            q = w * r / (w * r + 1 - w)
            product *= q / q0 if unit["arm"] == "candidate" else (1 - q) / (1 - q0)
        total += product
    return total / len(RATES)


def log_beta(x: float, y: float) -> float:
    return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)


def mismatch(units: list[dict]) -> float:
    product = 1.0
    for w in sorted({u["p"] for u in units}):
        t = sum(u["p"] == w for u in units)
        a = sum(u["p"] == w and u["arm"] == "candidate" for u in units)
        c = CONCENTRATION
        log = log_beta(c * w + a, c * (1 - w) + t - a) - log_beta(c * w, c * (1 - w))
        product *= math.exp(log - a * math.log(w) - (t - a) * math.log(1 - w))
    return product


def interval(units: list[dict], phis: np.ndarray, alpha: float, planned: float) -> dict:
    p = np.array([u["p"] for u in units])
    omega = 4 * p * (1 - p)
    mean = float((omega * phis).sum() / omega.sum())
    v = float((omega**2 * (phis - mean) ** 2).sum())
    eta = planned / 6.6
    half = math.sqrt(2 * (v + eta) * math.log(1 + math.sqrt((v + eta) / eta) / (2 * alpha))) / float(
        omega.sum()
    )
    return {"mean": mean, "low": mean - half, "high": mean + half}


CASES = [
    {
        "name": "better",
        "seed": 1,
        "rates": (0.5, 0.8),
        "weights": [(0, 0.1), (40, 0.5)],
        "missing": 0.0,
        "delta": 0.0,
        "lambda0": 0.18,
    },
    {
        "name": "worse",
        "seed": 2,
        "rates": (0.8, 0.5),
        "weights": [(0, 0.1), (40, 0.5)],
        "missing": 0.0,
        "delta": 0.0,
        "lambda0": 0.18,
    },
    {
        "name": "missing",
        "seed": 3,
        "rates": (0.7, 0.7),
        "weights": [(0, 0.05), (60, 0.2), (120, 0.5)],
        "missing": 0.15,
        "delta": 0.05,
        "lambda0": 0.06,
    },
    {
        "name": "stakes at their bound",
        "seed": 4,
        "rates": (0.95, 0.9),
        "weights": [(0, 0.01), (80, 0.99)],
        "missing": 0.05,
        "delta": 0.3,
        "lambda0": 4.0,
    },
]


def main() -> None:
    results = []
    for case in CASES:
        units = stream(case["seed"], 200, case["rates"], case["weights"], case["missing"])
        checkpoints = []
        for n in range(20, 201, 20):
            seen = units[:n]
            phis, promote = betting(seen, "promote", case["delta"], case["lambda0"])
            phis_harm, harm = betting(seen, "harm", case["delta"], case["lambda0"])
            checkpoints.append(
                {
                    "n": n,
                    "phiPromote": float(phis[-1]),
                    "phiHarm": float(phis_harm[-1]),
                    "kPromote": promote,
                    "kHarm": harm,
                    "guardrail": guardrail(seen, 1.0),
                    "guardrailLatency": guardrail(seen, 2.0),
                    "mismatchAssigned": mismatch(seen),
                    "mismatchScored": mismatch([u for u in seen if u["outcome"] is not None]),
                    "effect": interval(seen, phis, 0.05, 150.0),
                }
            )
        results.append(
            {
                "name": case["name"],
                "delta": case["delta"],
                "lambda0": case["lambda0"],
                "units": units,
                "checkpoints": checkpoints,
            }
        )
    print(json.dumps(results, separators=(",", ":")))


if __name__ == "__main__":
    main()
