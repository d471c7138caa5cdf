"""Architectures of true size."""

import json
import sys
from pathlib import Path

import keras_hub
import pytest
from command_line import run_python

from kit.course.shared.tensor_parallel import small_config
from kit.errors import UserError
from kit.models.architectures import ARCHITECTURES, find_architecture
from kit.models.weightless import weightless_variables


class TestArchitectures:
    @pytest.mark.parametrize("preset", ARCHITECTURES)
    def test_parameters_are_those_that_kerashub_states(self, preset: str) -> None:
        found = sum(variable.size for variable in weightless_variables(ARCHITECTURES[preset]))
        assert found == keras_hub.models.CausalLM.presets[preset]["metadata"]["params"]

    @pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, which Linux has")
    def test_seven_billion_parameters_take_no_memory(self) -> None:
        code = (
            "import re, time; from kit.runtime.platform import prepare_environment; prepare_environment('cpu')\n"
            "from kit.models.architectures import GEMMA_7B; from kit.models.weightless import weightless_variables\n"
            "started = time.perf_counter(); weightless_variables(GEMMA_7B)\n"
            # Not getrusage, which also counts the memory of the parent process.
            "print(time.perf_counter() - started, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        seconds, kilobytes = map(float, run_python(code).stdout.split())
        assert seconds < 5
        assert kilobytes < 1e6

    def test_a_folder_has_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(small_config()))
        assert find_architecture(str(tmp_path))["config"]["hidden_dim"] == 40
        with pytest.raises(UserError, match="nowhere: neither a folder nor a known model"):
            find_architecture("nowhere")
