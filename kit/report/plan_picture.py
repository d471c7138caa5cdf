"""A plan as a picture: what a device holds compared with its memory, and what it sends."""

from collections import defaultdict
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kit.tpu.plan import Plan

#: Kinds of layers: what their paths can contain, and their colours, which people who are
#: colour-blind to red and green can distinguish (Okabe and Ito, 2008).
KINDS = {
    "embeddings": (("embed",), "#0072B2"),
    "attention": (("attention/", "attention_N/", "attn"), "#E69F00"),
    "feed-forward": (("ffw_", "feedforward", "feed_forward", "ffn", "mlp", "dense", "expert"), "#009E73"),
    "adapters": (("lora_",), "#CC79A7"),
}
MOMENTS = ("moments", "#999999")
OTHERS = ("other", "#000000")
TEMPORARIES = ("temporaries", "#F0E442")
GIGABYTE = 1e9
#: A part of the bar has its number if it is at least this share of the axis.
LEAST_LABELLED = 0.04
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}


def draw(plan: Plan, preset: str, file: Path) -> None:
    """Draw a plan of the model ``preset`` as ``.svg`` or ``.png``, by the file's suffix."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    held, sent = figure.subplots(2, 1, height_ratios=(1, 2))
    settings = plan.settings
    tuned = f"LoRA of rank {settings.rank}" if settings.rank else "all parameters trained"
    figure.suptitle(
        f"{preset} on {plan.topology.name}: {plan.answer}\n"
        f"mesh {'x'.join(map(str, settings.mesh))}, {tuned}, {settings.dtype}, "
        f"batch {settings.batch_size} x {settings.sequence_length}",
        fontsize=11,
    )
    shown = _draw_held(held, plan) | _draw_sent(sent, plan)
    colours = {name: colour for name, (_, colour) in KINDS.items()} | dict((MOMENTS, OTHERS, TEMPORARIES))
    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items() if name in shown],
        loc="outside lower center",
        ncols=len(colours),
        frameon=False,
        fontsize=9,
    )
    # Text stays text in SVG, so that it can be searched, read aloud and copied.
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, dpi=150, metadata={"Title": figure.get_suptitle()})


def _kind(variable: str) -> tuple[str, str]:
    # An adapter is inside the attention.
    kinds = ("adapters", "embeddings", "attention", "feed-forward")
    return next(((name, KINDS[name][1]) for name in kinds if any(part in variable for part in KINDS[name][0])), OTHERS)


def _draw_held(axes, plan: Plan) -> set[str]:  # type: ignore[no-untyped-def]  # matplotlib's Axes are not typed
    pieces: dict[tuple[str, str], float] = defaultdict(float)
    for variable, _, nbytes in plan.held:
        pieces[MOMENTS if variable.startswith("optimizer: ") else _kind(variable)] += float(nbytes)
    pieces[TEMPORARIES] += float(plan.temporaries)
    total, usable = sum(pieces.values()) / GIGABYTE, plan.usable / GIGABYTE
    widest = 1.12 * max(usable, total)
    left = 0.0
    for (_, colour), held in sorted(pieces.items(), key=lambda piece: -piece[1]):
        size = held / GIGABYTE
        axes.barh(0, size, 0.6, left=left, color=colour)
        if size > LEAST_LABELLED * widest:
            axes.text(left + size / 2, 0, f"{size:.2f}", ha="center", va="center", fontsize=9, bbox=BEHIND_TEXT)
        left += size
    axes.axvline(usable, color="#D55E00", linestyle="--")
    axes.text(usable, 0.55, f"usable: {usable:.2f} GB  ", ha="right", va="bottom", color="#B34700", fontsize=9)
    axes.annotate(f" {total:.2f} GB", (total, 0), va="center")
    axes.set(yticks=[], ylim=(-0.4, 0.95), xlim=(0, widest), xlabel="GB per device")
    blocks = f" by {plan.layers} of {plan.preset_layers} blocks" if plan.layers < plan.preset_layers else ""
    axes.set_title(f"held{blocks}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return {name for (name, _), size in pieces.items() if size}


def _draw_sent(axes, plan: Plan) -> set[str]:  # type: ignore[no-untyped-def]  # matplotlib's Axes are not typed
    by_kind: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for cause in plan.causes or ():
        by_kind[cause.kind][_kind(f"{cause.layer_kind}/")] += cause.nbytes / 1e6
    blocks = f" of {plan.layers} of {plan.preset_layers} blocks" if plan.layers < plan.preset_layers else ""
    axes.set_title(f"collectives per step{blocks}", loc="left")
    axes.set_xlabel("MB of results per device")
    if not by_kind:
        axes.text(0.5, 0.5, "the compiler returned no program", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return set()
    counts = plan.by_kind()
    for row, (kind, pieces) in enumerate(sorted(by_kind.items())):
        left = 0.0
        for (_, colour), size in sorted(pieces.items(), key=lambda piece: -piece[1]):
            axes.barh(row, size, 0.6, left=left, color=colour)
            left += size
        axes.annotate(f" {counts[kind][0]}: {left:.1f} MB", (left, row), va="center")
    axes.set_yticks(range(len(by_kind)), sorted(by_kind))
    axes.margins(x=0.15)
    axes.set_ylim(len(by_kind) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return {name for pieces in by_kind.values() for name, _ in pieces}
