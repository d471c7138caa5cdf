"""Which devices are taken, and Keras on one device alone."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from kit.course.shared import small_models as small
from kit.judge import fresh_process as alone
from kit.judge.catalogue import checks_of
from kit.judge.runner import Runner
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.parts.implementation import EXERCISE_FUNCTIONS, find_parts
from kit.runtime import platform


class TestChoice:
    @pytest.fixture(autouse=True)
    def a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No machine of the tests has one."""
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.setattr(platform, "tpu_is_attached", lambda: False)
        monkeypatch.setattr(platform, "gpu_is_attached", lambda: True)

    @pytest.mark.parametrize(("devices", "checks"), [(1, "cpu"), (4, "gpu")])
    def test_checks_pass_over_a_gpu_that_is_alone(
        self, monkeypatch: pytest.MonkeyPatch, devices: int, checks: str
    ) -> None:
        monkeypatch.setattr(platform, "attached_devices", lambda kind: devices)
        assert platform.choose_platform() == "gpu"
        assert platform.choose_platform_of_checks() == checks
        assert platform.choose_platform_of_checks("gpu") == "gpu"

    def test_the_environment_has_the_last_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So what the tests start stays on simulated devices."""
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        assert platform.choose_platform() == "cpu"
        assert platform.choose_platform("gpu") == "gpu"

    @pytest.mark.parametrize(("visible", "count"), [(None, 1), ("0", 1), ("0,1", 1)])
    def test_no_more_gpus_than_there_are(
        self, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
    ) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        # Where no device file is to be seen, as in WSL, there is the one that was found.
        assert platform.attached_devices("gpu") == count


ON_ONE_DEVICE = """
import warnings

from kit.runtime.platform import start

start("cpu", 1, 0)
warnings.filterwarnings("error", message="Detected a mix")

import jax
import keras

from kit.course.shared import small_models as small
from kit.course.shared.tensor_parallel import device_mesh
from kit.parts.implementation import find_parts

parts = find_parts("reference")
keras.config.disable_interactive_logging()
layout_map = parts.layout.gemma_layout_map(device_mesh(1, 1))
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch"))
model = small.small_model(4)
parts.training.compile_for_finetuning(model, 1e-3, 0.01)
jax.config.update("jax_log_compiles", True)
history = parts.training.finetune(model, [small.texts(2)] * 3, epochs=2)
assert len(history.history["loss"]) == 2
shardings = {type(variable.value.sharding).__name__ for variable in [*model.variables, *model.optimizer.variables]}
print("shardings:", *shardings)
"""


def test_one_device_has_one_program() -> None:
    """Without the kit's care there are three: before the first step, after it, and when the next epoch sets its metrics to zero."""
    finished = subprocess.run([sys.executable, "-c", ON_ONE_DEVICE], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("Finished XLA compilation of jit(train_step)") == 1
    assert finished.stdout.endswith("shardings: NamedSharding\n")


class TestPreprocessing:
    def test_threads_take_turns(self) -> None:
        """Each takes its time, so that two would meet."""
        inside, most, lock = [0], [0], threading.Lock()

        def preprocess_samples(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1
            return x, y, sample_weight

        model = SimpleNamespace(preprocessor=SimpleNamespace(built=True), preprocess_samples=preprocess_samples)
        for expected in (4, 1):
            most[0] = 0
            with ThreadPoolExecutor(4) as threads:
                found = list(
                    threads.map(lambda number: model.preprocess_samples(number, y=2, sample_weight=3), range(8))
                )
            assert found == [(number, 2, 3) for number in range(8)]
            assert most[0] == expected
            preprocess_one_at_a_time(model)

    def test_fit_heeds_it(self, mesh_1x8: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = find_parts("reference")
        keras.config.disable_interactive_logging()
        inside, most, calls = [0], [0], [0]
        model = small.small_model(4)
        # What is beneath the kit's turns.
        preprocess = model.preprocessor.__call__

        def looking(*arguments: Any, **options: Any) -> Any:
            inside[0] += 1
            calls[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            try:
                return preprocess(*arguments, **options)
            finally:
                inside[0] -= 1

        monkeypatch.setattr(
            type(model.preprocessor), "__call__", lambda self, *given, **options: looking(*given, **options)
        )
        parts.training.compile_for_finetuning(model, 1e-3, 0.01)
        parts.training.finetune(model, [small.texts(2)] * 8)
        assert calls[0] >= 8
        assert most[0] == 1


@pytest.mark.parametrize(
    ("kind", "layer", "expected"), [("gpu", "train", "highest"), ("gpu", "style", None), ("cpu", "train", None)]
)
def test_what_is_asked_for_float32(
    monkeypatch: pytest.MonkeyPatch, kind: platform.Platform, layer: str, expected: str | None
) -> None:
    """A whole run is as fast as the accelerator makes it."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(alone, "run", lambda request, *rest: asked.append(request) or {})
    check = next(check for name in [*EXERCISE_FUNCTIONS, "run"] for check in checks_of(name) if check.layer == layer)
    Runner(kind, fork=False)._run_in_fresh_process("reference", check)
    assert [request.get("precision") for request in asked] == [expected]


def test_checks_on_an_accelerator_multiply_in_float32(tmp_path: Any) -> None:
    """Seen in a process of its own, as there; here it has simulated devices."""
    (tmp_path / "mesh.py").write_text("import jax\n\nraise ValueError(jax.config.jax_default_matmul_precision)\n")
    request = {"impl": str(tmp_path), "exercise": "mesh", "check": "shape", "limit": 60.0}
    for more, expected in (({"precision": "highest"}, "highest"), ({}, "None")):
        verdict = alone.run(request | more, "cpu", 8)
        assert f"ValueError: {expected}" in str(verdict)
