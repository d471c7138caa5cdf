"""Plans: models without weights, the step that is compiled, whose collectives they are, and what the command says."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import keras
import keras_hub
import numpy as np
import pytest

from kit.cli.main import cli
from kit.course.shared import small_models as small
from kit.course.shared import tpu_step as tpu
from kit.course.shared.tensor_parallel import TENSOR_PARALLEL, small_config
from kit.dev.layout_search import candidates, needs_a_search
from kit.errors import UserError
from kit.evidence.attribution import BATCH_RULE, attribute, causes
from kit.evidence.hlo import first_group, instructions
from kit.evidence.rule_coverage import LayoutError
from kit.models.architectures import ARCHITECTURES, GEMMA_7B, find_architecture
from kit.models.known_layouts import LAYOUTS_FILE, find_layout
from kit.models.weightless import weightless_variables
from kit.tpu import compiler
from kit.tpu.compiler import compile_for_tpu, has_libtpu, topology_devices, usable_nbytes
from kit.tpu.plan import as_json, compare, make_plan, what_would_help
from kit.tpu.step import LoweredStep, StepParts, StepSettings, lower_step
from kit.tpu.topologies import TOPOLOGIES, find_topology

needs_libtpu = pytest.mark.skipif(
    not has_libtpu(), reason="needs the TPU compiler: pip install -c constraints.txt -e '.[tpu]'"
)
#: Dimensions that 8 devices divide, and few blocks: a compile for a TPU of 2 s.
SMALL = small_config(num_layers=4)
RIGHT = tpu.right_parts()


def with_layout(change: Callable[[keras.distribution.LayoutMap], Any]) -> StepParts:
    """The right parts, but for a change of their layout map."""

    def make(mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(mesh)
        layout_map["token_embedding/embeddings"] = ("model", None)
        layout_map[".*/(query|key|value|attention_output)/kernel"] = ("model", None, None)
        layout_map[".*/ffw_gating(_2)?/kernel"] = (None, "model")
        layout_map[".*/ffw_linear/kernel"] = ("model", None)
        change(layout_map)
        return layout_map

    return StepParts(make, RIGHT.enable_lora, RIGHT.compile_for_finetuning)


def turned(layout_map: keras.distribution.LayoutMap) -> None:
    del layout_map[".*/ffw_linear/kernel"]
    layout_map[".*/ffw_linear/kernel"] = (None, "model")


def traced(step: LoweredStep, text: str) -> tuple[Any, ...]:
    return attribute(
        text,
        [[slot.variable for slot in group] for group in step.slots],
        [(rule.pattern, rule.spec, rule.paths) for rule in step.coverage.rules],
        [],
        step.axes,
    )


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
            # Not getrusage: that counts what the process which started this one had.
            "print(time.perf_counter() - started, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, kilobytes = map(float, finished.stdout.split())
        assert seconds < 5
        assert kilobytes < 1e6

    def test_a_folder_has_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(small_config()))
        assert find_architecture(str(tmp_path))["config"]["hidden_dim"] == 40
        with pytest.raises(UserError, match="nowhere: neither a folder nor a model whose sizes are known"):
            find_architecture("nowhere")


class TestProgramText:
    TEXT = """
  %a.1 = f32[2,4]{1,0} parameter(0), metadata={op_name="state[0][1]"}
  %ar = f32[2,4]{1,0:T(2,128)} all-reduce(%a.1), replica_groups={{0,4},{1,5}}, to_apply=%sum
  %ars = f32[8]{0} all-reduce-start(%a.1), replica_groups=[2,4]<=[8]
  %ard = f32[8]{0} all-reduce-done(%ars)
  %ags = (bf16[4]{0}, bf16[32]{0}) all-gather-start(%a.1), replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}
  %agd = bf16[32]{0} all-gather-done(%ags)
  %both = (f32[3]{0}, f32[5]{0:T(256)S(1)}) all-reduce(%a.1, %ard), replica_groups=mesh['x'=2,'y'=4] {'y'}
  ROOT %cp = pred[16]{0} collective-permute(%a.1), source_target_pairs={{2,6},{6,2}}
