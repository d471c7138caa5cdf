"""The step that is compiled."""

import math

import chex
import jax
import keras
import numpy as np
import pytest
from tpu_plans import RIGHT, SMALL, with_layout

from kit.course.shared import small_models as small
from kit.course.shared.tensor_parallel import small_config
from kit.evidence.rule_coverage import LayoutError
from kit.models.architectures import ARCHITECTURES, GEMMA_7B
from kit.tpu.step import StepSettings, lower_step


class TestStep:
    """Keras' own step, lowered without weights; here for simulated devices, so that it can run."""

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
        untrained, moments = model.non_trainable_variables, model.optimizer.variables
        groups = (model.trainable_variables, untrained, moments, model.metrics_variables)
        # A copy, because the step donates the arrays.
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

    def test_moments_are_sharded_like_their_variables(self) -> None:
        step = lower_step(SMALL, StepSettings((2, 4), rank=0), RIGHT, jax.devices(), None)
        places = {slot.path: slot.spec for slot in step.slots[0]}
        moments = [slot for slot in step.slots[2] if slot.variable]
        assert len(moments) == 2 * len(places)
        assert all(slot.spec == places[slot.variable] for slot in moments)
        assert any("model" in slot.spec for slot in moments)

    def test_no_weight_is_allocated(self) -> None:
        step = lower_step(GEMMA_7B, StepSettings((1, 8), rank=0), RIGHT, jax.devices(), 1)
        # 1.06 billion parameters and twice as many moments would take 13 GB.
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
