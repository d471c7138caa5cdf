"""Ask the TPU compiler about a step of Gemma 7B: ``python -m kit.course.planning.ask --help``.

It needs libtpu, and no TPU, no weights, and no solution of any exercise.
"""

import argparse
import dataclasses
import json
import subprocess
import sys

from kit.errors import UserError
from kit.formatting import format_bytes
from kit.models.settings import DTYPES
from kit.tpu.topologies import TOPOLOGIES, find_topology

#: Decoder blocks of Gemma 7B, and the numbers of blocks that are compiled in their place: a
#: straight line through both gives arguments, collectives and operations of all blocks.
#: Temporaries are near the line with remat; without, the line gives more than the whole program
#: needs.
ALL, FEW = 28, (2, 4)


@dataclasses.dataclass(frozen=True)
class Question:
    """The step that is compiled."""

    topology: str
    mesh: tuple[int, int]
    dtype: str = "float32"
    #: Of LoRA; 0 trains all parameters.
    rank: int = 4
    batch_size: int = 2
    sequence_length: int = 128
    remat: bool = False
    #: Decoder blocks. Of all 28, the figures are extrapolated from :data:`FEW`.
    layers: int = ALL


@dataclasses.dataclass(frozen=True)
class Answer:
    """The compiler's figures. Bytes are those of one device, seconds those of one step."""

    fits: bool
    arguments: int
    temporaries: int
    peak: int
    usable: int
    #: None if the step does not fit. Lower bounds by the published peaks of the device.
    compute: float | None = None
    hbm: float | None = None
    links: float | None = None
    #: The compiler's own estimate, without the links; None if it gives none.
    compiler_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of a step as this exercise counts them. Call it only if the step fits."""
        assert self.compute is not None
        assert self.hbm is not None
        assert self.links is not None
        return max(self.compute, self.hbm) + self.links


def ask(question: Question) -> Answer:
    """The compiler's answer, from another process, which simulates as many devices as the slice.

    Raises UserError if it gives none.
    """
    command = [sys.executable, "-m", "kit.course.planning.ask", question.topology, "x".join(map(str, question.mesh))]
    for name in ("dtype", "rank", "batch_size", "sequence_length", "layers"):
        command += [f"--{name.replace('_', '-')}", str(getattr(question, name))]
    command += ["--json", *(["--remat"] if question.remat else [])]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or ["it printed nothing"]
        raise UserError(f"the compiler gave no answer: {lines[-1]}")
    return Answer(**json.loads(finished.stdout.splitlines()[-1]))


def _answer(question: Question) -> Answer:
    """Compile the step in this process."""
    from kit.runtime.platform import prepare_environment

    topology = find_topology(question.topology)
    prepare_environment("cpu", topology.devices)
    from kit.course.planning.cases import with_layers
    from kit.course.shared import tpu_step
    from kit.tpu.plan import make_plan
    from kit.tpu.step import StepSettings

    settings = StepSettings(
        question.mesh,
        question.rank,
        question.batch_size,
        question.sequence_length,
        question.dtype,
        question.remat,
    )
    few = FEW if question.layers == ALL else ()
    # Many texts on a device take minutes to compile with full effort.
    effort = "quick" if few else "full"
    plan = make_plan(with_layers(question.layers), topology, settings, tpu_step.right_parts(), few, effort=effort)
    found = Answer(plan.fits, plan.arguments, plan.temporaries, plan.peak, plan.usable)
    if plan.roofline is None or not plan.fits:
        return found
    compute, hbm, links = dataclasses.astuple(plan.roofline)
    return dataclasses.replace(found, compute=compute, hbm=hbm, links=links, compiler_seconds=plan.compiler_seconds)


def _shown(answer: Answer) -> list[str]:
    rows = [(name, format_bytes(getattr(answer, name))) for name in ("arguments", "temporaries", "peak", "usable")]
    rows.append(("fits", "yes" if answer.fits else "no"))
    for name in ("compute", "hbm", "links", "compiler_seconds"):
        value = getattr(answer, name)
        rows.append((name, "-" if value is None else f"{value:.4f} s per step"))
    return [f"{name:<18}{value}" for name, value in rows]


def options_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m kit.course.planning.ask", description=__doc__)
    parser.add_argument("topology", choices=sorted(TOPOLOGIES))
    parser.add_argument("mesh", help='sizes of "batch" and "model", as in 2x4')
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--rank", type=int, default=4, help="of LoRA; 0 trains all parameters")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--layers", type=int, default=ALL, help=f"decoder blocks; all {ALL} are extrapolated")
    parser.add_argument("--remat", action="store_true", help="compute activations again in the backward pass")
    parser.add_argument("--json", action="store_true")
    return parser


def main() -> None:
    """Read the options, ask, and print."""
    options = vars(options_parser().parse_args())
    as_json = options.pop("json")
    batch, _, model = options.pop("mesh").partition("x")
    try:
        answer = _answer(Question(mesh=(int(batch), int(model)), **options))
    except (UserError, ValueError) as error:
        sys.exit(str(error))
    print(json.dumps(dataclasses.asdict(answer)) if as_json else "\n".join(_shown(answer)))


if __name__ == "__main__":
    main()
