"""The slices that ``choose_run`` can take, what they cost, and what a run on them costs."""

from kit.course.planning import oracles
from kit.course.planning.cases import GEMMA, Case
from kit.course.planning.chosen_run import ChosenRun
from kit.tpu.topologies import find_topology

#: Texts of the run, and tokens of each.
TEXTS, LENGTH = 32_768, 512
LEAST_BATCH, LEAST_RANK = 32, 8
#: Dollars.
BUDGET = 0.80
#: Dollars for an hour of a chip, and bytes that libtpu 0.0.42.1 gives a program on a device. The
#: prices are this exercise's own.
CHIP_HOUR = {"v5e-8": 1.20, "v5e-16": 1.20, "v6e-8": 2.70, "v5p-8": 4.20}
USABLE = {"v5e-8": 16.91e9, "v5e-16": 16.91e9, "v6e-8": 33.55e9, "v5p-8": 102.80e9}
#: How far the stated price may be from the compiler's.
PRICE_TOLERANCE = 0.10


def dollars(topology: str, seconds_per_step: float, batch_size: int) -> float:
    """What the run costs."""
    hours = seconds_per_step * (TEXTS / batch_size) / 3600
    return hours * find_topology(topology).chips * CHIP_HOUR[topology]


def least_seconds(run: ChosenRun) -> tuple[float, float]:
    """Lower bounds of the seconds of a step: of its products, and of what it sends.

    Two operations per parameter and token in the forward pass, two for the gradients of
    activations, two for those of weights if all are trained, and two for remat. The embeddings of
    the logits are not computed again, and attention comes on top: 5 % are left for this.
    """
    topology = find_topology(run.topology)
    passes = 2 + (run.rank == 0) + run.remat
    parameters = oracles.argument_nbytes(Case("", GEMMA, (1, 1), "float32", 4)) / 4
    compute = 0.95 * 2 * passes * parameters * run.batch_size * LENGTH / topology.devices / topology.peak_flops
    case = Case("", GEMMA, run.mesh, "float32", run.rank, batch_size=run.batch_size, length=LENGTH)
    sent = oracles.sent_nbytes(case)
    activations = sent["model"] if run.dtype == "float32" else sent["model"] / 2
    gradients = sent["batch"] if run.rank or run.dtype != "bfloat16" else sent["batch"] / 2
    return compute, (activations + gradients) / topology.link_bandwidth


def held_nbytes(run: ChosenRun) -> tuple[int, int]:
    """Bytes on a device: weights, adapters and moments; and what is kept for the backward pass."""
    case = Case("", GEMMA, run.mesh, run.dtype, run.rank, batch_size=run.batch_size, length=LENGTH)
    return oracles.argument_nbytes(case), oracles.activation_nbytes(case)
