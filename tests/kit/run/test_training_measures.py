"""What a run measures of its training, and that this changes nothing in the training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from kit.course.shared import small_models as small
from kit.narrator import Narrator
from kit.parts.implementation import find_parts
from kit.run.evidence_size import FULL, QUICK, EvidenceSize
from kit.run.folder import new_run_folder
from kit.run.held_out import HeldOutScores
from kit.run.recorder import Schedule, StepRecorder, prepare_for_recording
from kit.run.resume import restore_training
from kit.run.training import train_remaining_steps
from kit.run.training_evidence import HeldOutScore, TwinLosses
from kit.run.training_measures import TrainingMeasures, described

PARTS = find_parts("reference")
RATE, DECAY, STEPS = 0.01, 0.01, 6


def model_to_train() -> Any:
    small.set_distribution(2, 4)
    keras.utils.set_random_seed(1)
    keras.config.disable_interactive_logging()
    model = small.small_model(rank=3, num_layers=1)
    PARTS.training.compile_for_finetuning(model, RATE, DECAY)
    model.optimizer.build(model.trainable_variables)
    prepare_for_recording(model, late=True)
    return model


def batches() -> list[list[str]]:
    texts = small.texts(4 * STEPS)
    return [list(texts[4 * step : 4 * step + 4]) for step in range(STEPS)]


def state_of(model: Any, size: EvidenceSize = FULL, checkpoint: Any = None, devices: int = 8) -> Any:
    return SimpleNamespace(
        model=model,
        evidence_size=size,
        batches=batches(),
        checkpoint=checkpoint,
        narrator=Narrator(),
        options=SimpleNamespace(settings=SimpleNamespace(learning_rate=RATE, weight_decay=DECAY)),
        runtime=SimpleNamespace(processes=SimpleNamespace(is_distributed=False)),
        device_mesh=SimpleNamespace(devices=np.arange(devices)),
    )


def recorder(folder: Any, measures: TrainingMeasures | None = None, checkpoint: Any = None) -> StepRecorder:
    given = (measures.held_out, measures.twin) if measures else (None, None)
    schedule = Schedule(STEPS, 1, save_every=3)
    return StepRecorder(
        folder, PARTS.checkpoint, schedule, Narrator(), 0.0, checkpoint, held_out=given[0], twin=given[1]
    )


def test_the_measures_of_a_training_that_is_resumed(tmp_path: Path) -> None:
    plain = recorder(new_run_folder(tmp_path, "plain", {}, {}))
    train_remaining_steps(PARTS.training, model_to_train(), batches(), 1, plain)
    losses = [record.loss for record in plain.records]

    model = model_to_train()
    measures = TrainingMeasures(state_of(model), STEPS)
    folder = new_run_folder(tmp_path, "watched", {}, {})
    watched = recorder(folder, measures)
    with measures.of_training():
        train_remaining_steps(PARTS.training, model, batches(), 1, watched)
    # Bit-identical: nothing of this changes the training.
    assert [record.loss for record in watched.records] == losses
    evidence = measures.evidence()
    assert evidence.twin is not None
    assert evidence.without_twin == ""
    assert len(evidence.twin.losses) == FULL.twin_steps
    assert 0 <= evidence.twin.largest_difference(losses) < 1e-5
    assert [score.step for score in evidence.held_out] == list(range(STEPS + 1))
    assert len({score.log_likelihood for score in evidence.held_out}) == STEPS + 1
    program = evidence.program
    assert program is not None
    state = [*model.variables, *model.optimizer.variables]
    held = sum(variable.value.addressable_shards[0].data.nbytes for variable in state)
    # The rest are the metrics and the batch.
    assert held < program.arguments < held + 20_000
    assert {one.kind for one in program.collectives} >= {"all-reduce"}
    assert all(one.count and one.nbytes for one in program.collectives)
    # The CPU reports no memory.
    assert evidence.memory is None
    sentences = " ".join(described(evidence, losses))
    assert "the first 5 losses differ by at most" in sentences
    assert "all-reduce with" in sentences

    # As after a kill in step 4 or later.
    _, checkpoint = folder.checkpoints()
    assert checkpoint.step == 3
    resumed = model_to_train()
    restore_training(PARTS.checkpoint, resumed, checkpoint)
    after = TrainingMeasures(state_of(resumed, checkpoint=checkpoint), STEPS)
    assert after.twin is not None
    assert after.twin.losses == evidence.twin.losses
    second = recorder(folder, after, checkpoint)
    train_remaining_steps(PARTS.training, resumed, batches(), 1, second)
    assert [record.loss for record in second.records] == losses
    assert after.evidence().held_out == evidence.held_out


def test_where_there_is_no_twin() -> None:
    model = model_to_train()
    quick = TrainingMeasures(state_of(model, QUICK), STEPS).evidence()
    assert (quick.twin, quick.held_out) == (None, ())
    assert quick.without_twin == "`--evidence quick` leaves them out."
    only_twin = EvidenceSize("twin", 1, 1, twin_steps=2, texts_along=0)
    alone = TrainingMeasures(state_of(model, only_twin, devices=1), STEPS)
    assert (alone.twin, alone.held_out) == (None, None)
    assert alone.evidence().without_twin == "The run itself was on one device."
    older = SimpleNamespace(
        read_progress=lambda: SimpleNamespace(twin=None, held_out=(), records=(None,)),
    )
    assert TrainingMeasures(state_of(model, only_twin, older), STEPS).evidence().without_twin == (
        "The run was resumed from a checkpoint without them."
    )


def test_when_held_out_reviews_are_scored() -> None:
    model = model_to_train()
    length = model.preprocessor.sequence_length
    scores = HeldOutScores(model, 3, 300, (HeldOutScore(0, -4.0), HeldOutScore(30, -3.9)))
    # `fit` cuts its own texts at another length.
    assert model.preprocessor.sequence_length == length
    due = [step for step in range(301) if scores.is_due(step)]
    assert due == [60, 90, 120, 150, 180, 210, 240, 270, 300]
    # Whole batches: 8 texts for each of two rows of the mesh.
    assert scores.texts == 16
    texts = HeldOutScores(model, 3, 7)
    assert [step for step in range(8) if texts.is_due(step)] == list(range(8))


def test_the_score_is_the_mean_log_likelihood() -> None:
    from kit.data.reviews import held_out_reviews
    from kit.run.generation import HELD_OUT_LENGTH

    model = model_to_train()
    scores = HeldOutScores(model, 16, STEPS)
    scores.score(0)
    model.preprocessor.sequence_length = HELD_OUT_LENGTH
    expected = PARTS.generation.mean_log_likelihood(model, held_out_reviews(16))
    assert scores.scores[0].log_likelihood == pytest.approx(expected, rel=1e-6)


def test_differences_of_losses() -> None:
    twin = TwinLosses((4.0, 2.0, 1.0), 1.0)
    assert twin.largest_difference([4.0, 2.5, 1.0, 9.0]) == 0.25
    assert twin.largest_difference([4.0]) == 0.0
