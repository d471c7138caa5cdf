"""Architectures of true size."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras_hub
import pytest
from command_line import run_python

from kit.course.shared.tensor_parallel import small_config
from kit.errors import UserError
from kit.models.architectures import ARCHITECTURES, architecture_name, find_architecture
from kit.models.encoders import ENCODERS, encoder_parameters
from kit.models.weightless import weightless_variables

#: Gemma 4 in KerasHub 0.32: parameters of the text tower, the vision encoder and the audio encoder.
#: KerasHub states the sums rounded to a hundred million or a billion.
GEMMA4 = {
    "gemma4_2b": (4_628_569_379, 168_544_704, 307_184_384),
    "gemma4_4b": (7_463_013_418, 169_331_136, 308_757_248),
    "gemma4_26b_a4b": (25_233_141_790, 572_794_416),
    "gemma4_31b": (30_697_345_340, 575_743_536),
}

#: The same by Hugging Face's summary of the checkpoints (safetensors of google/gemma-4-E2B, E4B,
#: 26B-A4B, 31B).
HUGGING_FACE = {
    "gemma4_2b": 5_123_178_051,
    "gemma4_4b": 7_996_156_490,
    "gemma4_26b_a4b": 25_805_936_206,
    "gemma4_31b": 31_273_088_876,
}


def stated(preset: str) -> int:
    return keras_hub.models.CausalLM.presets[preset]["metadata"]["params"]


def text_parameters(name: str) -> int:
    return sum(variable.size for variable in weightless_variables(ARCHITECTURES[name]))


def unused_parameters(sizes: Mapping[str, Any]) -> Iterator[int]:
    """For each block that shares key and value, those that it would have by itself."""
    for block in range(sizes["num_layers"] - sizes.get("num_kv_shared_layers", 0), sizes["num_layers"]):
        is_global = sizes["layer_types"][block] == "full_attention"
        head_dim = sizes["global_head_dim"] if is_global else sizes["head_dim"]
        yield 2 * sizes["num_key_value_heads"] * sizes["hidden_dim"] * head_dim + head_dim


class TestArchitectures:
    @pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in GEMMA4])
    def test_parameters_are_those_that_kerashub_states(self, name: str) -> None:
        assert text_parameters(name) == stated(name)

    @pytest.mark.parametrize("name", [name for name in ENCODERS if name not in GEMMA4])
    def test_with_the_vision_encoder_they_are_those_of_the_vision_preset(self, name: str) -> None:
        assert text_parameters(name) + sum(encoder_parameters(name).values()) == stated(name.removesuffix("_text"))

    @pytest.mark.parametrize("name", GEMMA4)
    def test_gemma_4_by_tower(self, name: str) -> None:
        found = (text_parameters(name), *encoder_parameters(name).values())
        assert found == GEMMA4[name]
        # 5.1, 7.9, 26 and 31 billion: rounded, to within 1 %.
        assert sum(found) == pytest.approx(stated(name), rel=0.01)
        # The checkpoints of E2B and E4B also have key, value and key_norm of the blocks that use
        # those of an earlier block, and 928 numbers fewer in the encoders.
        unused = sum(unused_parameters(ARCHITECTURES[name]["config"]))
        assert sum(found) + unused - (928 if unused else 0) == HUGGING_FACE[name]

    def test_every_gemma_that_generates_has_one(self) -> None:
        families = tuple(f"gemma{number}_" for number in ("", 2, 3, 4))
        presets = [name for name in keras_hub.models.CausalLM.presets if name.startswith(families)]
        assistants = [name for name in presets if name.endswith("_assistant")]
        assert [name for name in presets if architecture_name(name) is None] == assistants
        assert {architecture_name(name) for name in presets if name not in assistants} == set(ARCHITECTURES)

    def test_other_presets_with_the_same_sizes(self) -> None:
        assert find_architecture("gemma3_instruct_4b") is ARCHITECTURES["gemma3_4b_text"]
        assert find_architecture("gemma_1.1_instruct_7b_en") is ARCHITECTURES["gemma_7b_en"]
        assert architecture_name("gemma_3b_en") is None

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
