"""The report of a run: one page, from the files in the run folder. Imports no framework."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import unknown_name
from kit.report.completions import folded, judged_prompts, own_completions
from kit.report.loss_curve import loss_curve
from kit.report.page import render_page, write_page
from kit.report.replicated_variables import ReplicatedKind, replicated_kinds
from kit.report.sharded_variables import EMBEDDINGS, ITEM_SIZES, sharded_variables
from kit.report.sharding_picture import draw
from kit.report.training_tables import training_evidence
from kit.run.finished import open_finished_run
from kit.run.generations import Generations, read_generations
from kit.run.metrics import METRICS_FILE, StepRecord, read_metrics
from kit.run.result import RuleCount, RunResult, Spec, axes_of, mesh_axes

REPORT_FILE = "report.html"
#: How many kinds of replicated variables are shown, the largest first.
REPLICATED_KINDS = 8
#: A kind of replicated variables is marked from this share of the model's bytes on.
REPLICATED_SHARE = 0.01


def write_report(folder: Path, section: str | None = None) -> Path:
    """Write ``report.html`` into the folder of a finished run, over an earlier one; return it.

    With a section the page has this section alone, in a file such as ``report-loss.html``. Raises
    UserError if the folder is not that of a finished run, a file is missing or damaged, there is no
    such section, or the page cannot be written; then an earlier page is unchanged.
    """
    result = open_finished_run(str(folder)).result
    page = render(result, read_metrics(folder / METRICS_FILE), read_generations(folder))
    file = folder / REPORT_FILE
    if section is not None:
        page = section_of(page, section)
        file = file.with_stem(f"{file.stem}-{section}")
    write_page(file, page)
    return file


def section_of(page: str, section: str) -> str:
    """The page with one of its sections, without header, contents and footer.

    Raises UserError if there is no such section.
    """
    content = page.partition('<main id="content">\n')[2].partition("</main>")[0]
    sections = {text.partition('"')[0]: text for text in re.split('<h2 id="', content)[1:]}
    if section not in sections:
        raise unknown_name("section", section, sections)
    head = page.partition("<body>\n")[0]
    return f'{head}<body>\n<main id="content">\n<h2 id="{sections[section]}</main>\n</body>\n</html>\n'


def render(result: RunResult, steps: tuple[StepRecord, ...], generations: Generations) -> str:
    """The page as a text."""
    prompts = judged_prompts(generations)
    model = _model_bytes(result)
    block = [variable for variable in sharded_variables(result) if variable.path != EMBEDDINGS]
    kinds = replicated_kinds(result, block)
    return render_page(
        "run_report.html",
        FILTERS,
        **loss_and_sharding(result, steps),
        **training_evidence(result, steps),
        prompts=prompts,
        completions_by_prompts=folded(prompts),
        completions=own_completions(result),
        model=model,
        title=f"{'Control run' if result.control else 'Run'} of {Path(result.preset).name}",
        held=_held_bytes(result, model),
        rules=[_rule_row(rule, result) for rule in result.rule_coverage.rules],
        replicated=[_replicated_row(kind, model.nbytes, result.device_count) for kind in kinds[:REPLICATED_KINDS]],
        other_kinds=len(kinds[REPLICATED_KINDS:]),
        settings=_settings(result),
        started=f"{result.started.day} {result.started:%B %Y, %H:%M} {result.started.tzname() or ''}".strip(),
    )


def loss_and_sharding(result: RunResult, steps: tuple[StepRecord, ...]) -> dict[str, Any]:
    """What ``loss_chart.html`` and ``sharding_cards.html`` show."""
    variables = sharded_variables(result)
    names = device_names(result)
    return {
        "run": result,
        "steps": steps,
        "curve": loss_curve(steps, result.resumed),
        "pictures": [draw(variable, result.mesh, names) for variable in variables],
        "embeddings_drawn": any(variable.path == EMBEDDINGS for variable in variables),
    }


@dataclass(frozen=True)
class ModelBytes:
    """Bytes of the model, each variable counted once."""

    #: Of the backbone as it is loaded.
    nbytes: int
    #: What the layout map predicted for each device; None if the run recorded it only with
    #: adapters.
    predicted: int | None
    #: Of the adapters that the rules were asked about as well.
    nbytes_of_adapters: int


@dataclass(frozen=True)
class HeldBytes:
    """What the devices hold, compared with replication."""

    #: Device, bytes, and percent of the whole model.
    rows: tuple[tuple[str, int, float], ...]
    least: int
    most: int
    #: Whether this is not what the layout map predicted.
    surprising: bool


@dataclass(frozen=True)
class RuleRow:
    """A rule, and a warning if it matches or splits nothing."""

    pattern: str
    spec: Spec
    variables: int
    nbytes: int
    #: "" if there is none.
    warning: str


@dataclass(frozen=True)
class ReplicatedRow:
    """Replicated variables of one kind."""

    kind: str
    variables: int
    nbytes: int | None
    #: Of the model's bytes.
    share: float | None
    stands_out: bool


def device_names(result: RunResult) -> tuple[str, ...]:
    """The devices in the mesh's order; numbered if the process knew only its own."""
    found = result.mesh_devices or tuple(result.nbytes_per_device)
    numbers = range(result.device_count)
    return found if len(found) == len(numbers) else tuple(f"device {number}" for number in numbers)


