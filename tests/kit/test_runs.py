"""What a run leaves behind: saves that are whole, and losses that go on as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chex
import jax
import keras
import numpy as np
import pytest

from kit.course.shared import small_models as small
from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER
from kit.models.sharded_loading import load_slice_by_slice
from kit.narrator import Narrator
from kit.parts.implementation import find_parts
from kit.run.folder import RunFolder, new_run, unfinished_run
from kit.run.multi_process import own_rows, own_share
from kit.run.pipeline import _resume, _train, complete
from kit.run.recorder import LossIsNotFiniteError, LossOfStep, StepRecorder, prepare_for_recording
from kit.runtime.processes import Processes, processes_of_environment


def folder_with_a_save(tmp_path: Path) -> RunFolder:
    folder = new_run(tmp_path, "a-run", {"preset": "bundled"}, {"completions": []})
    folder.save(2, lambda path: path.mkdir(), {"records": [], "metrics": [1.5]})
    return folder


class TestFolder:
    def test_a_save_that_cannot_be_written_leaves_the_one_before(self, tmp_path: Path) -> None:
        folder = folder_with_a_save(tmp_path)

        def half(path: Path) -> None:
            path.mkdir()
            (path / "half").write_text("half of it")
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            folder.save(4, half, {})
        assert [path.name for path in (folder.path / "saves").iterdir()] == ["step-000002"]
        save = folder.newest_save()
        assert save is not None
        assert save.progress["metrics"] == [1.5]

    def test_a_file_system_that_refuses_a_large_file(self, tmp_path: Path) -> None:
        """Really refused, by the limit of a process on the size of files, in the midst of HDF5's writing."""
        code = """
import h5py, numpy as np, pathlib, resource, signal, sys
from kit.run.folder import new_run
folder = new_run(pathlib.Path(sys.argv[1]), "a-run", {}, {})
def write(path):
    path.mkdir()
    with h5py.File(path / "training_state.h5", "w") as file:
        file["value"] = np.zeros(size)
size = 100
folder.save(2, write, {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
size = 10_000_000
try:
    folder.save(4, write, {})
except OSError:
    print("refused")
print(folder.newest_save().step, sorted(path.name for path in (folder.path / "saves").iterdir()))
"""
        finished = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert finished.stdout.splitlines() == ["refused", "2 ['step-000002']"]

    def test_what_a_kill_left_is_no_save(self, tmp_path: Path) -> None:
        folder = folder_with_a_save(tmp_path)
        left = folder.path / "saves" / ".unfinished-step-000004"
        left.mkdir()
        (left / "progress.json").write_text("{")
        found = folder.newest_save()
        assert found is not None
        assert found.step == 2
        folder.save(4, lambda path: path.mkdir(), {"metrics": []})
        assert [path.name for path in (folder.path / "saves").iterdir()] == ["step-000004"]

    def test_run_json_comes_last(self, tmp_path: Path) -> None:
        folder = folder_with_a_save(tmp_path)
        files: dict[str, Any] = {"run.json": {}, "settings.json": {}, "generations.json": object()}
        with pytest.raises(TypeError):
            folder.finish(files, lambda path: path.mkdir())
        assert not (folder.path / "run.json").exists()
        assert folder.newest_save() is not None
        folder.finish({**files, "generations.json": []}, lambda path: path.mkdir())
        assert {path.name for path in folder.path.iterdir()} == {
            "adapters",
            "generations.json",
            "run.json",
            "settings.json",
        }

    def test_a_folder_that_no_run_can_go_on_from(self, tmp_path: Path) -> None:
        folder = folder_with_a_save(tmp_path)
        shown = str(folder.path)
        with pytest.raises(UserError, match="a-run: a process is still at this run"):
            unfinished_run(shown)
        folder.close()
        again, request, before = unfinished_run(shown)
        assert (request, before) == ({"preset": "bundled"}, {"completions": []})
        again.close()
        with pytest.raises(UserError, match="nowhere: there is no such folder"):
            unfinished_run("nowhere")
        save = folder.newest_save()
        assert save is not None
        (save.folder / "progress.json").write_text('{"metrics')
        with pytest.raises(UserError, match="its save, step-000002, is damaged"):
            unfinished_run(shown)
        (folder.path / "request.json").write_text("[")
        with pytest.raises(UserError, match=r"its request\.json or before\.json is damaged"):
            unfinished_run(shown)
        (folder.path / "request.json").unlink()
        with pytest.raises(UserError, match="not the folder of a run that was broken off"):
            unfinished_run(shown)
        (folder.path / "run.json").write_text("{}")
        with pytest.raises(UserError, match="this run is finished"):
            unfinished_run(shown)

    def test_two_runs_of_one_name(self, tmp_path: Path) -> None:
        first, second = (new_run(tmp_path, "a-run", {}, {}) for _ in range(2))
        assert (first.path.name, second.path.name) == ("a-run", "a-run-2")


