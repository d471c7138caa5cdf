"""The reference parts against what is known without them: closed forms, an unsharded twin, and properties."""

import math
import re
from pathlib import Path
from typing import Any

import chex
import keras
import keras_hub
import numpy as np
import pytest

from kit.models.presets import BUNDLED_FOLDER
from kit.reference import checkpoint, generation, layout, loading, lora, mesh, reviews, training

PROMPT = "Best comedy movies in the 90s "


def load(device_mesh: Any, **options: Any) -> Any:
    model = loading.load_distributed(str(BUNDLED_FOLDER), layout.gemma_layout_map(device_mesh), **options)
    model.preprocessor.sequence_length = 32
    return model


def load_plain() -> Any:
    """The twin: no distribution, as KerasHub loads it."""
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    model.preprocessor.sequence_length = 32
    return model


@pytest.mark.spec
class TestMesh:
    def test_shape_names_and_order(self, devices: list[str]) -> None:
        shuffled = devices[::-1]
        made = mesh.make_device_mesh(2, 4, shuffled)
        assert made.shape == (2, 4)
        assert list(made.axis_names) == ["batch", "model"]
        assert made.devices.flatten().tolist() == shuffled

    def test_all_devices_by_default(self, devices: list[str]) -> None:
        assert mesh.make_device_mesh(1, 8).devices.flatten().tolist() == devices

    @pytest.mark.parametrize(("batch", "model"), [(1, 4), (3, 3), (0, 8), (-1, -8)])
    def test_both_numbers_are_named(self, devices: list[str], batch: int, model: int) -> None:
        with pytest.raises(ValueError, match=re.escape(str(batch * model)) + r" devices.*8"):
            mesh.make_device_mesh(batch, model, devices)


@pytest.mark.spec
class TestLoading:
    def test_every_matrix_is_where_the_rules_say(self, mesh_1x8: Any) -> None:
        model = load(mesh_1x8)
        table = loading.sharding_table(model.backbone.get_layer("decoder_block_1"))
        expected = {
            "attention/query/kernel": ((8, 128, 16), ("model", None, None)),
            "attention/key/kernel": ((8, 128, 16), ("model", None, None)),
            "attention/value/kernel": ((8, 128, 16), ("model", None, None)),
            "attention/attention_output/kernel": ((8, 16, 128), ("model", None, None)),
            "ffw_gating/kernel": ((128, 512), (None, "model")),
            "ffw_gating_2/kernel": ((128, 512), (None, "model")),
            "ffw_linear/kernel": ((512, 128), ("model", None)),
            "pre_attention_norm/scale": ((128,), (None,)),
            "pre_ffw_norm/scale": ((128,), (None,)),
        }
        assert {path.removeprefix("decoder_block_1/"): (shape, spec) for path, shape, spec in table} == expected
        embedding = model.backbone.token_embedding.embeddings.value
        assert {shard.data.shape for shard in embedding.addressable_shards} == {(256, 128)}

    def test_the_weights_are_those_of_a_plain_load(self, mesh_1x8: Any) -> None:
        sharded = {variable.path: variable.numpy() for variable in load(mesh_1x8).backbone.variables}
        plain = {variable.path: variable.numpy() for variable in load_plain().backbone.variables}
        assert len(plain) == 38
        assert sharded.keys() == plain.keys()
        for path, value in plain.items():
            np.testing.assert_array_equal(sharded[path], value, err_msg=path)

    def test_the_distribution_stays_set(self, mesh_1x8: Any) -> None:
        load(mesh_1x8)
        distribution = keras.distribution.distribution()
        assert isinstance(distribution, keras.distribution.ModelParallel)
        assert distribution.device_mesh is mesh_1x8


