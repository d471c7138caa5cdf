"""Platform, devices and environment, which must be set before jax is imported."""

import functools
import importlib.abc
import importlib.util
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from kit.errors import UserError
from kit.installation import install_command
from kit.runtime.compiled_programs import keep_compiled_programs
from kit.runtime.freed_memory import keep_freed_memory
from kit.runtime.keras_hub_texts import prepare_keras_hub
from kit.runtime.optional_imports import PreparedModules, keep_optional_libraries_out
from kit.runtime.processes import SINGLE_PROCESS, Processes, connect

Platform = Literal["cpu", "gpu", "tpu"]

#: Simulated devices without an accelerator: as many as a TPU v5e-8 has chips.
DEFAULT_SIMULATED_DEVICES = 8

#: With libtpu installed and no TPU, the first call would wait three minutes for a metadata server.
#: And only one process at a time could compile: libtpu locks a file to own the TPU.
_LIBTPU_WITHOUT_A_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v3-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

#: XLA then uses no operation whose result depends on the order of threads, and measures no kernels
#: to choose the fastest, which can differ from one process to the next. The first flag implies the
#: others; jaxlib 0.10.2 and 0.12.0.1 have all three. XLA ends a process that sets an unknown flag.
DETERMINISTIC_GPU = (
    "--xla_gpu_deterministic_ops=true",
    "--xla_gpu_exclude_nondeterministic_ops=true",
    "--xla_gpu_autotune_level=0",
)

_DEVICE_COUNT = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


@dataclass(frozen=True)
class Runtime:
    """The platform and the devices of a process that has started."""

    #: "cpu" (simulated devices), "gpu" or "tpu".
    platform: Platform
    #: JAX devices in all processes.
    device_count: int
    #: JAX' name of the kind of device, such as "TPU v3" or "cpu".
    device_kind: str
    processes: Processes = SINGLE_PROCESS

    @property
    def simulated(self) -> bool:
        """Whether the devices are simulated on the CPU."""
        return self.platform == "cpu"


def tpu_is_attached() -> bool:
    """Whether this machine has a TPU and libtpu. Starts nothing and asks no server."""
    return attached_devices("tpu") > 0 and importlib.util.find_spec("libtpu") is not None


def gpu_is_attached() -> bool:
    """Whether this machine has an NVIDIA GPU, and JAX a plugin for it."""
    has_device = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    return has_device and any(importlib.util.find_spec(plugin) is not None for plugin in plugins)


def attached_devices(platform: Platform) -> int:
    """The number of accelerators by their device files: GPUs visible to CUDA, or TPU chips."""
    if platform == "gpu":
        files = len(list(Path("/dev").glob("nvidia[0-9]*")))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return max(1, files) if visible is None else min(max(1, files), len(visible.split(",")))
    return len([*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")])


def choose_platform_of_checks(wanted: str = "auto") -> Platform:
    """The platform for the course's checks: ``auto`` ignores a single GPU or TPU chip.

    The checks need more than one device. Raises UserError as :func:`choose_platform`.
    """
    chosen = choose_platform(wanted)
    return "cpu" if wanted == "auto" and chosen != "cpu" and attached_devices(chosen) < 2 else chosen


def choose_platform(wanted: str = "auto") -> Platform:
    """The platform: ``auto`` is a TPU if one is attached, then a GPU, then the CPU.

    With ``JAX_PLATFORMS=cpu`` in the environment ``auto`` is the CPU. Raises UserError if the
    machine does not have the platform.
    """
    if wanted == "auto" and os.environ.get("JAX_PLATFORMS") == "cpu":
        return "cpu"
    if wanted == "auto":
        return "tpu" if tpu_is_attached() else "gpu" if gpu_is_attached() else "cpu"
    if wanted == "tpu" and not tpu_is_attached():
        raise UserError(
            "--platform tpu: this machine has no TPU that jax can use (a /dev/accel or /dev/vfio device, and the "
            f"package libtpu, which `{install_command('tpu')}` installs); `--platform cpu` simulates 8 devices."
        )
    if wanted == "gpu" and not gpu_is_attached():
        raise UserError(
            "--platform gpu: this machine has no NVIDIA GPU that jax can use (the driver, and a plugin of "
            f"jax, which `{install_command('gpu')}` installs); `--platform cpu` simulates 8 devices."
        )
    if wanted not in ("cpu", "gpu", "tpu"):
        raise UserError(f"--platform {wanted}: choose one of auto, cpu, gpu, tpu.")
    return wanted  # type: ignore[return-value]  # one of the three


def prepare_environment(
    platform: Platform,
    simulated_devices: int = DEFAULT_SIMULATED_DEVICES,
    tensorflow: bool = False,
    deterministic: bool = False,
) -> None:
    """Set the variables that jax, XLA and Keras read when they are imported.

    ``simulated_devices`` counts for the CPU. With ``tensorflow`` TensorFlow may be imported, and
    Keras imports what it finds, as in the process of another project. With ``deterministic`` a GPU
    computes the same in each process; the CPU and a TPU do so anyway. Raises UserError
    if JAX has already started with other devices.
    """
    if "jax" in sys.modules and not _jax_can_still_be_set(platform, simulated_devices):
        raise UserError(
            "jax was imported and started before kit.runtime could set its devices: call "
            "kit.runtime.platform.start() before you import jax or keras."
        )
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "error")
    if platform == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        for name, value in _LIBTPU_WITHOUT_A_TPU.items():
            os.environ.setdefault(name, value)
        flags = _DEVICE_COUNT.sub("", os.environ.get("XLA_FLAGS", "")).split()
        flags.append(f"--xla_force_host_platform_device_count={simulated_devices}")
        os.environ["XLA_FLAGS"] = " ".join(flags)
    else:
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda", "tpu": "tpu"}[platform] + ",cpu"
        if platform == "gpu":
            os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
            if deterministic:
                names = {flag.partition("=")[0] for flag in DETERMINISTIC_GPU}
                others = [
                    flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.partition("=")[0] not in names
                ]
                os.environ["XLA_FLAGS"] = " ".join([*others, *DETERMINISTIC_GPU])
    if not tensorflow:
        keep_tensorflow_out()
        keep_optional_libraries_out()
        if platform == "cpu":
            keep_compiled_programs()
    # Warnings of JAX and grain about buffers and threads, which the user cannot act on.
    warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
    # Another process is writing the same program, or was killed then. JAX compiles it again.
    warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
    logging.getLogger("absl").setLevel(logging.ERROR)


def _jax_can_still_be_set(platform: Platform, simulated_devices: int) -> bool:
    """Whether the imported jax has started no backend, or the right one."""
    import jax
    from jax._src import xla_bridge

    if not xla_bridge.backends_are_initialized():
        return True
    wanted = {"cpu": "cpu", "gpu": "gpu", "tpu": "tpu"}[platform]
    return jax.default_backend() == wanted and (platform != "cpu" or jax.device_count() == simulated_devices)


class _TensorFlowBlocker(importlib.abc.MetaPathFinder):
    """Makes ``import tensorflow`` fail, for libraries that work without it."""

    blocked = ("tensorflow", "tensorflow_text")

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"{name} is blocked: the kit runs without TensorFlow", name=name)


