"""libtpu's ahead-of-time compiler: devices, their memory, and whether a program fits."""

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import UserError
from kit.files import write_json
from kit.installation import install_command
from kit.runtime.cpu_limit import not_counted
from kit.tpu.topologies import Topology

if TYPE_CHECKING:
    import jax

#: Environment variable: the folder in which the compiler's answers are kept.
PROGRAMS_FOLDER = "KIT_TPU_PROGRAMS"
_FILE_LOCATION = re.compile(r'loc\("[^"]*":\d+:\d+(?: to (?:\d+)?:\d+)?\)')

_GIB = 2**30
_USED = re.compile(r"Used ([\d.]+)([KMG]?) of ([\d.]+)([KMG]?) hbm")
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMG]?)\) exceeds available HBM \(([\d.]+)([KMG]?)\)")


def has_libtpu() -> bool:
    """Whether libtpu is installed. Imports and starts nothing."""
    return importlib.util.find_spec("libtpu") is not None


def require_libtpu() -> None:
    """Raises UserError, with the command that installs libtpu, if it is not installed."""
    if not has_libtpu():
        raise UserError(
            f"libtpu, which has the TPU compiler, is not installed: run `{install_command('tpu')}` (Linux on x86-64). "
            "You need no TPU."
        )


def libtpu_version() -> str:
    """The version of libtpu that is installed."""
    return importlib.metadata.version("libtpu")


@functools.cache
def topology_devices(topology: Topology) -> tuple[Any, ...]:
    """The JAX devices of a topology: you can compile for them, but put no array on them.

    Call ``kit.runtime.platform.prepare_environment`` before you import jax: otherwise the first
    call waits minutes for a metadata server. Raises UserError if libtpu is not installed, or does
    not know the topology.
    """
    require_libtpu()
    from jax.experimental import topologies

    options: dict[str, Any] = {"chips_per_host_bounds": topology.host_bounds}
    if topology.chip_config:
        options["chip_config_name"] = topology.chip_config
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology.libtpu_name, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"libtpu {libtpu_version()} has no topology {topology.libtpu_name}: {reason}") from error
    if len(description.devices) != topology.devices:
        raise UserError(
            f"libtpu {libtpu_version()} gives {topology.name} {len(description.devices)} devices instead of "
            f"{topology.devices}: install another version of it with `{install_command('tpu')}`."
        )
    return tuple(description.devices)


@functools.cache
def usable_nbytes(topology: Topology) -> int:
    """Bytes of HBM that a program may use on a device, which the compiler states in a refusal."""
    import jax
    import jax.numpy as jnp

    device = topology_devices(topology)[0]
    # A transpose and a reversal of 130 GB each, which cannot be done in place.
    rows = 130 * _GIB // 4 // 4096
    array = jax.ShapeDtypeStruct((rows, 4096), jnp.float32, sharding=jax.sharding.SingleDeviceSharding(device))
    lowered = jax.jit(lambda a: a[::-1] * 2 + a.T.reshape(a.shape)).lower(array)
    found = compile_for_tpu(lowered, topology)
    if isinstance(found, DoesNotFit) and found.usable is not None:
        return found.usable
    raise UserError(f"libtpu {libtpu_version()} does not state the usable memory of a {topology.name} device.")


@dataclass(frozen=True)
class TpuProgram:
    """The compiler's figures for a program that fits. Sizes are bytes on one device."""

    #: Optimized HLO.
    text: str
    arguments: int
    results: int
    #: Results that reuse an argument's memory.
    aliased: int
    temporaries: int
    code: int
    #: Floating point operations of one device.
    flops: float
    bytes_accessed: float
    #: The compiler's own estimate of the time.
    seconds: float


@dataclass(frozen=True)
class DoesNotFit:
    """The compiler's answer to a program that needs more HBM than a device has."""

    #: Bytes that the program would use on one device; None if the compiler does not state them.
    needed: int | None
    #: Bytes that it may use; None likewise.
    usable: int | None


def compile_for_tpu(lowered: "jax.stages.Lowered", topology: Topology, quick: bool = False) -> TpuProgram | DoesNotFit:
    """Compile a program over devices of :func:`topology_devices`, or report that it does not fit.

    ``quick`` sets JAX's optimization level O0. That takes less than half the time, and gives
    another program: its temporaries can be more or fewer.

    With the environment variable ``KIT_TPU_PROGRAMS`` each distinct program is compiled once, and
    what the compiler said is kept in that folder. It is meant for `kit dev check` and CI: code
    under test could write there too.
    """
    folder = os.environ.get(PROGRAMS_FOLDER)
    if not folder:
        return _compile(lowered, quick)
    file = Path(folder, f"{_key(lowered, topology)}{'-quick' if quick else ''}.json")
    with contextlib.suppress(FileNotFoundError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return TpuProgram(**content) if "text" in content else DoesNotFit(**content)
    found = _compile(lowered, quick)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(found))
    return found


def _key(lowered: "jax.stages.Lowered", topology: Topology) -> str:
    """A checksum of a program with the names of its scopes, but without files and lines."""
    text = _FILE_LOCATION.sub("loc(unknown)", lowered.as_text(debug_info=True))
    return hashlib.sha256(f"{libtpu_version()}\0{topology.name}\0{text}".encode()).hexdigest()


def _compile(lowered: "jax.stages.Lowered", quick: bool) -> TpuProgram | DoesNotFit:
    import jax

    try:
        level = _optimization_level("O0") if quick else contextlib.nullcontext()
        # A check's limit is for the solution, not for the compiler.
        with not_counted(), _without_cache(), level:
            compiled = lowered.compile()
        # jax declares both as Any or None; the TPU compiler gives them.
        memory: Any = compiled.memory_analysis()
        cost: Any = compiled.cost_analysis()
        return TpuProgram(
            text=compiled.as_text() or "",
            arguments=memory.argument_size_in_bytes,
            results=memory.output_size_in_bytes,
            aliased=memory.alias_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            code=memory.generated_code_size_in_bytes,
            flops=cost["flops"],
            bytes_accessed=cost["bytes accessed"],
            seconds=cost["optimal_seconds"],
        )
    except jax.errors.JaxRuntimeError as error:
        message = str(error)
        if not message.startswith("RESOURCE_EXHAUSTED"):
            raise
        said = _USED.search(message) or _TEMPORARIES.search(message)
        return DoesNotFit(_nbytes(said[1], said[2]), _nbytes(said[3], said[4])) if said else DoesNotFit(None, None)


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Keep JAX from caching programs: one for a TPU can be written, but not read without a TPU."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    # JAX asks once whether to cache, and remembers the answer.
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


@contextlib.contextmanager
def _optimization_level(level: str) -> Iterator[None]:
    import jax

    before = jax.config.values["jax_optimization_level"]
    jax.config.update("jax_optimization_level", level)
    try:
        yield
    finally:
        jax.config.update("jax_optimization_level", before)


def _nbytes(number: str, unit: str) -> int:
    return round(float(number) * {"": 1, "K": 2**10, "M": 2**20, "G": _GIB}[unit])