class TestReviews:
    EXAMPLES = tuple((f"Review <br /><br />{number}.", number % 2) for number in range(50))

    def test_batches_are_full_shuffled_clean_and_reproducible(self) -> None:
        batches = reviews.prepare_reviews(self.EXAMPLES, 4, 12, seed=1)
        assert [len(batch) for batch in batches] == [4] * 12
        flat = [text for batch in batches for text in batch]
        assert len(set(flat)) == 48
        assert set(flat) <= {f"Review {number}." for number in range(50)}
        assert flat != sorted(flat, key=lambda text: int(text[7:-1]))
        assert batches == reviews.prepare_reviews(iter(self.EXAMPLES), 4, 12, seed=1)
        assert batches != reviews.prepare_reviews(self.EXAMPLES, 4, 12, seed=2)

    def test_it_is_shuffled_before_a_part_is_taken(self) -> None:
        numbers = [int(batch[0][7:-1]) for batch in reviews.prepare_reviews(self.EXAMPLES, 1, 10, seed=3)]
        assert max(numbers) > 25

    def test_too_few(self) -> None:
        with pytest.raises(ValueError, match=r"52 reviews, and there are 50"):
            reviews.prepare_reviews(self.EXAMPLES, 4, 13, seed=0)

    @pytest.mark.parametrize("markup", ["<br />", "<br/>", "<br>", " <br /> <br /> ", "<br /><br /><br />"])
    def test_a_run_of_markup_is_one_space(self, markup: str) -> None:
        assert reviews.prepare_reviews([(f"One.{markup}Two.", 0)], 1, 1, 0) == [["One. Two."]]


class TestLora:
    @pytest.mark.params
    @pytest.mark.parametrize("rank", [1, 4, 7])
    def test_counts_in_closed_form(self, mesh_1x8: Any, rank: int) -> None:
        model = load(mesh_1x8)
        trainable, total = lora.count_parameters(model)
        assert trainable == total == 1_311_872
        lora.enable_lora(model, rank)
        added = 4 * 2 * rank * (8 * 128 + 16)
        assert lora.count_parameters(model) == (added, total + added)
        assert lora.expected_lora_parameters(model.backbone.get_config(), rank) == added

    @pytest.mark.params
    @pytest.mark.parametrize(
        ("architecture", "expected"),
        [
            # Gemma 7B: the tutorial's own number.
            (
                {
                    "num_layers": 28,
                    "num_query_heads": 16,
                    "num_key_value_heads": 16,
                    "hidden_dim": 3072,
                    "head_dim": 256,
                },
                11_067_392,
            ),
            # Gemma 2B has one key and value head: 18 x ((8 x 2048 + 256) + (2048 + 256)) x 4.
            (
                {"num_layers": 18, "num_query_heads": 8, "num_key_value_heads": 1, "hidden_dim": 2048, "head_dim": 256},
                1_363_968,
            ),
        ],
    )
    def test_at_true_size(self, architecture: dict[str, int], expected: int) -> None:
        assert lora.expected_lora_parameters(architecture, 4) == expected

    def test_only_query_and_value_are_trained(self, mesh_1x8: Any) -> None:
        model = load(mesh_1x8)
        lora.enable_lora(model, 4)
        paths = {variable.path for variable in model.trainable_variables}
        assert paths == {
            f"decoder_block_{block}/attention/{name}/lora_kernel_{side}"
            for block in range(4)
            for name in ("query", "value")
            for side in "ab"
        }