def _prepare_keras_hub(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    """Prepare KerasHub for texts without TensorFlow, as soon as it is imported."""
    execute(module)
    prepare_keras_hub()


@functools.cache
def _finders() -> tuple[importlib.abc.MetaPathFinder, ...]:
    return (_TensorFlowBlocker(), PreparedModules({"keras_hub": _prepare_keras_hub}))


def keep_tensorflow_out() -> None:
    """Block the import of TensorFlow: it takes seconds, and occupies the TPU on a TPU machine.

    KerasHub's Gemma 3 and 4 then take texts: see :mod:`kit.runtime.keras_hub_texts`.
    """
    if "tensorflow" in sys.modules or _finders()[0] in sys.meta_path:
        return
    sys.meta_path[:0] = _finders()
    if "keras_hub" in sys.modules:
        prepare_keras_hub()


def choose_devices(platform: str, devices: int | None, processes: Processes | None = None) -> tuple[Platform, int]:
    """The platform, and the number of devices to simulate on the CPU.

    Raises UserError if the machine does not have the platform, or if the number is not positive.
    """
    if devices is not None and devices < 1:
        raise UserError(f"--devices {devices}: it must be at least 1.")
    shared = DEFAULT_SIMULATED_DEVICES // (processes or SINGLE_PROCESS).count
    return choose_platform(platform), devices or max(1, shared)


def start(
    platform: str = "auto", devices: int | None = None, seed: int | None = None, processes: Processes | None = None
) -> Runtime:
    """Choose a platform, set the environment, import jax and start its backend.

    ``devices`` is the number to simulate in each process (8 by default); on real hardware, the
    number that each process must have. The seed is for Keras, NumPy and Python. Raises UserError if
    the machine does not have the platform or the devices.
    """
    processes = processes or SINGLE_PROCESS
    chosen, simulated = choose_devices(platform, devices, processes)
    prepare_environment(chosen, simulated)
    if chosen == "cpu" and simulated == 1:
        keep_freed_memory()
    connect(processes)
    import jax

    try:
        found = jax.devices()
    except RuntimeError as error:
        raise UserError(f"jax could not start on {chosen}: {str(error).splitlines()[0]}") from error
    if devices is not None and len(jax.local_devices()) != devices:
        raise UserError(
            f"--devices {devices}: this machine has {len(jax.local_devices())} {chosen} devices. Omit --devices on "
            "real hardware; `--platform cpu` simulates any number."
        )
    if len(found) == 1:
        from kit.runtime.one_device import keep_variables_on_the_mesh

        keep_variables_on_the_mesh()
    if seed is not None:
        import keras

        keras.utils.set_random_seed(seed)
    return Runtime(chosen, len(found), found[0].device_kind, processes)
