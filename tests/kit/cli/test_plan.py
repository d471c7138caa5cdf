"""`kit plan`."""

import json
import os
import re
import resource
import subprocess
import time
from pathlib import Path

import pytest
from command_line import KIT, kit
from exercise_folder import reference_source
from tpu_plans import needs_libtpu

from kit.cli.main import cli
from kit.errors import UserError
from kit.tpu import compiler


def run_plan(*arguments: str) -> subprocess.CompletedProcess:
    return kit("plan", *arguments, cwd=Path.cwd())


class TestCommand:
    @needs_libtpu
    def test_json_is_all_of_standard_output(self) -> None:
        finished = run_plan("gemma_7b_en", "--topology", "v3-8", "--layers", "2", "--json")
        assert finished.returncode == 0, finished.stderr
        content = json.loads(finished.stdout)
        assert content["fits"] is None
        assert content["answer"] == "2 of 28 blocks: not an answer"
        assert content["per_device"].keys() >= {"arguments_bytes", "temporary_bytes", "peak_bytes", "usable_bytes"}
        # Counted by hand: weights of embeddings and two blocks over 8 cores; of the adapters and
        # their moments A over 8 cores, and B replicated.
        weights = (256_000 * 3072 + 2 * (4 * 16 * 3072 * 256 + 3 * 3072 * 24_576)) * 4 / 8
        adapters = 3 * 2 * 2 * (16 * 3072 * 4 / 8 + 4 * 256) * 4
        assert content["per_device"]["arguments_bytes"] == pytest.approx(weights + adapters, rel=0.001)
        assert content["collectives"]["all-reduce"]["count"] == pytest.approx(4 * 2 + 5, abs=2)
        assert content["flops_per_parameter_and_token"] == pytest.approx(4, rel=0.05)
        assert content["tokens_per_second"] == pytest.approx(256 / content["estimated_seconds"])
        assert content["attributed_share"] >= 0.95

    @needs_libtpu
    def test_two_at_once_and_without_the_environment(self, tmp_path: Path) -> None:
        """They wait neither for a lock of libtpu nor three minutes for a metadata server."""
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("TPU_", "ALLOW_MULTIPLE"))
        }
        command, pipe = [*KIT, "plan", "gemma3_270m", "--layers", "1"], subprocess.PIPE
        started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        running = [
            subprocess.Popen([*command, *more], stdout=pipe, stderr=pipe, text=True, env=environment)
            for more in (["--picture", str(tmp_path / "a.svg")], ["--topology", "v5e-4", "--batch-size", "4"])
        ]
        outputs = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0], outputs
        assert all("1 of 18 blocks: not an answer" in output for output, _ in outputs)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        # On a busy machine they wait for a core as well.
        assert time.perf_counter() - started - cpu * max(1.0, os.getloadavg()[0]) < 120
        assert not any("it fits" in output or "not fit" in output for output, _ in outputs)
        assert "<svg" in (tmp_path / "a.svg").read_text()

    @needs_libtpu
    def test_the_output(self, tmp_path: Path) -> None:
        (tmp_path / "layout.py").write_text(
            "import keras\n\ndef gemma_layout_map(device_mesh):\n"
            "    made = keras.distribution.LayoutMap(device_mesh)\n"
            '    made["token_embedding/embeddings"] = ("model", None)\n'
            "    return made\n"
        )
        finished = run_plan("gemma_7b_en", "--layers", "1", "--compare", str(tmp_path), "reference")
        assert finished.returncode == 0, finished.stderr
        text = " ".join(finished.stdout.split())
        assert "decoder_block_N/ffw_gating: no rule against decoder_block.*ffw_gating(_2)?/kernel (-, model)" in text
        (tmp_path / "layout.py").write_text("def gemma_layout_map(device_mesh):\n    return undefined\n")
        finished = run_plan("gemma_7b_en", "--layers", "1", "--impl", str(tmp_path))
        assert finished.returncode == 2
        sentence = "the plan failed at layout.py:2 (NameError: name 'undefined' is not defined)."
        assert finished.stderr.strip().splitlines()[-1].endswith(sentence)

    @needs_libtpu
    @pytest.mark.parametrize(
        ("rank", "sentence"), [("4", "adapters are added to outputs in float32"), ("0", "AdamW moves no weight")]
    )
    def test_in_bfloat16_it_is_the_step_of_kit_run(self, rank: str, sentence: str) -> None:
        finished = run_plan("bundled", "--layers", "1,2", "--dtype", "bfloat16", "--rank", rank, "--json")
        assert finished.returncode == 0, finished.stderr
        assert " ".join(finished.stderr.split()).count(sentence) == 1
        assert json.loads(finished.stdout)["fits"]

    @needs_libtpu
    def test_in_bfloat16_it_plans_the_users_adapters(self, tmp_path: Path) -> None:
        (tmp_path / "layout.py").write_text(reference_source("layout"))
        (tmp_path / "precision.py").write_text("def add_adapters_in_float32(model):\n    model.mine()\n")
        finished = run_plan("bundled", "--layers", "1", "--dtype", "bfloat16", "--impl", str(tmp_path))
        assert finished.returncode == 2
        assert "the plan failed at precision.py:2 (AttributeError" in finished.stderr

    @needs_libtpu
    def test_one_device(self) -> None:
        """Nothing is sharded, and a quick program is enough where the step fits easily."""
        quick, full = (
            json.loads(run_plan("bundled", "--topology", "v5e-1", "--layers", "1", "--json", *more).stdout)
            for more in ([], ["--effort", "full"])
        )
        assert quick["mesh"] == {"batch": 1, "model": 1}
        assert (quick["effort"], full["effort"]) == ("quick", "full")
        assert quick["per_device"]["arguments_bytes"] == full["per_device"]["arguments_bytes"]
        assert quick["collectives"] == full["collectives"] == {}

    @needs_libtpu
    def test_arguments_that_do_not_fit_are_not_compiled(self) -> None:
        finished = run_plan("gemma4_4b", "--topology", "v5e-1")
        assert finished.returncode == 0, finished.stderr
        assert "it does not fit" in finished.stdout
        assert "the arguments alone do not fit" in finished.stdout
        assert "compiling" not in finished.stderr

    @needs_libtpu
    def test_differences_as_json(self, tmp_path: Path) -> None:
        layout = reference_source("layout").replace("ffw_gating(_2)?", "ffw_gating")
        (tmp_path / "layout.py").write_text(layout)
        finished = run_plan("bundled", "--layers", "1", "--json", "--compare", "reference", str(tmp_path))
        assert finished.returncode == 0, finished.stderr
        content = json.loads(finished.stdout)
        first = content["differences"][0]
        assert first["layer_kind"] == "decoder_block_N/ffw_gating_2"
        assert first["held"] == [128 * 512 * 4 // 8, 128 * 512 * 4]
        # One block says nothing about all.
        assert content["a"]["fits"] is None
        assert content["b"]["fits"] is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--topology", "v9-8"], "--topology v9-8: choose one of v5e-1, v5e-4, v5e-8, v5e-16, v6e-1, v6e-8,"),
            (["--mesh", "2x8"], "--mesh 2x8: it needs 16 devices, but a v5e-8 has 8."),
            (["--topology", "v5e-1", "--mesh", "1x8"], "--mesh 1x8: it needs 8 devices, but a v5e-1 has 1."),
            (["--topology", "v4-8", "--mesh", "1x8"], "has 4 (the two cores of a chip are one device)."),
            (["--mesh", "2x4", "--batch-size", "3"], "--batch-size 3: the mesh 2x4 splits a batch into 2 equal parts"),
            (["--rank", "-1"], "--rank -1: it must be at least 0."),
            (["--sequence-length", "0"], "--sequence-length 0: it must be at least 1."),
            (["--dtype", "int8"], "--dtype int8: choose one of float32, bfloat16, mixed_bfloat16."),
            (
                ["--layers", "4,2"],
                "--layers 4,2: give `all`, a number of decoder blocks such as 2, or two in ascending order",
            ),
            (["--layers", "two"], "--layers two: give `all`"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, arguments: list[str], message: str) -> None:
        with pytest.raises(UserError, match=re.escape(message)):
            cli(["plan", "gemma_7b_en", *arguments], standalone_mode=False)

    @needs_libtpu
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["no_such_model"], "no_such_model: neither a folder nor a known model. Choose one of bundled,"),
            (["gemma_7b_en", "--layers", "29"], "--layers 29: gemma_7b_en has 28 decoder blocks."),
            (["gemma_7b_en", "--impl", "nowhere"], "--impl nowhere: there is no such folder here"),
            (["gemma_7b_en", "--impl", "exercises"], "implement layout.gemma_layout_map first"),
            (["gemma_7b_en", "--picture", "a.pdf"], "--picture a.pdf: the name must end in .svg or .png."),
            (["gemma_7b_en", "--picture", "nowhere/a.png"], "there is no folder nowhere."),
        ],
    )
    def test_another_mistake_is_one_sentence(self, arguments: list[str], message: str) -> None:
        with pytest.raises(UserError, match=re.escape(message)):
            cli(["plan", *arguments], standalone_mode=False)

    def test_without_libtpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiler, "has_libtpu", lambda: False)
        with pytest.raises(UserError, match="libtpu, which has the TPU compiler, is not installed"):
            cli(["plan", "gemma_7b_en"], standalone_mode=False)
