"""TPU slices to plan for, their devices and their published peak figures. Imports no framework."""

import math
from dataclasses import dataclass

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
    #: Where the slice can no longer be had; empty for all others.
    retired: str = ""

    @property
    def hosts(self) -> int:
        """Machines that the slice is attached to. Each runs a process of its own."""
        return self.chips // math.prod(self.host_bounds)

    @property
    def cores(self) -> int:
        """TensorCores of all chips."""
        return self.chips * self.cores_per_chip


def _gigabits(number: float) -> float:
    return number * 1e9 / 8


def _v5e(chips: int, arrangement: str, host_bounds: tuple[int, int, int]) -> Topology:
    name, libtpu_name = f"v5e-{chips}", f"v5e:{arrangement}"
    return Topology(name, libtpu_name, chips, chips, 1, host_bounds, 1.97e14, 8.20e11, _gigabits(1600))


def _v6e(chips: int, arrangement: str, host_bounds: tuple[int, int, int]) -> Topology:
    name, libtpu_name = f"v6e-{chips}", f"v6e:{arrangement}"
    return Topology(name, libtpu_name, chips, chips, 1, host_bounds, 9.20e14, 1.64e12, _gigabits(3200))


_ONE, _FOUR, _EIGHT = (1, 1, 1), (2, 2, 1), (2, 4, 1)

_TOPOLOGIES = (
    _v5e(1, "1x1", _ONE),
    _v5e(4, "2x2", _FOUR),
    _v5e(8, "2x4", _EIGHT),
    _v5e(16, "4x4", _FOUR),
    _v6e(1, "1x1", _ONE),
    _v6e(8, "2x4", _EIGHT),
    _v6e(16, "4x4", _FOUR),
    # The two cores of a chip are one JAX device ("megacore").
    Topology("v4-8", "v4:2x2x1", 4, 4, 2, _FOUR, 2.75e14, 1.23e12, _gigabits(2400), "megacore"),
    Topology("v5p-8", "v5p:2x2x1", 4, 4, 2, _FOUR, 4.59e14, 2.46e12, _gigabits(4800)),
    # A chip has two cores, and each is a device.
    Topology("tpu7x-8", "tpu7x:2x2x1", 8, 4, 2, _FOUR, 2.31e15 / 2, 7.40e12 / 2, _gigabits(4800) / 2),
    Topology("v2-8", "v2:2x2", 8, 4, 2, _FOUR, 4.6e13 / 2, 7.16e11 / 2, _gigabits(4 * 496) / 2, retired="Colab"),
    Topology("v3-8", "v3:2x2", 8, 4, 2, _FOUR, 1.40e14 / 2, 8.25e11 / 2, _gigabits(4 * 656) / 2, retired="Kaggle"),
)

TOPOLOGIES = {topology.name: topology for topology in _TOPOLOGIES}

#: What Kaggle has, and what it gives to those who ask for the tutorial's v3-8.
DEFAULT_TOPOLOGY = "v5e-8"


def find_topology(name: str) -> Topology:
    """The topology of that name. Raises UserError if none has this name."""
    if name not in TOPOLOGIES:
        raise UserError(f"--topology {name}: choose one of {', '.join(TOPOLOGIES)}.")
    return TOPOLOGIES[name]
