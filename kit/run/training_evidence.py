"""What a run measures of its training: records for ``run.json``. Imports no framework."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CollectiveSum:
    """The collectives of one kind in the compiled training step."""

    #: XLA's name, for example "all-reduce".
    kind: str
    count: int
    #: Of their results, on one device, in one step.
    nbytes: int = field(metadata={"key": "bytes"})


@dataclass(frozen=True)
class StepProgram:
    """The training step as XLA compiled it. Sizes are bytes on one device."""

    collectives: tuple[CollectiveSum, ...]
    #: Variables, optimizer state and a batch.
    arguments: int
    #: Results that do not take the place of arguments.
    results: int
    #: What is held between operations, such as activations and gradients.
    temporaries: int

    @property
    def nbytes(self) -> int:
        """Bytes that a device holds at the peak of a step, by the compiler's account."""
        return self.arguments + self.results + self.temporaries


@dataclass(frozen=True)
class MeasuredMemory:
    """The memory of the device that used the most, in bytes, as an accelerator reports it."""

    #: In use when training began.
    before: int
    #: The most that was in use until training began, and until it ended.
    peak_before: int
    peak: int


@dataclass(frozen=True)
class TwinLosses:
    """The losses of the first steps on one device, with the same initial values and batches."""

    losses: tuple[float, ...]
    #: That the steps took, compilation included.
    seconds: float

    def largest_difference(self, losses: Sequence[float]) -> float:
        """The largest relative difference from a run's losses, of which the first are compared."""
        pairs = zip(self.losses, losses, strict=False)
        return max(abs(theirs - own) / (abs(own) or 1.0) for own, theirs in pairs)


@dataclass(frozen=True)
class HeldOutScore:
    """The mean log-likelihood of held-out reviews after some steps, in nats per token."""

    step: int
    log_likelihood: float


@dataclass(frozen=True, kw_only=True)
class TrainingEvidence:
    """What a run measured of its training. None: it was not measured."""

    program: StepProgram | None = None
    memory: MeasuredMemory | None = None
    twin: TwinLosses | None = None
    #: Why there are no losses of the unsharded twin; "" if there are.
    without_twin: str = ""
    held_out: tuple[HeldOutScore, ...] = ()
    #: How many held-out reviews were scored each time, and the seconds of all times.
    held_out_texts: int = 0
    held_out_seconds: float = 0.0
