"""TPU slices to plan for, their devices and their published peak figures. Imports no framework."""

import math
from dataclasses import dataclass
from typing import Any

from kit.errors import UserError


@dataclass(frozen=True)
class Topology:
    """A TPU slice, and its published figures.

    Peak figures are those of one JAX device: a core on v2, v3 and tpu7x, a chip on the others.

    Sources: compute and HBM as JAX has them (``jax._src.pallas.mosaic.tpu_info``; a test compares);
    links from the pages "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e" and "TPU7x" of the Cloud TPU
    documentation (2,400, 1,600, 4,800, 3,200 and 4,800 Gbit/s per chip in one direction), and for
    v2 and v3 from Jouppi et al., "A Domain-Specific Supercomputer for Training Deep Neural
    Networks", CACM 63 (2020): four links of 496 and 656 Gbit/s per chip. The link between the two
    cores of a chip is not counted.
    """

    #: The name of Cloud TPU. docs/topologies.md says what its number counts.
    name: str
    #: libtpu's name of the arrangement of chips.
    libtpu_name: str
    #: JAX devices, of all hosts.
    devices: int
    chips: int
    #: TensorCores of a chip.
    cores_per_chip: int
    #: Chips of one host, along the three axes of the arrangement.
    host_bounds: tuple[int, int, int]
    #: Floating point operations per second, of bfloat16 products.
    peak_flops: float
    #: Bytes per second between HBM and the core.
    hbm_bandwidth: float
    #: Bytes per second over all links of one device together, in one direction.
    link_bandwidth: float
    #: libtpu's name for how the cores of a chip are used, if it is not the default.
    chip_config: str = ""
    #: Where you get it, or why you no longer do.
    where: str = "Cloud TPU"
    #: Whether nobody can have it any more.
    retired: bool = False

    @property
    def hosts(self) -> int:
        """Machines that the slice is attached to. Each runs a process of its own."""
        return self.chips // math.prod(self.host_bounds)

    @property
    def cores(self) -> int:
        """TensorCores of all chips."""
        return self.chips * self.cores_per_chip

    @property
    def counted(self) -> str:
        """What the number in the name counts: "chips" or "cores"."""
        return "chips" if int(self.name.rpartition("-")[2]) == self.chips else "cores"


def _gigabits(number: float) -> float:
    return number * 1e9 / 8


def _v5e(chips: int, arrangement: str, host_bounds: tuple[int, int, int], where: str = "Cloud TPU") -> Topology:
    peaks = (1.97e14, 8.20e11, _gigabits(1600))
    return Topology(f"v5e-{chips}", f"v5e:{arrangement}", chips, chips, 1, host_bounds, *peaks, where=where)


def _v6e(chips: int, arrangement: str, host_bounds: tuple[int, int, int], where: str = "Cloud TPU") -> Topology:
    peaks = (9.20e14, 1.64e12, _gigabits(3200))
    return Topology(f"v6e-{chips}", f"v6e:{arrangement}", chips, chips, 1, host_bounds, *peaks, where=where)


def _eight_cores(
    name: str, libtpu_name: str, devices: int, peaks: tuple[float, float, float], **others: Any
) -> Topology:
    """Four chips of two cores on one host, by the peak figures of a chip."""
    flops, hbm, links = (peak * 4 / devices for peak in peaks)
    return Topology(name, libtpu_name, devices, 4, 2, _FOUR, flops, hbm, links, **others)


_ONE, _FOUR, _EIGHT = (1, 1, 1), (2, 2, 1), (2, 4, 1)
_COLAB_ENDED, _KAGGLE_ENDED = "Colab, until September 2025", "Kaggle, which now gives a v5e-8"

_TOPOLOGIES = (
    _v5e(1, "1x1", _ONE, "Colab, Cloud TPU"),
    _v5e(4, "2x2", _FOUR),
    _v5e(8, "2x4", _EIGHT, "Kaggle, Cloud TPU"),
    _v5e(16, "4x4", _FOUR),
    _v6e(1, "1x1", _ONE, "Colab, Cloud TPU"),
    _v6e(8, "2x4", _EIGHT),
    _v6e(16, "4x4", _FOUR),
    # The two cores of a chip are one JAX device ("megacore").
    _eight_cores("v4-8", "v4:2x2x1", 4, (2.75e14, 1.23e12, _gigabits(2400)), chip_config="megacore"),
    _eight_cores("v5p-8", "v5p:2x2x1", 4, (4.59e14, 2.46e12, _gigabits(4800))),
    # Each of the two cores of a chip is a device.
    _eight_cores("tpu7x-8", "tpu7x:2x2x1", 8, (2.31e15, 7.40e12, _gigabits(4800))),
    _eight_cores("v2-8", "v2:2x2", 8, (4.6e13, 7.16e11, _gigabits(4 * 496)), where=_COLAB_ENDED, retired=True),
    _eight_cores("v3-8", "v3:2x2", 8, (1.40e14, 8.25e11, _gigabits(4 * 656)), where=_KAGGLE_ENDED, retired=True),
)

TOPOLOGIES = {topology.name: topology for topology in _TOPOLOGIES}

#: What Kaggle has, also for those who ask for the tutorial's v3-8.
DEFAULT_TOPOLOGY = "v5e-8"

#: The heads of :func:`table_of_names`.
NAME_HEADS = ("name", "chips", "cores", "JAX devices", "hosts", "the number counts", "where")


def table_of_names() -> list[tuple[str, ...]]:
    """What each name means: the rows of the table in docs/topologies.md."""
    return [
        (one.name, str(one.chips), str(one.cores), str(one.devices), str(one.hosts), one.counted, one.where)
        for one in TOPOLOGIES.values()
    ]


def find_topology(name: str) -> Topology:
    """The topology of that name. Raises UserError if none has this name."""
    if name not in TOPOLOGIES:
        raise UserError(f"--topology {name}: choose one of {', '.join(TOPOLOGIES)}.")
    return TOPOLOGIES[name]
