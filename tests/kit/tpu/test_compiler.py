"""The TPU compiler, and what JAX knows about its devices."""

import jax
import pytest
from tpu_plans import needs_libtpu

from kit.tpu.compiler import compile_for_tpu, topology_devices, usable_nbytes
from kit.tpu.topologies import TOPOLOGIES, find_topology

pytestmark = needs_libtpu


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_libtpu_knows_each_topology(name: str) -> None:
    topology = find_topology(name)
    devices = topology_devices(topology)
    assert len(devices) == topology.devices
    assert len({tuple(device.coords) for device in devices}) == topology.chips
    assert len({device.process_index for device in devices}) == topology.hosts
    # Of 8 GB on a v2 to 103 GB on a v5p, the compiler leaves at least 88 %.
    assert 7e9 < usable_nbytes(topology) < 105e9


def test_peak_figures_are_those_of_jax() -> None:
    from jax._src.pallas.mosaic import tpu_info

    # Its name since jax 0.12, and before.
    ask = getattr(tpu_info, "get_tpu_info_for_chip", None) or tpu_info._get_tpu_info_impl
    for topology in TOPOLOGIES.values():
        version = tpu_info.ChipVersion(topology.name.partition("-")[0].removeprefix("tpu"))
        assert topology.cores_per_chip == version.num_physical_tensor_cores_per_chip
        cores = topology.cores // topology.devices
        theirs = ask(version, cores)
        assert topology.peak_flops == pytest.approx(theirs.bf16_ops_per_second * cores, rel=1e-6)
        assert topology.hbm_bandwidth == pytest.approx(theirs.mem_bw_bytes_per_second * cores, rel=1e-6)
        # Theirs are rounded to a billion.
        assert usable_nbytes(topology) <= 1.05 * theirs.hbm_capacity_bytes * cores


def test_a_program_that_fails_otherwise_is_an_error() -> None:
    class Broken:
        def as_text(self, debug_info: bool) -> str:
            return "broken"

        def compile(self) -> None:
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        compile_for_tpu(Broken(), find_topology("v3-8"))  # type: ignore[arg-type]