def _model_bytes(result: RunResult) -> ModelBytes:
    coverage = result.rule_coverage
    if coverage.loaded:
        nbytes, predicted = coverage.loaded.nbytes, coverage.loaded.nbytes_per_device
        return ModelBytes(nbytes, predicted, coverage.nbytes - nbytes)
    # An older run: if the rules match adapters, its sums may include them.
    counted = result.parameters.before.total * ITEM_SIZES[result.settings.weight_dtype]
    if coverage.nbytes <= counted:
        return ModelBytes(coverage.nbytes, coverage.nbytes_per_device, 0)
    return ModelBytes(counted, None, coverage.nbytes - counted)


def _held_bytes(result: RunResult, model: ModelBytes) -> HeldBytes:
    held = result.nbytes_per_device
    rows = tuple((name, nbytes, 100 * nbytes / max(1, model.nbytes)) for name, nbytes in held.items())
    least, most = min(held.values(), default=0), max(held.values(), default=0)
    surprising = model.predicted is not None and {least, most} != {model.predicted}
    return HeldBytes(rows, least, most, surprising)


def _rule_row(rule: RuleCount, result: RunResult) -> RuleRow:
    slices = math.prod(result.mesh[axis] for axis in mesh_axes(rule.spec))
    warning = ""
    if not rule.variables:
        warning = "matches nothing"
    # On one device nothing can be split.
    elif slices == 1 and result.device_count > 1:
        warning = "splits nothing"
    return RuleRow(rule.pattern, rule.spec, rule.variables, rule.nbytes, warning)


def _replicated_row(row: ReplicatedKind, nbytes: int, device_count: int) -> ReplicatedRow:
    share = None if row.nbytes is None else row.nbytes / max(1, nbytes)
    stands_out = share is not None and share >= REPLICATED_SHARE and device_count > 1
    return ReplicatedRow(row.kind, row.variables, row.nbytes, share, stands_out)


def _settings(result: RunResult) -> list[tuple[str, str]]:
    texts = {name: _as_number(value) for name, value in vars(result.settings).items()}
    texts["prompt"] = f'"{result.settings.prompt}"'
    return [(f"--{name.replace('_', '-')}", text) for name, text in texts.items()]


def _as_spec(spec: Spec) -> str:
    return "(" + ", ".join("+".join(axes_of(entry)) or "-" for entry in spec) + ")"


#: What templates about runs need.
FILTERS: dict[str, Callable[[Any], str]] = {
    "spec": _as_spec,
    "nats": lambda value: f"{value:.4f}",
    "gain": lambda value: f"{value:+.4f}",
    # 1e-5, not 1e-05.
    "limit": lambda value: re.sub("e-0*", "e-", f"{value:.0e}"),
    "within": lambda path: path.partition("/")[2] if path.startswith("decoder_block_") else path,
}


def _as_number(value: Any) -> str:
    """A number without unnecessary digits; anything else as text."""
    if isinstance(value, float):
        return "−∞" if value == -math.inf else f"{value:g}"
    return str(value)
