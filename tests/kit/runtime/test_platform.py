"""The choice of the platform."""

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
