"""libtpu's ahead-of-time compiler: the devices of a topology, what they can hold, and whether a program fits."""

import contextlib
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kit.errors import UserError
from kit.tpu.topologies import Topology

LIBTPU_REMEDY = (
    "libtpu, which has the TPU compiler, is not installed: `pip install -c constraints.txt -e '.[tpu]'` brings it (Linux on "
    "x86-64); no TPU is needed."
)
_GIB = 2**30
_USED = re.compile(r"Used ([\d.]+)([KMG]?) of ([\d.]+)([KMG]?) hbm")
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMG]?)\) exceeds available HBM \(([\d.]+)([KMG]?)\)")


def has_libtpu() -> bool:
    """Whether libtpu is installed. Imports and starts nothing."""
    return importlib.util.find_spec("libtpu") is not None


def require_libtpu() -> None:
    """Say what to do, if libtpu is not installed.

    Raises:
        UserError: if it is not.

    """
    if not has_libtpu():
        raise UserError(LIBTPU_REMEDY)


def libtpu_version() -> str:
    """The version of libtpu that is installed."""
    return importlib.metadata.version("libtpu")


@functools.cache
def topology_devices(topology: Topology) -> tuple[Any, ...]:
    """The devices of a topology, as jax has them: they can be compiled for, and nothing can be put on them.

    ``kit.runtime.platform.prepare_environment`` must have been called before jax was imported, or the first call waits for
    minutes for a metadata server.

    Raises:
        UserError: if libtpu is not installed, or does not know the topology.

    """
    require_libtpu()
    from jax.experimental import topologies

    options = {"chip_config_name": topology.chip_config} if topology.chip_config else {}
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology.libtpu_name, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"libtpu {libtpu_version()} has no topology {topology.libtpu_name}: {reason}") from error
    if len(description.devices) != topology.devices:
        raise UserError(
            f"libtpu {libtpu_version()} gives {topology.name} {len(description.devices)} devices, and {topology.devices} are "
            "known of: use the version in constraints.txt."
        )
    return tuple(description.devices)


@functools.cache
def usable_nbytes(topology: Topology) -> int:
    """Bytes of HBM that a program may use on one device, as the compiler says: it is asked for a program that no chip has room for."""
    import jax
    import jax.numpy as jnp

    device = topology_devices(topology)[0]
    # A transpose and a reversal of 130 GB each, which cannot be done in place.
    rows = 130 * _GIB // 4 // 4096
    array = jax.ShapeDtypeStruct((rows, 4096), jnp.float32, sharding=jax.sharding.SingleDeviceSharding(device))
    lowered = jax.jit(lambda a: a[::-1] * 2 + a.T.reshape(a.shape)).lower(array)
    found = compile_for_tpu(lowered)
    if isinstance(found, DoesNotFit) and found.usable is not None:
        return found.usable
    raise UserError(f"libtpu {libtpu_version()} does not say what a device of {topology.name} can hold.")


@dataclass(frozen=True)
class DoesNotFit:
    """The compiler's answer to a program that needs more HBM than there is."""

    #: Bytes that it would use on one device; None if it did not say.
    needed: int | None
    #: Bytes that there are; None likewise.
    usable: int | None


def compile_for_tpu(lowered: Any) -> Any:
    """Compile, or say that the program does not fit.

    Args:
        lowered: A ``jax.stages.Lowered`` over devices of :func:`topology_devices`.

    Returns:
        A ``jax.stages.Compiled``, or :class:`DoesNotFit`.

    """
    import jax

    try:
        with _without_cache():
            return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        message = str(error)
        if not message.startswith("RESOURCE_EXHAUSTED"):
            raise
        said = _USED.search(message) or _TEMPORARIES.search(message)
        return DoesNotFit(_nbytes(said[1], said[2]), _nbytes(said[3], said[4])) if said else DoesNotFit(None, None)


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Within this, JAX keeps no compiled program: one for a TPU could be written, and not be read back without a TPU."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    # Whether there is a cache is asked once, and then remembered.
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _nbytes(number: str, unit: str) -> int:
    return round(float(number) * {"": 1, "K": 2**10, "M": 2**20, "G": _GIB}[unit])