class TestResume:
    """Two epochs of three batches, broken off in the second."""

    def model(self, values_of_its_own: int) -> Any:
        keras.utils.set_random_seed(values_of_its_own)
        # With dropout, whose random state must go on as well.
        model = small.small_model(rank=3, num_layers=1, dropout=0.25)
        parts = find_parts("reference")
        parts.training.compile_for_finetuning(model, 0.01, 0.01)
        model.optimizer.build(model.trainable_variables)
        prepare_for_recording(model)
        return model

    def recorder(self, folder: RunFolder, save_every: int) -> StepRecorder:
        save_training = find_parts("reference").checkpoint.save_training
        return StepRecorder(folder, save_training, 3, 6, save_every, Narrator(), 0.0, folder.newest_save())

    def test_the_losses_go_on_exactly(self, tmp_path: Path) -> None:
        small.set_distribution(1, 8)
        parts = find_parts("reference")
        texts = small.texts(12)
        batches = [list(texts[first : first + 4]) for first in (0, 4, 8)]
        keras.config.disable_interactive_logging()
        whole = self.recorder(new_run(tmp_path, "whole", {}, {}), 4)
        _train(parts, self.model(1), batches, 2, whole)
        assert whole.done == 6

        class BreakingOff(StepRecorder):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                super().on_train_batch_end(batch, logs)
                if self.done == 5:
                    raise KeyboardInterrupt

        broken = new_run(tmp_path, "broken", {}, {})
        first = BreakingOff(broken, parts.checkpoint.save_training, 3, 6, 4, Narrator(), 0.0)
        with pytest.raises(KeyboardInterrupt):
            _train(parts, self.model(1), batches, 2, first)
        save = broken.newest_save()
        assert save is not None
        assert save.step == 4
        fresh = self.model(2)
        _resume(parts, fresh, save)
        second = self.recorder(broken, 4)
        assert second.done == 4
        _train(parts, fresh, batches, 2, second)
        assert second.resumed == [4]
        losses, expected = ([record.loss for record in one.records] for one in (second, whole))
        assert len(set(expected)) == 6
        np.testing.assert_allclose(losses, expected, rtol=1e-6)
        # The running means, which begin anew with an epoch, go on in its middle.
        for one, other in zip(second.records, whole.records, strict=True):
            assert one.mean_loss == pytest.approx(other.mean_loss, rel=1e-6)
            assert one.mean_accuracy == pytest.approx(other.mean_accuracy, rel=1e-6)
        lines = (broken.path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]

    def test_a_loss_is_that_of_its_step(self) -> None:
        metric = LossOfStep()
        losses = [4.1, 3.9, 2.25]
        for loss in losses:
            metric.update_state(loss, sample_weight=8)
        found = {name: float(value) for name, value in metric.result().items()}
        assert found == {"loss": pytest.approx(np.mean(losses), rel=1e-6), "step_loss": pytest.approx(2.25, rel=1e-7)}

    def test_a_loss_that_is_no_number_ends_it(self, tmp_path: Path) -> None:
        recorder = self.recorder(new_run(tmp_path, "a-run", {}, {}), 4)
        with pytest.raises(LossIsNotFiniteError, match="The loss of step 1 is nan: the learning rate is too high"):
            recorder.on_train_batch_end(0, {"loss": float("nan")})

    def test_a_loop_that_keeps_its_state_is_told_of(self, tmp_path: Path) -> None:
        said: list[str] = []

        class Listener(Narrator):
            def say(self, text: str) -> None:
                said.append(text)

        small.set_distribution(1, 8)
        folder = new_run(tmp_path, "a-run", {}, {})
        recorder = StepRecorder(folder, find_parts("reference").checkpoint.save_training, 3, 6, 1, Listener(), 0.0)
        recorder.set_model(self.model(1))
        for number in range(2):
            recorder.on_train_batch_end(number, {"loss": 2.0})
        assert len(said) == 1
        assert "keeps what it has trained to itself until it ends (0 steps in the model, 1 done)" in said[0]
        assert folder.newest_save() is None


