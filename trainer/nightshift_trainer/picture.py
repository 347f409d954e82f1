"""The panels of a run's picture. Every optimiser step has one place on the x axis; so has an iteration without any."""

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from math import isnan, nan
from typing import IO, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

Row = dict[str, Any]

# Colours that the colour-blind tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B7280"
INK, BAND, GRID = "#1F2937", "#F3F4F6", "#E5E7EB"
MOST_TICKS, MOST_LABELS, MOST_MARKERS = 12, 16, 80

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nightshift",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.5,
}


@dataclass(frozen=True, slots=True)
class Slots:
    """`steps` in the order of the x axis, None where an iteration took none; an iteration's slots are `spans`
    (first, last), its published row is in `iterations`."""

    steps: tuple[Row | None, ...]
    spans: dict[int, tuple[int, int]]
    iterations: dict[int, Row]

    def values(self, key: str) -> list[float]:
        """A number per slot; NaN where there is none."""
        return [_number(row, key) for row in self.steps]


def slots_of(rows: Seq[Row]) -> Slots:
    """Rows of metrics.jsonl, of kinds that this picture does not know too."""
    steps: list[Row | None] = []
    spans: dict[int, tuple[int, int]] = {}
    published = {row["iteration"]: row for row in rows if row.get("type") == "iteration"}
    taken = [row for row in rows if row.get("type") == "step"]
    for iteration in sorted({row["iteration"] for row in (*taken, *published.values())}):
        own = [row for row in taken if row["iteration"] == iteration]
        spans[iteration] = (len(steps), len(steps) + max(len(own), 1) - 1)
        steps.extend(own or [None])
    return Slots(tuple(steps), spans, published)


def draw(rows: Seq[Row], title: str, out: IO[bytes], kind: str) -> None:
    """Writes the picture as `kind`, svg or png."""
    slots = slots_of(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(10, 10.4),
            layout=ConstrainedLayoutEngine(hspace=0.04, wspace=0.03, rect=(0, 0, 1, 0.945)),
        )
        panels: Seq[Seq[Axes]] = figure.subplots(4, 2, sharex=True)
        for axes, panel in zip([a for row in panels for a in row], PANELS, strict=True):
            panel(axes, slots)
            _frame(axes, slots)
        for axes in panels[0]:
            _name_iterations(axes, slots)
        for axes in panels[-1]:
            _name_steps(axes, slots)
        figure.text(0.012, 0.99, title, ha="left", va="top", fontsize=13, fontweight="bold")
        figure.text(0.012, 0.966, _facts(slots), color=GREY, ha="left", va="top")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=150, metadata=metadata)