"""

    def test_bytes_and_kinds(self) -> None:
        found = [(one.kind, one.nbytes) for one in instructions(self.TEXT) if one.kind]
        # An exchange that is begun and finished is one, and what goes into a gather is not counted.
        assert found == [
            ("all-reduce", 32),
            ("all-reduce", 32),
            ("all-gather", 64),
            ("all-reduce", 32),
            ("collective-permute", 16),
        ]

    def test_who_takes_part(self) -> None:
        groups = [first_group(one.attributes, 8) for one in instructions(self.TEXT) if one.kind]
        assert groups == [(0, 4), (0, 1, 2, 3), (0, 4), (0, 1, 2, 3), (2, 6)]
        assert first_group("", 4) == (0, 1, 2, 3)


class TestStep:
    """Keras' own step, lowered without weights; here for the simulated devices, so that it can be run."""

    @pytest.mark.parametrize("rank", [3, 0])
    def test_it_is_the_one_that_fit_runs(self, rank: int) -> None:
        distribution = small.set_distribution(1, 8)
        settings = StepSettings((1, 8), rank=rank, batch_size=4, sequence_length=small.SEQUENCE_LENGTH)
        config = small_config(num_layers=1)
        lowered = lower_step(config, settings, RIGHT, jax.devices(), None).lowered
        keras.distribution.set_distribution(distribution)
        model = small.small_model(rank=rank, num_layers=1)
        RIGHT.compile_for_finetuning(model, 5e-5, 0.01)
        model.optimizer.build(model.trainable_variables)
        data = model.preprocessor(small.texts(4))
        model._symbolic_build(data_batch=data)
        groups = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        # A copy: the step gives the arrays up.
        state = tuple([jax.numpy.copy(variable.value) for variable in variables] for variables in groups)
        sharded = jax.device_put(data, distribution.get_data_layout((4, 24)).backend_layout)
        logs, after = lowered.compile()(state, sharded)
        expected = model.train_on_batch(np.array(small.texts(4), dtype=object), return_dict=True)
        keras.distribution.set_distribution(None)
        assert float(logs["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
        assert len(after[0]) >= 4
        found = {variable.path: value for variable, value in zip(model.trainable_variables, after[0], strict=True)}
        trained = {variable.path: variable.value for variable in model.trainable_variables}
        chex.assert_trees_all_equal_comparator(
            lambda mine, right: mine.sharding.is_equivalent_to(right.sharding, mine.ndim),
            lambda mine, right: f"{mine.sharding} is not {right.sharding}",
            found,
            trained,
        )
        chex.assert_trees_all_close(found, trained, rtol=1e-6, atol=1e-7)

    def test_a_moment_is_where_its_variable_is(self) -> None:
        step = lower_step(SMALL, StepSettings((2, 4), rank=0), RIGHT, jax.devices(), None)
        places = {slot.path: slot.spec for slot in step.slots[0]}
        moments = [slot for slot in step.slots[2] if slot.variable]
        assert len(moments) == 2 * len(places)
        assert all(slot.spec == places[slot.variable] for slot in moments)
        assert any("model" in slot.spec for slot in moments)

    def test_no_weight_is_made(self) -> None:
        step = lower_step(GEMMA_7B, StepSettings((1, 8), rank=0), RIGHT, jax.devices(), 1)
        # 1.06 billion parameters and as many moments, twice: 13 GB, were they made.
        assert sum(math.prod(slot.shape) for group in step.slots for slot in group) > 3e9

    def test_what_keras_would_refuse(self) -> None:
        def overlapping(layout_map: keras.distribution.LayoutMap) -> None:
            layout_map[".*/query/kernel"] = ("model", None, None)

        def too_long(layout_map: keras.distribution.LayoutMap) -> None:
            layout_map[".*/pre_ffw_norm/scale"] = ("model", None)

        def indivisible(layout_map: keras.distribution.LayoutMap) -> None:
            layout_map[".*/query_norm/scale"] = ("model",)

        settings = StepSettings((1, 8))
        with pytest.raises(LayoutError, match="2 rules for decoder_block_0/attention/query/kernel"):
            lower_step(SMALL, settings, with_layout(overlapping), jax.devices(), 1)
        with pytest.raises(LayoutError, match="does not fit decoder_block_0/pre_ffw_norm/scale"):
            lower_step(SMALL, settings, with_layout(too_long), jax.devices(), 1)
        with pytest.raises(LayoutError, match="dimension 0 of decoder_block_0/attention/key/kernel"):
            lower_step(ARCHITECTURES["gemma2_2b_en"], settings, with_layout(indivisible), jax.devices(), 1)


class TestAttribution:
    @pytest.mark.parametrize("mesh", [(1, 8), (2, 4)])
    @pytest.mark.parametrize("change", [lambda layout_map: None, turned])
    def test_every_byte_has_a_layer_and_a_rule(self, mesh: tuple[int, int], change: Any) -> None:
        step = lower_step(SMALL, StepSettings(mesh), with_layout(change), jax.devices(), None)
        found = traced(step, step.lowered.compile().as_text())
        nbytes = sum(one.nbytes for one in found)
        known = sum(one.nbytes for one in found if one.layer and one.rule)
        assert nbytes > 100_000
        assert known >= 0.95 * nbytes
        assert any(one.rule == BATCH_RULE for one in found) == (mesh == (2, 4))

    def test_a_rule_has_the_collectives_that_it_causes(self) -> None:
        found = []
        for change in (lambda layout_map: None, turned):
            step = lower_step(SMALL, StepSettings((1, 8)), with_layout(change), jax.devices(), None)
            all_causes = causes(traced(step, step.lowered.compile().as_text()))
            found.append({(c.layer_kind, c.kind): c for c in all_causes if "ffw_linear" in str(c.rule)})
        right, wrong = found
        forward = right["decoder_block_N/ffw_linear", "all-reduce"]
        # One for each of the four blocks: 2 x 128 x 40 float32 numbers.
        assert (forward.count, forward.nbytes) == (4, 4 * 2 * 128 * 40 * 4)
        assert str(forward.rule) == "rule 4, .*/ffw_linear/kernel"
        assert sum(c.nbytes for c in wrong.values()) > sum(c.nbytes for c in right.values())

    def test_what_cannot_be_traced_is_said_so(self) -> None:
        text = "  %x = f32[4]{0} parameter(0)\n  %y = f32[4]{0} all-reduce(%x), replica_groups={{0,1}}\n"
        (found,) = attribute(text, [[]], [("a.*", ("model",), ["a/kernel"])], [], {"batch": 1, "model": 2})
        assert (found.layer, found.rule, found.axes) == (None, None, ("model",))


@needs_libtpu
class TestCompiler:
    @pytest.mark.parametrize("name", TOPOLOGIES)
    def test_each_topology_is_there(self, name: str) -> None:
        topology = find_topology(name)
        assert len(topology_devices(topology)) == topology.devices
        # Of 8 GB on a v2 to 103 GB on a v5p, the compiler leaves at least 88 %.
        assert 7e9 < usable_nbytes(topology) < 105e9

    def test_peak_figures_are_jax_own(self) -> None:
        from jax._src.pallas.mosaic import tpu_info

        # Its name since jax 0.12, and before.
        ask = getattr(tpu_info, "get_tpu_info_for_chip", None) or tpu_info._get_tpu_info_impl
        for topology in TOPOLOGIES.values():
            version = tpu_info.ChipVersion(topology.name.partition("-")[0])
            cores = 2 if topology.name in ("v4-8", "v5p-8") else 1
            theirs = ask(version, cores)
            assert topology.peak_flops == pytest.approx(theirs.bf16_ops_per_second * cores, rel=1e-6)
            assert topology.hbm_bandwidth == pytest.approx(theirs.mem_bw_bytes_per_second * cores, rel=1e-6)
            # Theirs are rounded to a billion.
            assert usable_nbytes(topology) <= 1.05 * theirs.hbm_capacity_bytes * cores

    def test_few_blocks_stand_for_all(self) -> None:
        topology, settings = find_topology("v3-8"), StepSettings((1, 8))
        whole = make_plan(SMALL, topology, settings, RIGHT)
        few = make_plan(SMALL, topology, settings, RIGHT, (2, 3))
        assert few.layers == whole.layers == 4
        assert few.arguments == pytest.approx(whole.arguments, rel=0.01)
        assert few.flops == pytest.approx(whole.flops, rel=0.01)
        assert few.by_kind() == whole.by_kind()
        assert whole.attributed_share >= 0.95
        # 4 for each block, of which the first needs one less on the way back; and those of embeddings and loss.
        assert abs(whole.by_kind()["all-reduce"][0] - (4 * 4 + 3)) <= 4

    def test_a_rule_makes_the_difference(self) -> None:
        topology, settings = find_topology("v3-8"), StepSettings((1, 8))

        def missed(layout_map: keras.distribution.LayoutMap) -> None:
            del layout_map[".*/ffw_gating(_2)?/kernel"]
            layout_map[".*/ffw_gating/kernel"] = (None, "model")

        plans = [
            make_plan(SMALL, topology, settings, with_layout(change), (2,))
            for change in (lambda layout_map: None, missed)
        ]
        first = compare(*plans)[0]
        assert first.layer_kind == "decoder_block_N/ffw_gating_2"
        assert first.rules[1] == "no rule"
        # Two blocks of 40 x 56 float32 numbers, whole instead of an eighth.
        assert first.held[1] - first.held[0] == 2 * 40 * 56 * 4 * 7 // 8
        assert plans[1].arguments > plans[0].arguments
        assert compare(plans[0], plans[0]) == ()

    def test_what_does_not_fit(self) -> None:
        topology = find_topology("v2-8")
        nothing = StepParts(keras.distribution.LayoutMap, RIGHT.enable_lora, RIGHT.compile_for_finetuning)
        plan = make_plan(GEMMA_7B, topology, StepSettings((1, 8), rank=0), nothing, (2,))
        assert not plan.fits
        assert plan.peak > plan.usable
        assert plan.causes is None
        advice = what_would_help(plan)
        assert advice[0].startswith("a layout that splits every matrix: 20 variables")
        assert any("LoRA" in line for line in advice)
        content = as_json(plan)
        assert content["flops"] is None
        assert content["collectives"] == {}

    def test_other_settings(self) -> None:
        topology = find_topology("v3-8")
        plain, half = (
            make_plan(SMALL, topology, StepSettings((1, 8), rank=0, dtype=dtype), RIGHT)
            for dtype in ("float32", "bfloat16")
        )
        # Weights and moments, all but a few numbers. Adapters are float32 whatever the model is.
        assert half.counted_arguments == pytest.approx(plain.counted_arguments / 2, rel=0.001)
        # A small model's activations find room in the core, and are no temporaries in HBM.
        plain, remat = (
            make_plan(GEMMA_7B, topology, StepSettings((1, 8), batch_size=8, remat=remat), RIGHT, (2,))
            for remat in (False, True)
        )
        assert remat.temporaries < 0.9 * plain.temporaries
        assert remat.flops > 1.1 * plain.flops

    def test_a_program_that_fails_otherwise_is_an_error(self) -> None:
        class Broken:
            def compile(self) -> None:
                raise jax.errors.JaxRuntimeError("INTERNAL: something else")

        with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
            compile_for_tpu(Broken())


LAYOUTS = json.loads(LAYOUTS_FILE.read_text())


class TestLayouts:
    @pytest.mark.parametrize(("preset", "mesh"), [(preset, mesh) for preset in LAYOUTS for mesh in LAYOUTS[preset]])
    def test_the_chosen_one_sends_least(self, preset: str, mesh: str) -> None:
        entry = LAYOUTS[preset][mesh]
        config = ARCHITECTURES[preset]
        batch, model = map(int, mesh.split("x"))
        assert bool(entry["enumerated"]) == needs_a_search(config, model)
        if entry["enumerated"]:
            enumerated = [{name: one[name] for name in entry["choice"]} for one in entry["enumerated"]]
            assert enumerated == [dict(candidate.choice) for candidate in candidates(config, model)]
            best = min(entry["enumerated"], key=lambda one: (one["collective_bytes"], one["argument_bytes"]))
            assert {name: best[name] for name in entry["choice"]} == entry["choice"]
        else:
            # The golden specs are those that the checks of the course have.
            for path, spec in entry["layout"].items():
                assert tuple(spec) == TENSOR_PARALLEL[path.removeprefix("decoder_block_N/")]
        shapes = {
            variable.path.replace("decoder_block_0", "decoder_block_N"): variable.shape
            for variable in weightless_variables(config, num_layers=1)
        }
        for path, spec in entry["layout"].items():
            assert len(spec) == len(shapes[path])
            assert all(size % model == 0 for size, axis in zip(shapes[path], spec, strict=True) if axis == "model")
        assert (find_layout(preset, (batch, model)) is not None) == bool(entry["enumerated"])

    def test_every_model_with_fewer_heads_has_one(self) -> None:
        for preset, config in ARCHITECTURES.items():
            assert LAYOUTS[preset].keys() == {"1x8", "2x4", "4x2", "1x4", "2x2"}
            for batch, model in ((1, 8), (2, 4), (4, 2), (1, 4), (2, 2)):
                assert (find_layout(preset, (batch, model)) is not None) == needs_a_search(config, model)


def run_plan(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


class TestCommand:
    @needs_libtpu
    def test_json_is_all_that_standard_output_has(self) -> None:
        finished = run_plan("gemma_7b_en", "--layers", "2", "--json")
        assert finished.returncode == 0, finished.stderr
        content = json.loads(finished.stdout)
        assert content["fits"] is True
        assert content["per_device"].keys() >= {"arguments_bytes", "temporary_bytes", "peak_bytes", "usable_bytes"}
        # Counted by hand: weights of embeddings and two blocks over 8 cores; of adapters and their moments A over 8 cores, and B on each.
        weights = (256_000 * 3072 + 2 * (4 * 16 * 3072 * 256 + 3 * 3072 * 24_576)) * 4 / 8
        adapters = 3 * 2 * 2 * (16 * 3072 * 4 / 8 + 4 * 256) * 4
        assert content["per_device"]["arguments_bytes"] == pytest.approx(weights + adapters, rel=0.001)
        assert content["collectives"]["all-reduce"]["count"] == pytest.approx(4 * 2 + 5, abs=2)
        assert content["flops_per_parameter_and_token"] == pytest.approx(4, rel=0.05)
        assert content["tokens_per_second"] == pytest.approx(256 / content["estimated_seconds"])
        assert content["attributed_share"] >= 0.95

    @needs_libtpu
    def test_several_at_once_and_without_the_environment(self, tmp_path: Path) -> None:
        """No lock of libtpu's is tripped over, and no metadata server waited for, which takes three minutes."""
        import os

        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("TPU_", "ALLOW_MULTIPLE"))
        }
        command = [
            sys.executable,
            "-c",
            "from kit.cli.main import main; main()",
            "plan",
            "gemma3_270m",
            "--layers",
            "1",
        ]
        started = time.perf_counter()
        running = [
            subprocess.Popen(
                [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for more in (["--picture", str(tmp_path / "a.svg")], ["--topology", "v5e-4", "--batch-size", "4"])
        ]
        outputs = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0], outputs
        assert all("it fits" in output for output, _ in outputs)
        assert time.perf_counter() - started < 120
        assert "<svg" in (tmp_path / "a.svg").read_text()

    @needs_libtpu
    def test_what_a_person_reads(self, tmp_path: Path) -> None:
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
        assert (
            finished.stderr.strip()
            .splitlines()[-1]
            .endswith("the plan failed at layout.py:2 (NameError: name 'undefined' is not defined).")
        )

    @needs_libtpu
    @pytest.mark.parametrize(
        ("rank", "sentence"), [("4", "adapters are added to outputs in float32"), ("0", "AdamW moves no weight")]
    )
    def test_in_bfloat16_it_is_the_step_of_kit_run(self, rank: str, sentence: str) -> None:
        finished = run_plan("bundled", "--layers", "1,2", "--dtype", "bfloat16", "--rank", rank, "--json")
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count(sentence) == 1
        assert json.loads(finished.stdout)["fits"]

    @needs_libtpu
    def test_in_bfloat16_a_persons_own_adapters_are_planned(self, tmp_path: Path) -> None:
        layout = (Path(__file__).parents[2] / "kit" / "reference" / "layout.py").read_text()
        (tmp_path / "layout.py").write_text(layout)
        (tmp_path / "precision.py").write_text("def add_adapters_in_float32(model):\n    model.mine()\n")
        finished = run_plan("bundled", "--layers", "1", "--dtype", "bfloat16", "--impl", str(tmp_path))
        assert finished.returncode == 2
        assert "the plan failed at precision.py:2 (AttributeError" in finished.stderr

    @needs_libtpu
    def test_differences_as_json(self, tmp_path: Path) -> None:
        layout = (Path(__file__).parents[2] / "kit" / "reference" / "layout.py").read_text()
        (tmp_path / "layout.py").write_text(layout.replace("ffw_gating(_2)?", "ffw_gating"))
        finished = run_plan("bundled", "--layers", "1", "--json", "--compare", "reference", str(tmp_path))
        assert finished.returncode == 0, finished.stderr
        content = json.loads(finished.stdout)
        first = content["differences"][0]
        assert first["layer_kind"] == "decoder_block_N/ffw_gating_2"
        assert first["held"] == [128 * 512 * 4 // 8, 128 * 512 * 4]
        assert content["a"]["fits"]
        assert content["b"]["fits"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--topology", "v9-8"], "--topology v9-8: there is v2-8, v3-8, v4-8, v5e-4, v5e-8, v5p-8, v6e-8."),
            (["--mesh", "2x8"], "--mesh 2x8: that takes 16 devices, and a v3-8 has 8."),
            (["--topology", "v4-8", "--mesh", "1x8"], "has 4 (the two cores of a chip are one device)."),
            (["--mesh", "2x4", "--batch-size", "3"], "--batch-size 3: the mesh 2x4 splits a batch into 2 equal parts"),
            (["--rank", "-1"], "--rank -1: it must be at least 0."),
            (["--sequence-length", "0"], "--sequence-length 0: it must be at least 1."),
            (["--dtype", "int8"], "--dtype int8: choose one of float32, bfloat16, mixed_bfloat16."),
            (["--layers", "4,2"], "--layers 4,2: it is `all`, a number of decoder blocks such as 2, or two that rise"),
            (["--layers", "two"], "--layers two: it is `all`"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, arguments: list[str], message: str) -> None:
        with pytest.raises(UserError, match=re.escape(message)):
            cli(["plan", "gemma_7b_en", *arguments], standalone_mode=False)

    @needs_libtpu
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["no_such_model"], "no_such_model: neither a folder nor a model whose sizes are known. There is bundled,"),
            (["gemma_7b_en", "--layers", "29"], "--layers 29: gemma_7b_en has 28 decoder blocks."),
            (["gemma_7b_en", "--impl", "nowhere"], "--impl nowhere: there is no such folder here"),
            (["gemma_7b_en", "--impl", "exercises"], "layout.gemma_layout_map is still to be written"),
            (["gemma_7b_en", "--picture", "a.pdf"], "--picture a.pdf: its name ends in .svg or .png."),
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