class TestSparingLoading:
    def test_the_same_values_in_the_same_places(self, mesh_2x4: Any) -> None:
        from kit.models.presets import BUNDLED_FOLDER

        parts = find_parts("reference")
        layout_map = parts.layout.gemma_layout_map(mesh_2x4)
        plain = parts.loading.load_distributed(str(BUNDLED_FOLDER), layout_map, dtype="bfloat16")
        with load_slice_by_slice() as report:
            spared = parts.loading.load_distributed(str(BUNDLED_FOLDER), layout_map, dtype="bfloat16")
        assert len(spared.variables) == len(plain.variables) >= 30
        one, other = ({variable.path: variable.value for variable in each.variables} for each in (spared, plain))
        chex.assert_trees_all_equal_comparator(
            lambda mine, right: mine.sharding.is_equivalent_to(right.sharding, mine.ndim),
            lambda mine, right: f"{mine.sharding} is not {right.sharding}",
            one,
            other,
        )
        # With their dtypes.
        chex.assert_trees_all_equal(one, other, strict=True)
        assert set(report.peak_nbytes) == {f"cpu:{number}" for number in range(8)}
        # What Keras does otherwise is as it was.
        variable = keras.Variable(np.ones(3), name="after")
        variable.assign([1.0, 2.0, 3.0])
        assert variable.value.tolist() == [1.0, 2.0, 3.0]

    def test_weights_that_do_not_fit(self) -> None:
        small.set_distribution(1, 8)
        with load_slice_by_slice():
            variable = keras.Variable(shape=(8, 2), initializer="zeros", name="mine")
            with pytest.raises(ValueError, match=r"variable\.shape=\(8, 2\), Received: value\.shape=\(2, 8\)"):
                variable.assign(np.ones((2, 8)))
        # It was never given a value, and has its initial one.
        assert variable.value.tolist() == np.zeros((8, 2)).tolist()


def test_a_token_that_the_tokenizer_does_not_know() -> None:
    """Of a model with more embeddings than its tokenizer has pieces, as one of random weights may write it."""
    import sentencepiece

    vocabulary = (BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm").read_bytes()
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    parts = SimpleNamespace(
        generation=SimpleNamespace(complete=lambda model, prompt, length: tokenizer.decode([length]))
    )

    def model(rows: int) -> Any:
        preprocessor = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary_size=tokenizer.vocab_size))
        return SimpleNamespace(preprocessor=preprocessor, backbone=SimpleNamespace(vocabulary_size=rows))

    assert isinstance(complete(model(4096), parts, "", 2047), str)
    with pytest.raises(UserError, match="has embeddings for 4,096, and the tokenizer 2,048 pieces"):
        complete(model(4096), parts, "", 2048)
    # Any other mistake is told as what it is.
    with pytest.raises(IndexError):
        complete(model(2048), parts, "", 2048)


class TestProcesses:
    def test_one_process_feeds_all(self, mesh_2x4: Any) -> None:
        assert own_rows(mesh_2x4, 6) == [0, 1, 2, 3, 4, 5]
        assert own_share([["a", "b"], ["c", "d"]], mesh_2x4) == [["a", "b"], ["c", "d"]]
        assert jax.process_count() == 1

    def test_nothing_set_is_one_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"):
            monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)
        assert processes_of_environment() == Processes(1, 0)

    @pytest.mark.parametrize(
        ("addresses", "count", "number", "message"),
        [
            ("", "2", "0", "KERAS_DISTRIBUTION_JOB_ADDRESSES is not set"),
            ("host:1", "two", "0", "both are whole numbers"),
            (
                "host:1",
                "2",
                "2",
                "KERAS_DISTRIBUTION_PROCESS_ID=2: with KERAS_DISTRIBUTION_NUM_PROCESSES=2 it is from 0 to 1",
            ),
            ("a:1,b:1,c:1", "2", "0", "has 3 addresses, and KERAS_DISTRIBUTION_NUM_PROCESSES is 2"),
            ("host", "2", "0", "an address is host:port"),
        ],
    )
    def test_an_environment_that_makes_no_sense(
        self, addresses: str, count: str, number: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count), ("PROCESS_ID", number)):
            monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
        with pytest.raises(UserError, match=message):
            processes_of_environment()