@pytest.mark.train
class TestTraining:
    def test_fit_is_the_step_by_hand(self, mesh_1x8: Any, reviews: list[str]) -> None:
        batches = [reviews[:4], reviews[4:8], reviews[8:12]]

        def fresh() -> Any:
            keras.utils.set_random_seed(3)
            model = load(mesh_1x8)
            lora.enable_lora(model, 4)
            training.compile_for_finetuning(model, 1e-3, 0.01)
            return model

        fitted = fresh()
        history = training.finetune(fitted, batches)
        stepped = fresh()
        stepped.optimizer.build(stepped.trainable_variables)
        step = training.make_train_step(stepped)
        state: Any = tuple(
            [variable.value for variable in variables]
            for variables in (stepped.trainable_variables, stepped.non_trainable_variables, stepped.optimizer.variables)
        )
        losses = []
        for batch in batches:
            state, loss = step(state, stepped.preprocessor(batch))
            losses.append(float(loss))
        # The mean of float32 losses, in another order of additions.
        assert history.history["loss"] == pytest.approx([float(np.mean(losses))], rel=1e-6)
        # Adam divides by the root of a mean of squares, which magnifies the last bit of a small gradient.
        trained = [variable.value for variable in fitted.trainable_variables]
        chex.assert_trees_all_close(trained, state[0], rtol=1e-5, atol=1e-7)

    def test_the_base_does_not_move_and_the_adapters_do(self, mesh_1x8: Any, reviews: list[str]) -> None:
        model = load(mesh_1x8)
        lora.enable_lora(model, 4)
        before = {variable.path: variable.numpy() for variable in model.variables}
        training.compile_for_finetuning(model, 1e-3, 0.01)
        training.finetune(model, [reviews[:8], reviews[8:]])
        moved = {path for path, value in before.items() if not np.array_equal(value, _find(model, path))}
        assert moved == {variable.path for variable in model.trainable_variables}

    def test_exclusions_without_lora(self, mesh_1x8: Any) -> None:
        model = load(mesh_1x8)
        training.compile_for_finetuning(model, 1e-3, 0.01)
        model.optimizer.build(model.trainable_variables)
        spared = {v.path for v in model.trainable_variables if not model.optimizer._use_weight_decay(v)}
        assert spared == {v.path for v in model.trainable_variables if v.path.endswith("/scale")}
        assert len(spared) == 9

    def test_padding_has_no_part_in_the_metrics(self, mesh_1x8: Any, reviews: list[str]) -> None:
        model = load(mesh_1x8)
        model.preprocessor.sequence_length = 64
        training.compile_for_finetuning(model, 1e-3, 0.0)
        _, targets, weight = model.preprocessor(reviews[:8])
        assert 0.2 < np.mean(weight) < 0.9
        predicted = np.asarray(model.predict_on_batch(reviews[:8])).argmax(axis=-1)
        expected = float(((predicted == np.asarray(targets)) * np.asarray(weight)).sum() / np.asarray(weight).sum())
        history = training.finetune(model, [reviews[:8]])
        assert history.history["sparse_categorical_accuracy"] == pytest.approx([expected], rel=1e-6)

    @pytest.mark.parametrize("shape", [(2, 4), (8, 1), None], ids=["2x4", "8x1", "one device"])
    def test_the_losses_are_those_of_any_mesh(self, devices: list[str], shape: tuple[int, int] | None) -> None:
        """Twenty steps at batch 8 on (1, 8) and on another mesh: 1e-5 relative, since sums over shards are reordered."""
        assert _losses_on(shape) == pytest.approx(_losses_on((1, 8)), rel=1e-5)


_LOSSES: dict[tuple[int, int] | None, list[float]] = {}


def _losses_on(shape: tuple[int, int] | None) -> list[float]:
    if shape in _LOSSES:
        return _LOSSES[shape]
    from kit.data.reviews import load_movie_reviews

    keras.utils.set_random_seed(0)
    model = load_plain() if shape is None else load(mesh.make_device_mesh(*shape))
    lora.enable_lora(model, 4)
    training.compile_for_finetuning(model, 5e-3, 0.01)
    model.optimizer.build(model.trainable_variables)
    step = training.make_train_step(model)
    state: Any = tuple(
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    )
    losses = []
    for batch in reviews.prepare_reviews(load_movie_reviews(), 8, 20, seed=0):
        state, loss = step(state, model.preprocessor(batch))
        losses.append(float(loss))
    assert len(losses) == 20
    assert all(math.isfinite(loss) and loss > 1 for loss in losses)
    _LOSSES[shape] = losses
    return losses


def _find(model: Any, path: str) -> np.ndarray:
    (variable,) = [variable for variable in model.variables if variable.path == path]
    return variable.numpy()


class TestGeneration:
    @pytest.mark.parametrize("shape", [(1, 8), (2, 4), (8, 1)])
    def test_one_prompt_on_any_mesh(self, devices: list[str], shape: tuple[int, int]) -> None:
        twin = load_plain().generate(PROMPT, max_length=24)
        text = generation.complete(load(mesh.make_device_mesh(*shape)), PROMPT, 24)
        assert text == twin
        assert text.startswith(PROMPT)

    def test_length_counts_the_prompt(self, mesh_1x8: Any) -> None:
        model = load(mesh_1x8)
        tokenizer = model.preprocessor.tokenizer
        prompt = len(tokenizer(PROMPT))
        for max_length in (prompt + 4, 30):
            # One token is the start token.
            assert len(tokenizer(generation.complete(model, PROMPT, max_length))) == max_length - 1

    def test_what_was_compiled_stays(self, mesh_1x8: Any) -> None:
        model = load(mesh_1x8)
        expected = generation.complete(model, PROMPT, 24)
        model.compile(optimizer=keras.optimizers.SGD(0.5), sampler=keras_hub.samplers.RandomSampler(seed=1))
        optimizer, sampler = model.optimizer, model.sampler
        assert generation.complete(model, PROMPT, 24) == expected
        assert model.optimizer is optimizer
        assert model.sampler is sampler

    @pytest.mark.parametrize("shape", [(1, 8), (4, 2)])
    def test_likelihood_by_definition(self, devices: list[str], reviews: list[str], shape: tuple[int, int]) -> None:
        texts = reviews[:5]
        twin = load_plain()
        total = tokens = 0.0
        for text in texts:
            ids = [2, *twin.preprocessor.tokenizer(text).tolist(), 1][:33]
            inputs = {"token_ids": np.array([ids[:-1]]), "padding_mask": np.ones((1, len(ids) - 1), bool)}
            logits = np.asarray(twin(inputs), dtype="float64")[0]
            logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            total += logs[np.arange(len(ids) - 1), ids[1:]].sum()
            tokens += len(ids) - 1
        found = generation.mean_log_likelihood(load(mesh.make_device_mesh(*shape)), texts)
        # float32 against float64.
        assert found == pytest.approx(total / tokens, rel=1e-5)

    def test_shift(self) -> None:
        shift = generation.style_shift({"reviews": -4.0, "lists": -2.0}, {"reviews": -3.5, "lists": -3.0})
        assert shift == {"reviews": 0.5, "lists": -1.0, "shift": 1.5}


