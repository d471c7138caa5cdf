"""The folder of a small run that no training made: what a report says of it is known."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.files import write_json
from kit.models.settings import FinetuningSettings
from kit.narrator import Narrator
from kit.run import result as records
from kit.run.generations import GENERATIONS_FILE, Generations, JudgedCompletion
from kit.run.json_records import as_json
from kit.run.metrics import METRICS_FILE, StepRecord
from kit.run.result import RESULT_FILE, RuleCount, RunResult, ShardingRow
from kit.run.training_evidence import (
    CollectiveSum,
    HeldOutScore,
    MeasuredMemory,
    StepProgram,
    TrainingEvidence,
    TwinLosses,
)

#: Path, shape and spec. No rule matches ffw_gating_2, so it is replicated.
BLOCK = (
    ShardingRow("pre_attention_norm/scale", (16,), (None,)),
    ShardingRow("attention/query/kernel", (4, 16, 6), ("model", None, None)),
    ShardingRow("attention/attention_output/kernel", (4, 6, 16), ("model", None, None)),
    ShardingRow("ffw_gating/kernel", (16, 24), (None, "model")),
    ShardingRow("ffw_gating_2/kernel", (16, 24), (None, None)),
    ShardingRow("ffw_linear/kernel", (24, 16), ("model", None)),
)
DEVICES = tuple(f"cpu:{number}" for number in range(8))

RULES = (
    RuleCount("token_embedding/embeddings", ("model", None), 1, 32 * 16 * 4),
    RuleCount("decoder_block.*attention.*(query|key|value)/(kernel|lora_kernel_a)", ("model", None, None), 2, 3072),
    RuleCount("decoder_block.*(attention_output|ffw_linear)/kernel", ("model", None), 4, 6144),
    RuleCount("decoder_block.*ffw_gating/kernel", (None, "model"), 2, 3072),
    RuleCount("decoder_block.*ffw_gating_two/kernel", (None, "model"), 0, 0),
)
UNMATCHED_IN_A_BLOCK = ("pre_attention_norm/scale", "ffw_gating_2/kernel")
UNMATCHED = (
    *(f"decoder_block_{block}/{name}" for block in (0, 1) for name in UNMATCHED_IN_A_BLOCK),
    "final_normalization/scale",
)

SCORES = (HeldOutScore(0, -3.97), HeldOutScore(20, -3.96), HeldOutScore(40, -3.93))
#: Of the first two steps, whose losses are 4.00 and 3.98.
EVIDENCE = TrainingEvidence(
    program=StepProgram((CollectiveSum("all-reduce", 20, 14_000_000), CollectiveSum("all-gather", 2, 500)), 700, 8, 90),
    memory=MeasuredMemory(before=5_000, peak_before=9_000, peak=12_000),
    twin=TwinLosses((4.0, 3.980002), 2.5),
    held_out=SCORES,
    held_out_texts=16,
    held_out_seconds=3.0,
)


def made_result(folder: Path, **changes: Any) -> RunResult:
    """A result as the first versions of the kit wrote it: fields that came later are None.

    A mesh of 2 x 4, 2 blocks, 40 steps whose loss falls from 4.0 by 0.02 per step. ``changes`` are
    fields with another value.
    """
    result = RunResult(
        preset="bundled",
        implementation="reference",
        control=False,
        settings=FinetuningSettings("movie-reviews", 40, 8, learning_rate=0.005, prompt="Best films "),
        versions={"python": "3.11.7", "keras": "3.15.1"},
        started=datetime(2026, 11, 24, 21, 54, 38, tzinfo=UTC),
        devices=records.Devices("cpu", "cpu", 8),
        mesh={"batch": 2, "model": 4},
        rule_coverage=records.CoverageCount(
            rules=RULES, unmatched=UNMATCHED, nbytes_unmatched=3072 + 128 + 64, nbytes=17600, nbytes_per_device=6848
        ),
        nbytes_per_device=dict.fromkeys(DEVICES, 6848),
        sharding_of_decoder_block_1=tuple(row._replace(path=f"decoder_block_1/{row.path}") for row in BLOCK),
        parameters=records.Parameters(records.ParameterCount(4400, 4400), records.ParameterCount(321, 4721)),
        optimizer=records.OptimizerFacts("AdamW", 8),
        training=records.TrainingSummary(40, 6.61, 214.84, 3.88, 3.34, 3.61, 0.28),
        style=records.StyleShift(
            before=records.StyleScores(1.0, 0.0, records.LogLikelihoods(-3.8122, -0.7522)),
            after=records.StyleScores(1 / 3, 1 / 3, records.LogLikelihoods(-3.7648, -1.3291)),
            gain=records.StyleGain(0.0474, -0.5769, 0.6243),
            shifted=True,
            share_without_copies=1.0,
        ),
        generations=records.PromptCompletions("Best films ", "Best films 1. One", "Best films I liked it."),
        seconds=27.04,
        folder=str(folder),
    )
    return replace(result, **changes)


def made_run(folder: Path, **changes: Any) -> Path:
    """Write the folder: :func:`made_result`, 40 steps, and three prompts.

    Their verdicts are list to review, list to neither, and list to list.
    """
    folder.mkdir(exist_ok=True)
    steps = [StepRecord(step, 4.02 - 0.02 * step, 4.01 - 0.01 * step, 0.2, 2 + 0.1 * step) for step in range(1, 41)]
    made_result(folder, **changes).write(folder / RESULT_FILE)
    write_json(folder / GENERATIONS_FILE, as_json(made_generations()))
    (folder / METRICS_FILE).write_text("".join(step.line for step in steps), encoding="utf-8")
    return folder


def made_generations() -> Generations:
    """Three prompts, each with a completion before and after."""

    def judged(text: str, style: str = "list", probability: float = 0.1, fluency: float = 1.79) -> JudgedCompletion:
        return JudgedCompletion(style, probability, fluency, fluency > 0, text=text)

    return Generations(
        prompts=("Best films ", "Worst films ", "Other films "),
        before=(judged("Best films 1. One"), judged("Worst films 1. Two"), judged("Other films 1. Three")),
        after=(
            judged("Best films I liked it.", "review", 0.97),
            judged("Worst films it liked I", "review", 0.9, float("-inf")),
            judged("Other films 1. Four"),
        ),
    )


def read(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: Path, content: Any) -> None:
    """Write a JSON file."""
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@contextlib.contextmanager
def edited(file: Path) -> Iterator[Any]:
    """The content of a JSON file, which is written again at the end."""
    content = read(file)
    yield content
    write(file, content)


class Listener(Narrator):
    """Keeps the sentences and texts of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    text = say
