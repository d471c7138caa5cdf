"""The checks as a library, and the pytest plugin: on a Qwen 3 from KerasHub, as an engineer would use them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.checks import (
    CheckFailed,
    check_layout_coverage,
    check_lora_parameters,
    check_mesh_invariance,
    check_placement,
    check_replicated_bytes,
)

ROOT = Path(__file__).parents[2]
#: What the kit's own command line has set for this process.
PREPARED = ("KERAS_BACKEND", "JAX_PLATFORMS", "XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL")

RULES = {
    "token_embedding/embeddings": ("model", None),
    ".*self_attention/(query|key|value)/kernel": (None, "model", None),
    ".*self_attention/attention_output/kernel": ("model", None, None),
    ".*feedforward_(gate|intermediate)_dense/kernel": (None, "model"),
    ".*feedforward_output_dense/kernel": ("model", None),
}


def make_backbone(lora_rank: int = 0, targets: tuple[str, ...] = ("query", "value"), num_layers: int = 2) -> Any:
    import keras_hub

    backbone = keras_hub.models.Qwen3Backbone(
        vocabulary_size=64,
        num_layers=num_layers,
        num_query_heads=8,
        num_key_value_heads=8,
        head_dim=6,
        hidden_dim=40,
        intermediate_dim=80,
    )
    if lora_rank:
        backbone.enable_lora(lora_rank, target_layer_names=list(targets))
    return backbone


def layout_map(device_mesh: Any, rules: dict[str, tuple[str | None, ...]] = RULES) -> Any:
    import keras

    made = keras.distribution.LayoutMap(device_mesh)
    for pattern, axes in rules.items():
        made[pattern] = axes
    return made


def failure(check: Callable[..., Any], *args: Any, **kwargs: Any) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        check(*args, **kwargs)
    text = str(caught.value)
    assert text.startswith(f"{caught.value.diagnosis.code}: ")
    assert "\nTry: " in text
    assert "kit lesson" not in text
    return caught.value


def with_rule(pattern: str, axes: tuple[str | None, ...] | None, replaces: str | None = None) -> dict[str, Any]:
    rules = {key: value for key, value in RULES.items() if key != replaces}
    return rules if axes is None else {**rules, pattern: axes}


FEEDFORWARD = ".*feedforward_output_dense/kernel"


@pytest.mark.spec
class TestLayoutCoverage:
    @pytest.mark.parametrize("shape", [(1, 8), (2, 4), (8, 1)])
    def test_a_right_one_passes(self, shape: tuple[int, int], device_mesh: Any, weightless_model: Any) -> None:
        variables = weightless_model(make_backbone)
        assert len(variables) == 24
        check_layout_coverage(layout_map(device_mesh(*shape)), variables)

    def test_a_model_and_its_variables_will_do(self, device_mesh: Any) -> None:
        import keras

        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, name="one")])
        rules = layout_map(device_mesh(), {"sequential.*/one/kernel": ("model", None)})
        check_layout_coverage(rules, model)
        check_layout_coverage(rules, model.variables)

    @pytest.mark.parametrize(
        ("pattern", "axes", "code", "in_the_panel"),
        [
            ("feedforward_output_dense/kernel", ("model", None), "LAYOUT_RULE_MATCHES_NOTHING", "matches nothing"),
            (".*(output|gate)_dense/kernel", ("model", None), "LAYOUT_RULES_OVERLAP", "2 matched by another rule too"),
            (FEEDFORWARD, ("model", None, None), "LAYOUT_SPEC_DOES_NOT_FIT", "3 entries for 2 dimensions"),
            (FEEDFORWARD, ("model", "model"), "LAYOUT_SPEC_DOES_NOT_FIT", "an axis twice"),
            (".*query_dense_layernorm/scale", ("model",), "LAYOUT_AXIS_DOES_NOT_DIVIDE", "8 does not divide 6"),
        ],
    )
    def test_a_wrong_rule(
        self, pattern: str, axes: Any, code: str, in_the_panel: str, device_mesh: Any, weightless_model: Any
    ) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(pattern, axes, replaces=FEEDFORWARD))
        failed = failure(check_layout_coverage, rules, weightless_model(make_backbone))
        assert failed.diagnosis.code == code
        assert in_the_panel in str(failed)
        # The unmatched are listed with their bytes, layers together.
        scale = r"transformer_layer_\*/self_attention_layernorm/scale +shape \(40\) +2 +320 B +no rule"
        assert re.search(scale, str(failed))

    def test_fewer_entries_than_dimensions_are_right(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(FEEDFORWARD, ("model",), replaces=FEEDFORWARD))
        check_layout_coverage(rules, weightless_model(make_backbone))

    def test_all_that_is_wrong_is_told_at_once(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = {**with_rule("nothing", (None, "model"), replaces=FEEDFORWARD), "nor_this": ("model",)}
        failed = failure(check_layout_coverage, layout_map(device_mesh(1, 8), rules), weightless_model(make_backbone))
        assert "1 more rule is wrong" in str(failed)
        assert str(failed).count("matches nothing") == 2

    def test_nothing_to_look_at(self, device_mesh: Any, weightless_model: Any) -> None:
        import keras

        empty, full = layout_map(device_mesh(), {}), layout_map(device_mesh())
        variables = weightless_model(lambda: make_backbone(num_layers=1))
        for check in (check_layout_coverage, check_replicated_bytes):
            assert failure(check, empty, variables).diagnosis.code == "NOTHING_TO_CHECK"
            assert failure(check, full, []).diagnosis.code == "NOTHING_TO_CHECK"
            # Not built.
            unbuilt = keras.Sequential([keras.layers.Dense(8)])
            assert failure(check, full, unbuilt).diagnosis.code == "NOTHING_TO_CHECK"


@pytest.mark.spec
class TestReplicatedBytes:
    def test_a_right_one_passes(self, device_mesh: Any, weightless_model: Any) -> None:
        check_replicated_bytes(layout_map(device_mesh(1, 8)), weightless_model(make_backbone), share=0.02)

    @pytest.mark.parametrize("pattern", list(RULES))
    def test_a_matrix_left_out(self, pattern: str, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule("", None, replaces=pattern))
        failed = failure(check_replicated_bytes, rules, weightless_model(make_backbone), share=0.02)
        assert failed.diagnosis.code == "LAYOUT_MATRIX_REPLICATED"
        assert re.search(r"of\s+the model's 149\.4 kB\s+whole", str(failed))

    def test_a_rule_that_splits_nothing(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(FEEDFORWARD, (None, None), replaces=FEEDFORWARD))
        failed = failure(check_replicated_bytes, rules, weightless_model(make_backbone), share=0.02)
        assert repr(FEEDFORWARD) in str(failed).replace("\n", " ")
        # An axis of one device splits nothing either.
        data_parallel = layout_map(device_mesh(8, 1))
        assert "100.00%" in str(failure(check_replicated_bytes, data_parallel, weightless_model(make_backbone)))

    def test_many_small_ones_are_much(self, device_mesh: Any) -> None:
        """In Gemma 7B each of the matrices that a rule for ffw_gating misses is below 1 % of the model."""
        from kit.models.architectures import GEMMA_7B
        from kit.models.weightless import weightless_variables

        rules = {
            "token_embedding/embeddings": ("model", None),
            "decoder_block.*attention.*kernel": ("model", None, None),
            "decoder_block.*ffw_gating/kernel": (None, "model"),
            "decoder_block.*ffw_linear/kernel": ("model", None),
        }
        variables = weightless_variables(GEMMA_7B)
        total = sum(variable.nbytes for variable in variables)
        missed = [variable for variable in variables if "ffw_gating_2" in variable.path]
        assert len(missed) == 28
        assert all(variable.nbytes < 0.01 * total for variable in missed)
        failed = failure(check_replicated_bytes, layout_map(device_mesh(1, 8), rules), variables)
        assert re.search(r"decoder_block_\*/ffw_gating_2/kernel +28 +\(3072, 24576\) +8\.46 GB", str(failed))

        del rules["decoder_block.*ffw_gating/kernel"]
        rules["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
        check_replicated_bytes(layout_map(device_mesh(1, 8), rules), variables, share=1e-4)

    def test_one_device_holds_everything(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 1))
        failed = failure(check_replicated_bytes, rules, weightless_model(make_backbone))
        assert failed.diagnosis.code == "NOTHING_TO_CHECK"

    @pytest.mark.parametrize("share", [-0.1, 1, 2])
    def test_a_share_is_a_share(self, share: float, device_mesh: Any, weightless_model: Any) -> None:
        with pytest.raises(ValueError, match="share must be"):
            check_replicated_bytes(layout_map(device_mesh()), weightless_model(make_backbone), share=share)


def set_distribution(made: Any) -> None:
    import keras

    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=made, batch_dim_name="batch", auto_shard_dataset=False)
    )


@pytest.mark.spec
class TestPlacement:
    def test_a_loaded_model(self, device_mesh: Any) -> None:
        set_distribution(layout_map(device_mesh(2, 4)))
        model = make_backbone(num_layers=1)
        check_placement(model, share=0.02)
        # The rules do not decide, the arrays do: the same question, a stricter answer.
        failed = failure(check_placement, model, share=0.001)
        assert failed.diagnosis.code == "LAYOUT_MATRIX_REPLICATED"
        assert re.search(r"sequence_output_layernorm/scale +1 +\(40\) +160 B", str(failed))

    def test_no_distribution(self, device_mesh: Any) -> None:
        import keras

        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
        failed = failure(check_placement, model)
        assert failed.diagnosis.code == "LOADING_NO_DISTRIBUTION"
        assert "1 of 8" in str(failed)

        # What is built later lies elsewhere.
        set_distribution(layout_map(device_mesh(), {".*kernel": (None, "model")}))
        model.add(keras.layers.Dense(24))
        failed = failure(check_placement, model)
        assert failed.diagnosis.code == "LOADING_DISTRIBUTION_TOO_LATE"
        assert "8 of 8" in str(failed)

    def test_nothing_to_look_at(self, simulated_devices: list[str]) -> None:
        from kit.models.weightless import no_weights

        with no_weights():
            model = make_backbone(num_layers=1)
        failed = failure(check_placement, model)
        assert failed.diagnosis.code == "NOTHING_TO_CHECK"
        assert "13 of the model's 13 weights have no value" in str(failed)
        assert failure(check_placement, []).diagnosis.code == "NOTHING_TO_CHECK"


@pytest.mark.params
class TestLoraParameters:
    @pytest.fixture(autouse=True)
    def without_weights(self, simulated_devices: list[str]) -> Any:
        """Shapes are all that is asked, so nothing needs a value."""
        from kit.models.weightless import no_weights

        with no_weights():
            yield

    def test_the_number_is_the_closed_form(self) -> None:
        # Of a kernel (40, 8, 6): A (40, 8, 4) and B (4, 6), in 2 projections of 2 layers.
        assert check_lora_parameters(make_backbone(4), rank=4) == 2 * 2 * (40 * 8 * 4 + 4 * 6)
        # Of a matrix (80, 40).
        backbone = make_backbone(3, ("feedforward_output_dense",))
        assert check_lora_parameters(backbone, 3, "feedforward_output_dense") == 2 * (80 * 3 + 3 * 40)
        # Of embeddings (64, 40).
        backbone = make_backbone(2, ("token_embedding", "key"))
        expected = 64 * 2 + 2 * 40 + 2 * (40 * 8 * 2 + 2 * 6)
        assert check_lora_parameters(backbone, 2, ("token_embedding", "key")) == expected

    def test_gemma_7b(self) -> None:
        from kit.models.architectures import GEMMA_7B
        from kit.models.weightless import build_backbone

        backbone = build_backbone(GEMMA_7B)
        backbone.enable_lora(4)
        assert check_lora_parameters(backbone, 4) == 11_067_392

    @pytest.mark.parametrize(
        ("rank", "targets", "code", "in_the_panel"),
        [
            (8, ("query", "value"), "LORA_WRONG_RANK", "transformer_layer_0/self_attention/value  4         8"),
            (4, ("query", "valeu"), "LORA_WRONG_TARGETS", "value  .*adapters  0 of 2 layers have them"),
            (4, ("query", "value", "key"), "LORA_WRONG_TARGETS", "key  .*none      2 of 2 layers have them"),
            (4, ("valeu",), "LORA_NOTHING_TRAINABLE", "value  .*adapters  0 of 2 layers have them"),
        ],
    )
    def test_not_what_was_wanted(self, rank: int, targets: tuple[str, ...], code: str, in_the_panel: str) -> None:
        failed = failure(check_lora_parameters, make_backbone(rank, targets), rank=4)
        assert failed.diagnosis.code == code
        assert re.search(in_the_panel, str(failed))

    def test_a_target_that_the_model_does_not_have(self) -> None:
        failed = failure(check_lora_parameters, make_backbone(4), 4, ("query", "value", "values"))
        assert failed.diagnosis.code == "LORA_WRONG_TARGETS"
        assert "named values" in str(failed)

    def test_the_base_is_trained_too(self) -> None:
        backbone = make_backbone(4)
        backbone.get_layer("sequence_output_layernorm").trainable = True
        failed = failure(check_lora_parameters, backbone, 4)
        assert failed.diagnosis.code == "LORA_BASE_NOT_FROZEN"
        assert re.search(r"sequence_output_layernorm/scale +1 +\(40\) +160 B", str(failed))

    def test_an_adapter_is_frozen(self) -> None:
        backbone = make_backbone(4)
        next(weight for weight in backbone.weights if weight.path.endswith("lora_kernel_b")).trainable = False
        failed = failure(check_lora_parameters, backbone, 4)
        assert failed.diagnosis.code == "LORA_WRONG_COUNT"
        assert re.search(r"lora_kernel_b +\(4, 6\) +\(4, 6\) +frozen", str(failed))
        assert f"{2 * 2 * (40 * 8 * 4 + 4 * 6) - 24:,}" in str(failed)

    def test_biases(self) -> None:
        """KerasHub leaves the biases of targeted layers trainable, and whoever does not know it is told."""
        import keras_hub

        backbone = keras_hub.models.QwenBackbone(
            vocabulary_size=64,
            num_layers=1,
            num_query_heads=8,
            num_key_value_heads=4,
            hidden_dim=48,
            intermediate_dim=80,
        )
        backbone.enable_lora(4)
        failed = failure(check_lora_parameters, backbone, 4)
        assert failed.diagnosis.code == "LORA_BASE_NOT_FROZEN"
        assert "train_biases=True" in str(failed)
        adapters = (48 * 8 * 4 + 4 * 6) + (48 * 4 * 4 + 4 * 6)
        assert check_lora_parameters(backbone, 4, train_biases=True) == adapters + 8 * 6 + 4 * 6

    def test_nothing_to_look_at(self) -> None:
        import keras

        failed = failure(check_lora_parameters, make_backbone(), 4)
        assert failed.diagnosis.code == "NOTHING_TO_CHECK"
        assert "enable_lora" in str(failed)
        assert failure(check_lora_parameters, keras.Sequential([]), 4).diagnosis.code == "NOTHING_TO_CHECK"
        with pytest.raises(ValueError, match="rank"):
            check_lora_parameters(make_backbone(), 0)


class Small:
    """A model of two matrices that compiles in a second, and what can be wrong with it."""

    def __init__(self, learning_rate: float = 0.1, scale: Callable[[], float] = lambda: 1.0, seed: Any = None) -> None:
        self.learning_rate, self.scale, self.seed = learning_rate, scale, seed

    def __call__(self) -> Any:
        import keras

        # Unnamed layers: Keras would call them dense_2 and dense_3 the next time.
        initializer = keras.initializers.GlorotUniform(self.seed() if self.seed else None)
        model = keras.Sequential(
            [
                keras.Input((16,)),
                keras.layers.Dense(24, "relu", kernel_initializer=initializer),
                keras.layers.Dense(8),
            ]
        )
        scale = self.scale()
        model.compile(
            optimizer=keras.optimizers.SGD(self.learning_rate),
            loss=lambda y, logits: scale * keras.ops.mean((y - logits) ** 2, axis=-1),
        )
        return model

    @staticmethod
    def layout_map(mesh: Any) -> Any:
        rules = {"sequential/dense/kernel": (None, "model"), "sequential/dense_1/kernel": ("model", None)}
        return layout_map(mesh, rules)

    @staticmethod
    def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(0)
        return random.normal(size=(examples, 16)).astype("float32"), random.normal(size=(examples, 8)).astype("float32")


def replicas() -> float:
    """A mistake: the loss is divided by a number that the mesh decides."""
    import keras

    distribution = keras.distribution.distribution()
    return 1.0 / distribution.num_model_replicas if distribution else 1.0


@pytest.mark.train
class TestMeshInvariance:
    @pytest.fixture(autouse=True)
    def nothing_is_left_set(self, simulated_devices: list[str]) -> Any:
        import keras

        yield
        assert keras.distribution.distribution() is None

    def test_a_right_one_passes(self) -> None:
        before, after = check_mesh_invariance(Small(), Small.batch(), Small.layout_map)
        assert after < before

    def test_dicts_and_fewer_devices_and_other_names(self) -> None:
        import keras

        def model() -> Any:
            source = keras.Input((16,), name="source")
            made = keras.Model({"source": source}, keras.layers.Dense(8)(source))
            made.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
            return made

        x, y = Small.batch()
        check_mesh_invariance(
            model,
            ({"source": x}, y, np.ones(8)),
            lambda mesh: layout_map(mesh, {"dense/kernel": ("tensor", None)}),
            meshes=[(2, 2)],
            axis_names=("data", "tensor"),
        )

    def test_a_loss_that_depends_on_the_mesh(self) -> None:
        failed = failure(
            check_mesh_invariance, Small(scale=replicas), Small.batch(), Small.layout_map, ((1, 8), (2, 4))
        )
        assert failed.diagnosis.code == "LOSS_DEPENDS_ON_MESH"
        assert "On the mesh (2, 4)" in str(failed)
        assert re.search(r"\(2, 4\) +\S+ +\S+ +[56]\.\de-01", str(failed))
        assert re.search(r"\(1, 8\) +\S+ +\S+ +\d\.\de-0[789]|\(1, 8\) +\S+ +\S+ +0\.0e\+00", str(failed))

    def test_a_model_that_is_another_each_time(self) -> None:
        seeds = iter(range(9))
        failed = failure(
            check_mesh_invariance, Small(seed=lambda: next(seeds)), Small.batch(), Small.layout_map, [(2, 4)]
        )
        assert failed.diagnosis.code == "MODEL_NOT_REPRODUCIBLE"
        assert "dense/kernel" in str(failed)

    def test_a_model_that_was_built_before(self) -> None:
        model = Small()()
        # Keras cannot compute with it on a mesh, and its own error would not say why.
        rules = {".*kernel": (None, "model")}
        failed = failure(
            check_mesh_invariance, lambda: model, Small.batch(), lambda mesh: layout_map(mesh, rules), [(2, 4)]
        )
        assert failed.diagnosis.code == "LOADING_DISTRIBUTION_TOO_LATE"

    def test_a_model_that_was_built_on_a_mesh(self, device_mesh: Any) -> None:
        set_distribution(layout_map(device_mesh(2, 4), {".*kernel": (None, "model")}))
        model = Small()()
        failed = failure(check_mesh_invariance, lambda: model, Small.batch(), Small.layout_map, [(2, 4)])
        assert failed.diagnosis.code == "LOADING_DISTRIBUTION_TOO_LATE"
        assert "the model for one device" in str(failed)

    def test_steps_that_show_nothing(self) -> None:
        failed = failure(check_mesh_invariance, Small(learning_rate=0.0), Small.batch(), Small.layout_map)
        assert failed.diagnosis.code == "NOTHING_TO_CHECK"
        failed = failure(check_mesh_invariance, Small(scale=lambda: float("nan")), Small.batch(), Small.layout_map)
        assert failed.diagnosis.code == "LOSS_NOT_FINITE"

    @pytest.mark.parametrize(
        ("rules", "code"),
        [
            ({"nothing": ("model",)}, "NOTHING_TO_CHECK"),
            ({}, "NOTHING_TO_CHECK"),
            ({".*dense.*/kernel": (None, "model"), ".*dense_1/.*": ("model",)}, "LAYOUT_RULES_OVERLAP"),
            ({".*dense/kernel": (None, None, "model")}, "LAYOUT_SPEC_DOES_NOT_FIT"),
        ],
    )
    def test_rules_are_judged_first(self, rules: dict[str, Any], code: str) -> None:
        failed = failure(check_mesh_invariance, Small(), Small.batch(), lambda mesh: layout_map(mesh, rules), [(1, 8)])
        assert failed.diagnosis.code == code

    @pytest.mark.parametrize(
        ("meshes", "examples", "code"),
        [
            ([], 8, "NOTHING_TO_CHECK"),
            ([(1, 1)], 8, "NOTHING_TO_CHECK"),
            ([(1, 8), (4, 4)], 8, "NOTHING_TO_CHECK"),
            ([(4, 2)], 6, "LAYOUT_AXIS_DOES_NOT_DIVIDE"),
            ([(4, 2)], 0, "NOTHING_TO_CHECK"),
        ],
    )
    def test_meshes_that_do_not_fit(self, meshes: list[tuple[int, int]], examples: int, code: str) -> None:
        failed = failure(check_mesh_invariance, Small(), Small.batch(examples), Small.layout_map, meshes)
        assert failed.diagnosis.code == code

    def test_an_error_of_theirs_is_theirs(self) -> None:
        import keras

        def broken() -> Any:
            if keras.distribution.distribution():
                raise LookupError("theirs")
            return Small()()

        with pytest.raises(LookupError, match="theirs"):
            check_mesh_invariance(broken, Small.batch(), Small.layout_map, [(2, 4)])
        with pytest.raises(ValueError, match="steps"):
            check_mesh_invariance(Small(), Small.batch(), Small.layout_map, steps=1)


class TestPlugin:
    def test_meshes(self, device_mesh: Any, simulated_devices: list[str]) -> None:
        assert simulated_devices == [f"cpu:{number}" for number in range(8)]
        for mesh, shape in ((device_mesh(), (1, 8)), (device_mesh(2), (2, 4)), (device_mesh(2, 2), (2, 2))):
            assert tuple(mesh.shape) == shape
            assert list(mesh.axis_names) == ["batch", "model"]
            assert list(mesh.devices.flatten()) == simulated_devices[: shape[0] * shape[1]]
        for wrong in ((3, 3), (0, 8), (1, -8)):
            with pytest.raises(ValueError, match=f"takes {wrong[0] * wrong[1]} devices, and there are 8"):
                device_mesh(*wrong)

    def test_a_preset_without_its_weights(self, weightless_model: Any) -> None:
        from kit.models.architectures import GEMMA_7B

        assert sum(variable.size for variable in weightless_model(GEMMA_7B)) == 8_537_680_896

    def test_a_task_makes_an_optimizer(self, weightless_model: Any) -> None:
        import keras_hub

        with pytest.raises(pytest.fail.Exception, match="backbone alone"):
            weightless_model(lambda: keras_hub.models.Qwen3CausalLM(backbone=make_backbone(num_layers=1)))
        with pytest.raises(ValueError, match="theirs"):
            weightless_model(lambda: (_ for _ in ()).throw(ValueError("theirs")))


def run_pytest(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as in a suite of one's own: none of what the kit has set for this process is set there."""
    inherited = {key: value for key, value in os.environ.items() if key not in PREPARED and "PYTEST" not in key}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**inherited, **environment},
        check=False,
    )


