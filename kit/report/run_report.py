"""The report of a run: one page that needs no network, from the files in the run's folder. Imports no framework."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.report.loss_curve import loss_curve
from kit.report.page import render_page, write_page
from kit.report.run_files import EMBEDDINGS, Axes, Run, read_run
from kit.report.sharding_picture import draw

REPORT_FILE = "report.html"
#: So many kinds of replicated variables are shown, the largest first.
REPLICATED_KINDS = 8
#: A kind of variables that every device holds whole stands out from this share of the model's bytes on.
REPLICATED_SHARE = 0.01


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run, over an earlier one.

    Args:
        folder: With ``run.json``, ``metrics.jsonl`` and ``generations.json``, as ``kit run`` writes them.

    Returns:
        The page.

    Raises:
        UserError: if the folder is not that of a finished run, a file is missing or damaged, or the page cannot be
            written. Then an earlier page is left as it was.

    """
    page = render(read_run(folder))
    write_page(folder / REPORT_FILE, page)
    return folder / REPORT_FILE


def render(run: Run) -> str:
    """The page as a text."""
    pictures = [draw(variable, run.mesh, run.devices) for variable in run.variables]
    return render_page(
        "run_report.html",
        {
            "spec": _as_spec,
            "nats": lambda value: f"{value:.4f}",
            "gain": lambda value: f"{value:+.4f}",
            "number": _as_number,
            "within": lambda path: path.partition("/")[2] if path.startswith("decoder_block_1/") else path,
        },
        run=run,
        title=_title(run),
        curve=loss_curve(run.steps, run.resumed),
        pictures=pictures,
        embeddings_drawn=any(variable.path == EMBEDDINGS for variable in run.variables),
        held=_held(run),
        rules=_rules(run),
        replicated=_replicated(run),
        settings=_settings(run),
        started=f"{run.started.day} {run.started:%B %Y, %H:%M} {run.started.tzname() or ''}".strip(),
    )


@dataclass(frozen=True)
class Held:
    """What the devices hold, against what a copy on each would be."""

    #: Device, bytes, and percent of the whole model.
    rows: tuple[tuple[str, int, float], ...]
    least: int
    most: int
    #: Whether these are not what the layout map said.
    surprising: bool


@dataclass(frozen=True)
class RuleRow:
    """A rule, and what a reader should see of it."""

    pattern: str
    spec: tuple[Axes, ...]
    variables: int
    nbytes: int
    #: In how many parts it splits what it matches.
    parts: int
    #: Empty if there is nothing to say.
    warning: str


@dataclass(frozen=True)
class ReplicatedRow:
    """Variables of one kind that each device holds whole."""

    kind: str
    variables: int
    nbytes: int | None
    #: Of the model's bytes.
    share: float | None
    stands_out: bool


def _title(run: Run) -> str:
    return f"{'Control run' if run.control else 'Run'} of {Path(run.preset).name}"


def _held(run: Run) -> Held:
    rows = tuple((name, nbytes, 100 * nbytes / max(1, run.nbytes)) for name, nbytes in run.held.items())
    least, most = min(run.held.values(), default=0), max(run.held.values(), default=0)
    return Held(
        rows, least, most, surprising=run.nbytes_foretold is not None and {least, most} != {run.nbytes_foretold}
    )


def _rules(run: Run) -> list[RuleRow]:
    rows = []
    for rule in run.rules:
        parts = math.prod(run.mesh[axis] for axes in rule.spec for axis in axes)
        # With one device nothing can be split.
        warning = ""
        if not rule.variables:
            warning = "matches nothing"
        elif parts == 1 and run.device_count > 1:
            warning = "splits nothing"
        rows.append(RuleRow(rule.pattern, rule.spec, rule.variables, rule.nbytes, parts, warning))
    return rows


def _replicated(run: Run) -> list[ReplicatedRow]:
    rows = []
    for row in run.replicated:
        share = None if row.nbytes is None else row.nbytes / max(1, run.nbytes)
        rows.append(
            ReplicatedRow(
                row.kind,
                row.variables,
                row.nbytes,
                share,
                stands_out=share is not None and share >= REPLICATED_SHARE and run.device_count > 1,
            )
        )
    return rows[:REPLICATED_KINDS]


def _settings(run: Run) -> list[tuple[str, str]]:
    return [
        (f"--{name.replace('_', '-')}", f'"{value}"' if name == "prompt" else _as_number(value))
        for name, value in run.settings.items()
    ]


def _as_spec(spec: tuple[Axes, ...]) -> str:
    return "(" + ", ".join("+".join(axes) or "-" for axes in spec) + ")"


def _as_number(value: Any) -> str:
    """A number without needless digits; anything else as it is."""
    if isinstance(value, float):
        return "−∞" if value == -math.inf else f"{value:g}"
    return str(value)
