"""The pytest plugin: its fixtures here, and what it does in other suites."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_suite import QUICK, run_pytest
from qwen_model import make_backbone


class TestFixtures:
    def test_meshes(self, device_mesh: Any, simulated_devices: list[str]) -> None:
        assert simulated_devices == [f"cpu:{number}" for number in range(8)]
        for mesh, shape in ((device_mesh(), (1, 8)), (device_mesh(2), (2, 4)), (device_mesh(2, 2), (2, 2))):
            assert tuple(mesh.shape) == shape
            assert list(mesh.axis_names) == ["batch", "model"]
            assert list(mesh.devices.flatten()) == simulated_devices[: shape[0] * shape[1]]
        for wrong in ((3, 3), (0, 8), (1, -8)):
            with pytest.raises(ValueError, match=f"needs {wrong[0] * wrong[1]} devices; 8 are simulated"):
                device_mesh(*wrong)

    def test_a_preset_without_weights(self, weightless_model: Any) -> None:
        from kit.models.architectures import GEMMA_7B

        assert sum(variable.size for variable in weightless_model(GEMMA_7B)) == 8_537_680_896

    def test_a_task_makes_an_optimizer(self, weightless_model: Any) -> None:
        import keras_hub

        with pytest.raises(pytest.fail.Exception, match="only the backbone"):
            weightless_model(lambda: keras_hub.models.Qwen3CausalLM(backbone=make_backbone(num_layers=1)))
        with pytest.raises(ValueError, match="theirs"):
            weightless_model(lambda: (_ for _ in ()).throw(ValueError("theirs")))


class TestPluginInOtherSuites:
    def test_pytest_starts_as_without_it(self, tmp_path: Path) -> None:
        """Compares the modules that are imported in the first test, with the plugin and without."""
        (tmp_path / "test_modules.py").write_text(
            "import sys\nmodules = sorted(sys.modules)\n\ndef test_it():\n    print('MODULES', *modules)\n"
        )
        loaded = []
        for options in ([], ["-p", "no:kit"]):
            finished = run_pytest(tmp_path, "-s", *options)
            assert finished.returncode == 0, finished.stdout + finished.stderr
            loaded.append(set(re.search(r"MODULES (.*)", finished.stdout)[1].split()))
        assert loaded[0] - loaded[1] == {"kit", "kit.pytest_plugin"}

    @pytest.mark.parametrize("times", [1, 2])
    def test_the_version_imports_no_framework(self, times: int, tmp_path: Path) -> None:
        """`pytest --version` loads the plugins if it is given twice."""
        code = (
            "import sys, pytest\n"
            f"assert pytest.main(['--version'] * {times}) == 0\n"
            f"assert ('kit.pytest_plugin' in sys.modules) == ({times} == 2)\n"
            "print('IMPORTED', *{'numpy', 'jax', 'keras', 'kit.checks'} & set(sys.modules))\n"
        )
        finished = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.splitlines()[-1] == "IMPORTED"

    def test_a_fixture_sets_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "test_late.py").write_text(
            "import sys\n"
            "from kit.checks import check_layout_coverage\n"
            "def test_nothing_is_imported():\n"
            "    assert not {'jax', 'keras', 'numpy'} & set(sys.modules)\n"
            "def test_devices(simulated_devices, device_mesh):\n"
            "    import keras\n"
            "    assert len(simulated_devices) == 8 == len(keras.distribution.list_devices())\n"
            "    layout_map = keras.distribution.LayoutMap(device_mesh())\n"
            "    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map))\n"
            "def test_no_distribution_is_left():\n"
            "    import keras\n"
            "    assert keras.distribution.distribution() is None\n"
        )
        finished = run_pytest(tmp_path, **QUICK)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def test_the_order_of_tests_does_not_matter(self, tmp_path: Path) -> None:
        """Keras numbers unnamed layers on within a process: each test starts over."""
        (tmp_path / "pytest.ini").write_text("[pytest]\nsimulated_devices = 8\n")
        (tmp_path / "test_names.py").write_text(
            "import keras, pytest\n"
            "from kit.checks import check_layout_coverage\n"
            "@pytest.mark.parametrize('again', range(3))\n"
            "def test_names(again, device_mesh):\n"
            "    rules = keras.distribution.LayoutMap(device_mesh(2, 4))\n"
            "    rules['sequential/dense/kernel'] = (None, 'model')\n"
            "    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])\n"
            "    check_layout_coverage(rules, model)\n"
        )
        finished = run_pytest(tmp_path, **QUICK)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "3 passed" in finished.stdout

    def test_the_option_overrides_the_ini_file(self, tmp_path: Path) -> None:
        (tmp_path / "pytest.ini").write_text("[pytest]\nsimulated_devices = 8\n")
        (tmp_path / "conftest.py").write_text(
            "import os\n"
            "assert os.environ['KERAS_BACKEND'] == 'jax'\n"
            "assert os.environ['XLA_FLAGS'] == '--xla_force_host_platform_device_count=3'\n"
        )
        (tmp_path / "test_environment.py").write_text("def test_it():\n    pass\n")
        finished = run_pytest(tmp_path, "--simulated-devices", "3")
        assert finished.returncode == 0, finished.stdout + finished.stderr

    @pytest.mark.parametrize(
        ("module", "environment", "message"),
        [
            ("import jax; jax.devices()", {"JAX_PLATFORMS": "cpu"}, "JAX has started with 1 cpu device"),
            ("import keras", {"KERAS_BACKEND": "numpy"}, "Keras was imported with the backend numpy"),
        ],
    )
    def test_too_late_is_an_error_with_its_remedy(
        self, module: str, environment: dict[str, str], message: str, tmp_path: Path
    ) -> None:
        (tmp_path / "test_early.py").write_text(f"{module}\ndef test_devices(device_mesh):\n    pass\n")
        finished = run_pytest(tmp_path, **environment)
        assert finished.returncode == 1
        assert "1 error" in finished.stdout
        assert message in finished.stdout
        assert "simulated_devices = 8" in finished.stdout
        assert "Traceback" not in finished.stdout

    def test_not_a_number(self, tmp_path: Path) -> None:
        (tmp_path / "pytest.ini").write_text("[pytest]\nsimulated_devices = many\n")
        finished = run_pytest(tmp_path, **QUICK)
        assert finished.returncode == 4
        assert "simulated_devices = many: give a number of devices" in finished.stderr