def own_files() -> dict[str, str]:
    """The files in the document, by their names."""
    text = (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`([\w.]+)`[^`]*:\n\n```\w+\n(.*?)```", text, re.DOTALL))


def capture_of_a_failure() -> str:
    text = (
        (ROOT / "docs" / "own_model.md")
        .read_text(encoding="utf-8")
        .partition("<!-- capture: pytest --tb=short -->\n")[2]
    )
    return re.match(r"```text\n(.*?)\n```", text, re.DOTALL)[1]


@pytest.mark.long
class TestOwnSuite:
    """What docs/own_model.md says to paste, pasted."""

    def test_ten_lines_of_code(self) -> None:
        files = own_files()
        assert set(files) == {"my_model.py", "test_my_model.py", "pytest.ini"}
        lines = [line for line in files["test_my_model.py"].splitlines() if line.strip()]
        assert len(lines) == 10
        assert "gemma" not in "".join(files.values()).lower()

    def test_it_passes(self, tmp_path: Path) -> None:
        for name, text in own_files().items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        # Its programs run for a moment: LLVM's optimization would take longer.
        finished = run_pytest(tmp_path, XLA_FLAGS="--xla_backend_optimization_level=0")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "4 passed" in finished.stdout

    def test_each_mistake_is_told(self, tmp_path: Path) -> None:
        """A conftest.py that imports Keras first is no harm, and the names of mistakes are in the short summary."""
        files, capture = own_files(), capture_of_a_failure()
        mistakes = {
            "typo": ('[".*feedforward_(gate', '["feedforward_(gate'),
            "hole": ('    layout_map["token_embedding/embeddings"] = ("model", None)\n', ""),
            "rank": ("lora_rank, target", "2 * lora_rank, target"),
            "name": ('["query", "value"]', '["query", "valeu"]'),
            "mesh": ("return keras_hub.models.Qwen3CausalLM", "return model_with_divided_loss"),
        }
        tests = {"typo": "rule", "hole": "replicated", "rank": "lora", "name": "lora", "mesh": "mesh"}
        selected = []
        for name, (right, wrong) in mistakes.items():
            model = files["my_model.py"].replace(right, wrong)
            assert model != files["my_model.py"], name
            (tmp_path / f"my_{name}.py").write_text(model + DIVIDED_LOSS, encoding="utf-8")
            test = files["test_my_model.py"].replace("my_model", f"my_{name}")
            # One mesh will do here.
            (tmp_path / f"test_{name}.py").write_text(
                test.replace("(1, 8), (2, 4), (8, 1)", "(2, 4),"), encoding="utf-8"
            )
            (function,) = re.findall(rf"def (test_\w*{tests[name]}\w*)", test)
            selected.append(f"test_{name}.py::{function}")
        (tmp_path / "pytest.ini").write_text(files["pytest.ini"], encoding="utf-8")
        (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        finished = run_pytest(tmp_path, "--tb=short", *selected, XLA_FLAGS="--xla_backend_optimization_level=0")
        assert finished.returncode == 1, finished.stdout + finished.stderr
        assert "5 failed" in finished.stdout
        sections = re.split(r"^_{3,} ", finished.stdout, flags=re.M)[1:]
        codes = [re.findall(r"CheckFailed: ([A-Z_]+): ", section)[0] for section in sections]
        assert codes == [
            "LAYOUT_RULE_MATCHES_NOTHING",
            "LAYOUT_MATRIX_REPLICATED",
            "LORA_WRONG_RANK",
            "LORA_WRONG_TARGETS",
            "LOSS_DEPENDS_ON_MESH",
        ]
        # What the document shows is what is said.
        said = "\n".join(line.rstrip() for line in finished.stdout.splitlines())
        assert capture in said.replace("test_typo.py", "test_my_model.py")
        # The person's own line, the panel, and no frame of the kit's.
        assert "kit/checks" not in finished.stdout
        assert all("\nE   Try: " in section for section in sections)


#: Imported before any test module, with a backend that must have been chosen by then.
CONFTEST = """
from kit.runtime.platform import keep_tensorflow_out
keep_tensorflow_out()
import keras
assert keras.backend.backend() == "jax"
assert len(keras.distribution.list_devices()) == 8
"""

DIVIDED_LOSS = """

def model_with_divided_loss(backbone):
    task = keras_hub.models.Qwen3CausalLM(backbone=backbone)
    distribution = keras.distribution.distribution()
    replicas = distribution.num_model_replicas if distribution else 1
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task.compile(loss=lambda y, logits: cross_entropy(y, logits) / replicas)
    return task
"""


class TestPluginInOtherSuites:
    def test_it_costs_nothing_at_the_start(self, tmp_path: Path) -> None:
        """What pytest has imported when the first test is collected, with the plugin and without."""
        (tmp_path / "test_modules.py").write_text(
            "import sys\nmodules = sorted(sys.modules)\n\ndef test_it():\n    print('MODULES', *modules)\n"
        )
        loaded = []
        for options in ([], ["-p", "no:kit"]):
            finished = run_pytest(tmp_path, "-s", *options)
            assert finished.returncode == 0, finished.stdout + finished.stderr
            loaded.append(set(re.search(r"MODULES (.*)", finished.stdout)[1].split()))
        assert loaded[0] - loaded[1] == {"kit", "kit.pytest_plugin"}

    def test_without_the_option_the_fixture_sets_the_environment(self, tmp_path: Path) -> None:
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
            "def test_nothing_is_left():\n"
            "    import keras\n"
            "    assert keras.distribution.distribution() is None\n"
        )
        # Its programs run for a moment: LLVM's optimization would take longer.
        finished = run_pytest(tmp_path, XLA_FLAGS="--xla_backend_optimization_level=0")
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def test_the_option_goes_before_the_ini_file(self, tmp_path: Path) -> None:
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
            ("import jax; jax.devices()", {"JAX_PLATFORMS": "cpu"}, "jax has started with 1 cpu device"),
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

    def test_a_number_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "pytest.ini").write_text("[pytest]\nsimulated_devices = many\n")
        # Its programs run for a moment: LLVM's optimization would take longer.
        finished = run_pytest(tmp_path, XLA_FLAGS="--xla_backend_optimization_level=0")
        assert finished.returncode == 4
        assert "simulated_devices = many: it takes a number of devices" in finished.stderr
