"""The choice of the platform."""

import os
import subprocess
import sys

import pytest

from kit.runtime import platform


class TestChoice:
    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU, which the machines of the tests do not have."""
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.setattr(platform, "tpu_is_attached", lambda: False)
        monkeypatch.setattr(platform, "gpu_is_attached", lambda: True)

    @pytest.mark.parametrize(("devices", "checks"), [(1, "cpu"), (4, "gpu")])
    def test_checks_ignore_a_single_gpu(self, monkeypatch: pytest.MonkeyPatch, devices: int, checks: str) -> None:
        monkeypatch.setattr(platform, "attached_devices", lambda kind: devices)
        assert platform.choose_platform() == "gpu"
        assert platform.choose_platform_of_checks() == checks
        assert platform.choose_platform_of_checks("gpu") == "gpu"

    def test_the_environment_can_choose_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Processes that the tests start then stay on simulated devices."""
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        assert platform.choose_platform() == "cpu"
        assert platform.choose_platform("gpu") == "gpu"

    @pytest.mark.parametrize(("visible", "count"), [(None, 1), ("0", 1), ("0,1", 1)])
    def test_the_number_of_gpus(self, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        # Without device files, as in WSL, one GPU is assumed.
        assert platform.attached_devices("gpu") == count


class TestDeterministicGpu:
    """The flags must be in the environment before jax starts; nothing starts here."""

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set for this test, and restored after it."""
        for name in ("XLA_FLAGS", "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_MEM_FRACTION", "KERAS_BACKEND"):
            monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.setattr(platform, "_jax_can_still_be_set", lambda *devices: True)
        monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here --xla_gpu_autotune_level=4")

    def test_flags(self) -> None:
        """The user's other flags are kept; a second call, as of `start`, changes nothing."""
        platform.prepare_environment("gpu", deterministic=True)
        expected = [
            "--xla_dump_to=here",
            "--xla_gpu_deterministic_ops=true",
            "--xla_gpu_exclude_nondeterministic_ops=true",
            "--xla_gpu_autotune_level=0",
        ]
        assert os.environ["XLA_FLAGS"].split() == expected
        platform.prepare_environment("gpu")
        assert os.environ["XLA_FLAGS"].split() == expected

    def test_no_flags_without_it(self) -> None:
        platform.prepare_environment("gpu")
        assert os.environ["XLA_FLAGS"] == "--xla_dump_to=here --xla_gpu_autotune_level=4"


def test_this_jaxlib_has_the_flags() -> None:
    """XLA ends a process with a flag that it does not know, on each platform."""
    flags = " ".join(platform.DETERMINISTIC_GPU)
    code = "import jax; jax.devices()"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    known = subprocess.run([sys.executable, "-c", code], env=environment | {"XLA_FLAGS": flags}, check=False)
    assert known.returncode == 0
    unknown = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"XLA_FLAGS": "--xla_gpu_no_such_flag=true"},
        capture_output=True,
        check=False,
    )
    assert unknown.returncode != 0