def _reward(axes: Axes, slots: Slots) -> None:
    axes.set_title("Reward of the batch (band: deviation inside groups)")
    for iteration, (first, last) in slots.spans.items():
        mean = _number(slots.iterations.get(iteration), "reward_mean")
        spread = _number(slots.iterations.get(iteration), "reward_spread")
        span = (first - 0.5, last + 0.5)
        axes.fill_between(span, mean - spread, mean + spread, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(span, (mean, mean), color=BLUE, linewidth=2.2, solid_capstyle="butt")
        if not isnan(mean) and len(slots.spans) <= MOST_LABELS:
            middle = (first + last) / 2
            axes.annotate(
                f"{mean:.2f}", (middle, mean), (0, 3), textcoords="offset points", ha="center", color=BLUE
            )
    axes.margins(y=0.1)
    _leave_room(axes)


def _groups(axes: Axes, slots: Slots) -> None:
    axes.set_title("Groups of the batch")
    for iteration, (first, last) in slots.spans.items():
        row = slots.iterations.get(iteration) or {}
        kept, dropped = row.get("groups_kept", 0), sum(row.get("groups_dropped", {}).values())
        middle, width = (first + last) / 2, 0.7 * (last - first + 1)
        axes.bar(middle, kept, width, color=GREEN, label="kept")
        axes.bar(middle, dropped, width, bottom=kept, color=ORANGE, alpha=0.75, label="dropped")
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[:2], names[:2], loc="lower right", ncols=2, bbox_to_anchor=(1, 0.98), borderpad=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_ylim(bottom=0)
    _leave_room(axes)


def _leave_room(axes: Axes) -> None:
    """For the iterations' names at the top."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.12 * (top - bottom))


def _curve(title: str, *series: tuple[str, str, str], level: float | None = None, zero: bool = False) -> Any:
    """A panel of (key, colour, name) lines. `level` is drawn as a reference; `zero` begins the axis there."""

    def panel(axes: Axes, slots: Slots) -> None:
        axes.set_title(title)
        places = range(len(slots.steps))
        marker = "o" if len(places) <= MOST_MARKERS else ","
        if level is not None:
            axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        measured = False
        for key, colour, name in series:
            values = slots.values(key)
            measured = measured or not all(map(isnan, values))
            axes.plot(places, values, color=colour, marker=marker, markersize=3.5, label=name)
            axes.plot(
                [x for x in places if _is_stopped(slots.steps[x])],
                [values[x] for x in places if _is_stopped(slots.steps[x])],
                color=colour,
                marker="o",
                markersize=5,
                markerfacecolor="white",
                linestyle="none",
            )
        if not measured:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
            axes.set_yticks([])
        if len(series) > 1:
            axes.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 0.98), borderpad=0)
        axes.margins(y=0.12)
        if zero and measured:
            axes.set_ylim(bottom=0)

    return panel


PANELS: tuple[Callable[[Axes, Slots], None], ...] = (
    _reward,
    _groups,
    _curve("k3: drift from the sampler", ("k3", BLUE, "k3"), zero=True),
    _curve("KL to the base model", ("kl_to_base", BLUE, "KL"), level=0),
    _curve("Entropy, nats per token", ("entropy", BLUE, "entropy")),
    _curve("Gradient norm before clipping", ("grad_norm", BLUE, "norm"), zero=True),
    _curve("Ratio to the sampler, 95th percentile", ("ratio_p95", BLUE, "ratio"), level=1),
    _curve(
        "Tokens per second",
        ("logical_tokens_per_s", BLUE, "logical"),
        ("physical_tokens_per_s", ORANGE, "physical"),
        zero=True,
    ),
)


def _frame(axes: Axes, slots: Slots) -> None:
    """Every other iteration shaded, numbers as short as they can be."""
    for number, (first, last) in enumerate(slots.spans.values()):
        if number % 2 == 0:
            axes.axvspan(first - 0.5, last + 0.5, color=BAND, linewidth=0, zorder=0)
    axes.set_xlim(-0.5, len(slots.steps) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: object) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _name_iterations(axes: Axes, slots: Slots) -> None:
    stride = -(-len(slots.spans) // MOST_LABELS)
    for number, (iteration, (first, last)) in enumerate(slots.spans.items()):
        if number % stride == 0:
            axes.annotate(
                f"iteration {iteration}" if len(slots.spans) <= 4 else str(iteration),
                ((first + last) / 2, 1),
                (0, -9),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=GREY,
            )


def _name_steps(axes: Axes, slots: Slots) -> None:
    stride = -(-len(slots.steps) // MOST_TICKS)
    places = range(0, len(slots.steps), stride)
    axes.set_xticks(list(places), [_step_name(slots.steps[place]) for place in places])
    axes.set_xlabel("optimiser step")


def _step_name(row: Row | None) -> str:
    if row is None:
        return "none"
    return "stopped" if _is_stopped(row) else str(row.get("step", ""))


def _facts(slots: Slots) -> str:
    rows = [row for row in slots.steps if row is not None]
    stopped = sum(map(_is_stopped, rows))
    seconds = sum(row.get("seconds", 0) for row in rows)
    facts = [
        f"{len(slots.iterations)} iterations published",
        f"{len(rows) - stopped} steps",
        f"{seconds:.1f} s in steps",
    ]
    if stopped:
        facts.append(f"{stopped} stopped before the weights moved (hollow)")
    return "  ·  ".join(facts)


def _is_stopped(row: Row | None) -> bool:
    return row is not None and row.get("stopped") is not None


def _number(row: Row | None, key: str) -> float:
    value = (row or {}).get(key)
    return value if isinstance(value, int | float) else nan
