"""What a run measures of its training: the compiled step, memory, the twin, held-out reviews."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

import jax

from kit.evidence import unsharded_twin
from kit.evidence.loaded_programs import LoadedProgram, programs_compiled
from kit.evidence.program import collectives
from kit.formatting import format_bytes
from kit.run.compilation import compilation_shown
from kit.run.held_out import HeldOutScores
from kit.run.metrics import NO_PROGRESS
from kit.run.state import RunState
from kit.run.training_evidence import CollectiveSum, MeasuredMemory, StepProgram, TrainingEvidence, TwinLosses


class TrainingMeasures:
    """Measures before, during and after the training of a run; it changes nothing in the run."""

    def __init__(self, state: RunState, steps: int) -> None:
        """Train the twin and score the held-out reviews, before a training of ``steps`` steps."""
        progress = state.checkpoint.read_progress() if state.checkpoint else NO_PROGRESS
        self.twin, self._without_twin = _train_twin(state, progress.twin, bool(progress.records))
        #: None where they are not scored along the training.
        self.held_out: HeldOutScores | None = None
        if state.evidence_size.texts_along and not state.runtime.processes.is_distributed:
            self.held_out = HeldOutScores(state.model, state.evidence_size.texts_along, steps, progress.held_out)
            if not progress.records:
                with state.narrator.working("scoring held-out reviews") as work, compilation_shown(work):
                    self.held_out.score(0)
        self._program: StepProgram | None = None
        self._memory: MeasuredMemory | None = None

    @contextlib.contextmanager
    def of_training(self) -> Iterator[None]:
        """Within this context the run trains."""
        before = _memory_in_use()
        with programs_compiled() as programs:
            yield
        after = _memory_in_use()
        if before and after:
            self._memory = MeasuredMemory(before[0], before[1], after[1])
        if program := programs.with_most_arguments():
            self._program = _step_program(program)

    def evidence(self) -> TrainingEvidence:
        """What was measured."""
        held_out = self.held_out
        return TrainingEvidence(
            program=self._program,
            memory=self._memory,
            twin=self.twin,
            without_twin=self._without_twin,
            held_out=tuple(held_out.scores) if held_out else (),
            held_out_texts=held_out.texts if held_out else 0,
            held_out_seconds=round(held_out.seconds, 2) if held_out else 0.0,
        )


def described(evidence: TrainingEvidence, losses: Sequence[float]) -> list[str]:
    """Sentences about what was measured; ``losses`` are those of the run's steps."""
    sentences = []
    if twin := evidence.twin:
        sentences.append(
            f"the first {len(twin.losses)} losses differ by at most {twin.largest_difference(losses):.1e} (relative) "
            f"from those of the unsharded twin, which took the same steps on one device in {twin.seconds:.1f} s"
        )
    if program := evidence.program:
        sent = ", ".join(f"{one.count} {one.kind} with {format_bytes(one.nbytes)}" for one in program.collectives)
        sentences.append(
            f"compiled step, per device: {format_bytes(program.arguments)} of variables, optimizer state and batch, "
            f"{format_bytes(program.temporaries)} of temporaries; collectives: {sent or 'none'}"
        )
    if evidence.held_out:
        first, last = evidence.held_out[0], evidence.held_out[-1]
        sentences.append(
            f"log-likelihood of {evidence.held_out_texts} held-out reviews: {first.log_likelihood:.4f} nats per token "
            f"after step {first.step}, {last.log_likelihood:.4f} after step {last.step}; the report has "
            f"{len(evidence.held_out)} points"
        )
    return sentences


def _train_twin(state: RunState, earlier: TwinLosses | None, is_resumed: bool) -> tuple[TwinLosses | None, str]:
    """The twin's losses, or why there are none."""
    steps = min(state.evidence_size.twin_steps, len(state.batches))
    if not steps:
        return None, "`--evidence quick` leaves them out."
    if state.runtime.processes.is_distributed:
        return None, "Several processes trained the model, and none of them has all of it."
    if state.device_mesh.devices.size == 1:
        return None, "The run itself was on one device."
    if is_resumed:
        return earlier, "" if earlier else "The run was resumed from a checkpoint without them."
    if not _fits_on_one_device(state):
        return None, "The model does not fit on one device with what its training needs."
    settings, started = state.options.settings, time.perf_counter()
    with state.narrator.working("training the unsharded twin on one device") as work, compilation_shown(work):
        try:
            trajectory = unsharded_twin.train(
                state.model,
                state.batches[:steps],
                settings.learning_rate,
                settings.weight_decay,
                lambda done: work.count(done, steps),
            )
        except jax.errors.JaxRuntimeError as error:
            if not str(error).startswith("RESOURCE_EXHAUSTED"):
                raise
            return None, "The model does not fit on one device with what its training needs."
    return TwinLosses(trajectory.losses, round(time.perf_counter() - started, 2)), ""


def _fits_on_one_device(state: RunState) -> bool:
    """Whether there is space for the variables, a copy of them, gradients and moments."""

    def nbytes(variables: Sequence[jax.Array]) -> int:
        return sum(variable.nbytes for variable in variables)

    model = state.model
    needed = 2 * nbytes([variable.value for variable in model.variables])
    needed += 4 * nbytes([variable.value for variable in model.trainable_variables])
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return needed < statistics["bytes_limit"] - statistics["bytes_in_use"]
    return needed < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _memory_in_use() -> tuple[int, int] | None:
    """Bytes in use and the peak so far, of the device with the highest; None on the CPU."""
    found = [statistics for device in jax.local_devices() if (statistics := device.memory_stats())]
    if not found or any("peak_bytes_in_use" not in statistics for statistics in found):
        return None
    return max(each["bytes_in_use"] for each in found), max(each["peak_bytes_in_use"] for each in found)


def _step_program(program: LoadedProgram) -> StepProgram:
    sums = collectives(program.text).by_kind()
    return StepProgram(
        tuple(CollectiveSum(kind, count, nbytes) for kind, (count, nbytes) in sums.items()),
        program.arguments,
        program.results - program.aliased,
        program.temporaries,
    )