class TestCheckpoint:
    def trained(self, shape: tuple[int, int], rank: int, seed: int = 0) -> Any:
        keras.utils.set_random_seed(seed)
        model = load(mesh.make_device_mesh(*shape))
        if rank:
            lora.enable_lora(model, rank)
        training.compile_for_finetuning(model, 1e-3, 0.01)
        return model

    @pytest.mark.parametrize("rank", [4, 0])
    @pytest.mark.parametrize("shape", [(1, 8), (2, 4)])
    def test_resuming_is_exact(
        self, devices: list[str], reviews: list[str], tmp_path: Path, rank: int, shape: tuple[int, int]
    ) -> None:
        model = self.trained((1, 8), rank)
        training.finetune(model, [reviews[:8]])
        checkpoint.save_training(model, tmp_path / "save")
        uninterrupted = training.finetune(model, [reviews[8:], reviews[:8]]).history["loss"]

        # Another seed: nothing that matters may come from the fresh model.
        resumed = self.trained(shape, rank, seed=9)
        checkpoint.resume_training(resumed, tmp_path / "save")
        assert int(resumed.optimizer.iterations.numpy()) == 1
        again = training.finetune(resumed, [reviews[8:], reviews[:8]]).history["loss"]
        # On the same mesh it is the same program on the same values; on another, sums are reordered.
        assert again == pytest.approx(uninterrupted, rel=1e-6 if shape == (1, 8) else 1e-5)

    def test_a_save_is_new_and_whole(self, mesh_1x8: Any, tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        checkpoint.save_training(model, tmp_path / "save")
        assert [path.name for path in (tmp_path / "save").iterdir()] == [checkpoint.STATE_FILE]
        with pytest.raises(FileExistsError):
            checkpoint.save_training(model, tmp_path / "save")

    def test_another_model_is_refused(self, mesh_1x8: Any, tmp_path: Path) -> None:
        checkpoint.save_training(self.trained((1, 8), 4), tmp_path / "save")
        with pytest.raises(ValueError, match="LoRA with the same rank"):
            checkpoint.resume_training(self.trained((1, 8), 2), tmp_path / "save")

    def test_merging(self, mesh_1x8: Any, reviews: list[str], tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        untrained = np.asarray(model.predict_on_batch(reviews))
        training.finetune(model, [reviews[:8], reviews[8:]])
        expected = np.asarray(model.predict_on_batch(reviews))
        assert np.abs(expected - untrained).max() > 1e-2
        checkpoint.merge_adapters(model)
        assert not model.trainable_variables
        # kernel + A@B is the same sum, once more through float32.
        np.testing.assert_allclose(np.asarray(model.predict_on_batch(reviews)), expected, rtol=1e-5, atol=1e-5)
        # And it is a preset that anything loads.
        model.save_to_preset(str(tmp_path / "merged"))
        keras.distribution.set_distribution(None)
        plain = keras_hub.models.CausalLM.from_preset(str(tmp_path / "merged"))
        plain.preprocessor.sequence_length = 32
        np.testing.assert_allclose(np.asarray(plain.predict_on_batch(reviews)), expected, rtol=1e-4, atol=1e-4)
