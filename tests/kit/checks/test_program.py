"""Checks of what the compiled training step sends, and of its memory."""

from typing import Any

import numpy as np
import pytest
from qwen_model import failure as wrapped_failure
from qwen_model import layout_map, make_backbone

from kit.checks import check_collectives, check_memory
from kit.checks.program import parse_bytes

RULES = {".*up/kernel": (None, "model"), ".*up/bias": ("model",), ".*down/kernel": ("model", None)}
#: The second matrix needs what the first has split.
TRANSPOSED = {".*up/kernel": (None, "model"), ".*down/kernel": (None, "model")}


def failure(*arguments: Any, **keywords: Any) -> str:
    """The diagnostic in one line."""
    return " ".join(wrapped_failure(*arguments, **keywords).split())


def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((examples, 64), "float32"), np.ones((examples, 32), "float32")


def make_model(width: int = 128, dtype: str = "float32", optimizer: str = "adam") -> Any:
    import keras

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(width, "gelu", name="up", dtype=dtype),
            keras.layers.Dense(32, name="down", dtype=dtype),
        ]
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def unchanged(model: Any) -> list[Any]:
    layouts = [variable._layout for variable in model.variables]
    return [model.optimizer, model.optimizer.built, model._compile_metrics, model._compile_metrics.built, layouts]


@pytest.mark.program
class TestCollectives:
    def test_right_layouts(self, mesh_1x8: Any, mesh_2x4: Any) -> None:
        model = make_model()
        before = unchanged(model)
        found = check_collectives(model, batch(), layout_map(mesh_1x8, RULES), {"all-gather": 0, "all-reduce": "4 kB"})
        assert found.by_kind()["all-reduce"][0] > 0
        assert unchanged(model) == before
        check_collectives(model, batch(), layout_map(mesh_2x4, RULES), {"all-gather": 0, "all": 20})

    def test_too_many(self, mesh_1x8: Any) -> None:
        text = failure(
            "STEP_TOO_MANY_COLLECTIVES",
            check_collectives,
            make_model(),
            batch(),
            layout_map(mesh_1x8, TRANSPOSED),
            {"all-gather": 0},
        )
        assert "all-gather" in text
        assert "at most 0 are allowed" in text

    def test_fully_sharded(self, mesh_1x8: Any) -> None:
        """Weights over the axis of the batch are gathered in each step, on purpose."""
        import keras

        mesh = keras.distribution.DeviceMesh((8, 1), ["batch", "model"], keras.distribution.list_devices())
        rules = {".*kernel": ("batch", None)}
        text = failure(
            "STEP_TOO_MANY_COLLECTIVES", check_collectives, make_model(), batch(64), layout_map(mesh, rules), {"all": 0}
        )
        assert "and at most 0 are allowed: sharded weights are gathered, first sequential" in text
        assert "Shard these weights over another dimension" in text

    def test_kinds_of_models(self, mesh_2x4: Any) -> None:
        """Weightless with LoRA; quantized; not built; without state of an optimizer."""
        import keras
        import keras_hub

        from kit.models.weightless import no_weights

        with no_weights():
            backbone = make_backbone(num_layers=1)
        model = keras_hub.models.Qwen3CausalLM(backbone=backbone, preprocessor=None)
        with no_weights():
            backbone.enable_lora(2)
        tokens = np.ones((8, 6), int)
        x = {"token_ids": tokens, "padding_mask": np.ones((8, 6), bool)}
        check_collectives(model, (x, tokens), layout_map(mesh_2x4), {"all-gather": 20})

        quantized = make_model(optimizer="sgd")
        quantized.get_layer("up").quantize("int8")
        check_collectives(quantized, batch(), layout_map(mesh_2x4, RULES), {"all": 40})

        unbuilt = keras.Sequential([keras.layers.Dense(16, name="up")])
        unbuilt.compile("sgd", "mse")
        check_collectives(unbuilt, (np.ones((8, 4)), np.ones((8, 16))), layout_map(mesh_2x4, RULES), {"all": 20})

    def test_wrong_input(self, mesh_2x4: Any) -> None:
        made = layout_map(mesh_2x4, RULES)
        failure("LAYOUT_AXIS_DOES_NOT_DIVIDE", check_collectives, make_model(), batch(5), made, {"all": 0})
        failure("LAYOUT_AXIS_DOES_NOT_DIVIDE", check_collectives, make_model(30), batch(), made, {"all": 0})
        failure("NOTHING_TO_CHECK", check_collectives, make_model(), batch(0), made, {"all": 0})
        for wrong, words in (({}, "must name"), ({"gather": 0}, "not a kind"), ({"all": -1}, "number of operations")):
            with pytest.raises(ValueError, match=words):
                check_collectives(make_model(), batch(), made, wrong)
        with pytest.raises(ValueError, match="choose one of"):
            check_collectives(make_model(), batch(), made, {"all": 0}, topology="v9-8")
        with pytest.raises(ValueError, match="has 16 JAX devices"):
            check_collectives(make_model(), batch(), made, {"all": 0}, topology="v5e-16")


def test_bytes_as_text() -> None:
    assert [parse_bytes(text) for text in ("14GB", "1.5 GiB", "40 kB", "7B")] == [
        14_000_000_000,
        1_610_612_736,
        40_000,
        7,
    ]
    for wrong in ("14", "GB", "14 TB", "-1GB", "14GBs"):
        with pytest.raises(ValueError, match="14GiB"):
            parse_bytes(wrong)


@pytest.mark.libtpu
class TestMemory:
    """By the TPU compiler, which takes seconds for a small step."""

    def test_a_small_step(self, mesh_1x8: Any) -> None:
        model = make_model(1024)
        before = unchanged(model)
        peak = check_memory(model, batch(), layout_map(mesh_1x8, RULES), "v5e-8", "10MB")
        # A shard of the weights and of both moments, at least.
        assert peak > 3 * 4 * (64 * 1024 + 1024 * 32) / 8
        assert unchanged(model) == before
        check_collectives(
            model, batch(), layout_map(mesh_1x8, RULES), {"all-gather": 0, "all": "1 MB"}, topology="v5e-8"
        )

    def test_each_cause(self, mesh_1x8: Any) -> None:
        # Replicated matrices: 8 times the bytes of the rules above.
        some = {".*up/bias": ("model",)}
        text = failure(
            "STEP_NEEDS_TOO_MUCH_MEMORY",
            check_memory,
            make_model(1024),
            batch(),
            layout_map(mesh_1x8, some),
            at_most="1MB",
        )
        assert "is replicated, and sharded it would be" in text
        assert "Shard the replicated matrices" in text
        text = failure(
            "STEP_NEEDS_TOO_MUCH_MEMORY",
            check_memory,
            make_model(1024, optimizer="sgd"),
            batch(8192),
            layout_map(mesh_1x8, RULES),
            at_most="4MB",
        )
        assert "is temporary, such as activations" in text

    def test_more_than_the_device_has(self, mesh_1x8: Any) -> None:
        """The compiler is not asked: the arguments alone are too many."""
        from kit.models.weightless import no_weights

        with no_weights():
            import keras

            model = keras.Sequential([keras.Input((65536,)), keras.layers.Dense(2**18, use_bias=False, name="up")])
        model.compile("adam", "mse")
        data = np.ones((8, 65536), "float32"), np.broadcast_to(np.float32(1), (8, 2**18))
        text = failure("STEP_NEEDS_TOO_MUCH_MEMORY", check_memory, model, data, layout_map(mesh_1x8, RULES))
        assert "of it is the optimizer's state" in text
        assert "needs at least 25.7" in text
