"""TPU slices to plan for, and their published peak figures. Imports no framework."""

from dataclasses import dataclass

from kit.errors import UserError


@dataclass(frozen=True)
class Topology:
    """A TPU slice with one host, and its published figures.

    Peak figures are those of one JAX device: a core on v2 and v3, a chip on the others.

    Sources: compute and HBM as JAX has them (``jax._src.pallas.mosaic.tpu_info``; a test compares);
    links from the pages "TPU v4", "TPU v5e", "TPU v5p" and "TPU v6e" of the Cloud TPU documentation
    (2,400, 1,600, 4,800 and 3,200 Gbit/s per chip), and for v2 and v3 from Jouppi et al., "A
    Domain-Specific Supercomputer for Training Deep Neural Networks", CACM 63 (2020): four links of
    496 and 656 Gbit/s per chip.
    """

    #: The name of Cloud TPU. The number counts TensorCores; from v5e on, except v5p, it counts
    #: chips.
    name: str
    #: libtpu's name of the arrangement of chips.
    libtpu_name: str
    devices: int
    #: Floating point operations per second, of bfloat16 products.
    peak_flops: float
    #: Bytes per second between HBM and the core.
    hbm_bandwidth: float
    #: Bytes per second over all links of one device together, in one direction.
    link_bandwidth: float
    #: libtpu's name for how the cores of a chip are used, if it is not the default.
    chip_config: str = ""


def _gigabits(number: float) -> float:
    return number * 1e9 / 8


_TOPOLOGIES = (
    # A chip has two cores, and each is a device.
    Topology("v2-8", "v2:2x2", 8, 4.6e13 / 2, 7.16e11 / 2, _gigabits(4 * 496) / 2),
    Topology("v3-8", "v3:2x2", 8, 1.40e14 / 2, 8.25e11 / 2, _gigabits(4 * 656) / 2),
    # The two cores of a chip are one JAX device ("megacore").
    Topology("v4-8", "v4:2x2x1", 4, 2.75e14, 1.23e12, _gigabits(2400), "megacore"),
    Topology("v5e-4", "v5e:2x2", 4, 1.97e14, 8.20e11, _gigabits(1600)),
    Topology("v5e-8", "v5e:2x4", 8, 1.97e14, 8.20e11, _gigabits(1600)),
    Topology("v5p-8", "v5p:2x2x1", 4, 4.59e14, 2.46e12, _gigabits(4800)),
    Topology("v6e-8", "v6e:2x4", 8, 9.20e14, 1.64e12, _gigabits(3200)),
)

TOPOLOGIES = {topology.name: topology for topology in _TOPOLOGIES}


def find_topology(name: str) -> Topology:
    """The topology of that name. Raises UserError if none has this name."""
    if name not in TOPOLOGIES:
        raise UserError(f"--topology {name}: choose one of {', '.join(TOPOLOGIES)}.")
    return TOPOLOGIES[name]
