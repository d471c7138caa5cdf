"""The style of a model at one moment, also as older runs wrote it."""

import json
from pathlib import Path

import pytest

from kit.evidence.style_verdict import StyleVerdict
from kit.run.generations import Generations, JudgedCompletion, read_generations
from kit.run.json_records import as_json, from_json
from kit.run.result import LogLikelihoods, StyleScores
from kit.run.style_evidence import StyleEvidence

VERDICTS = (
    StyleVerdict("list", 0.1, 1.5, True, repetitive=True),
    StyleVerdict("review", 0.9, 1.0, True),
    StyleVerdict("neither", 0.9, -1.0, False),
    StyleVerdict("neither", 0.0, float("-inf"), False, degenerate=True),
)


def test_the_counts_add_up() -> None:
    evidence = StyleEvidence(("a", "b", "c", "d"), VERDICTS, LogLikelihoods(-3.0, -1.0), "a")
    assert (evidence.lists, evidence.reviews, evidence.neither, evidence.degenerate, evidence.repetitive) == (
        1,
        1,
        2,
        1,
        1,
    )
    scores = evidence.style_scores
    assert (scores.share_of_lists, scores.share_of_reviews, scores.share_of_neither) == (0.25, 0.25, 0.5)
    assert (scores.share_of_degenerate, scores.share_of_repetitive) == (0.25, 0.25)


def test_shares_of_an_older_run() -> None:
    content = {"share_of_lists": 0.7, "share_of_reviews": 0.3, "log_likelihood": {"reviews": -3.0, "lists": -1.0}}
    scores = from_json(StyleScores, content)
    assert (scores.share_of_degenerate, scores.share_of_repetitive) == (None, None)
    assert scores.share_of_neither == pytest.approx(0.0, abs=1e-15)
    assert as_json(scores) == content


def test_generations_of_an_older_run(tmp_path: Path) -> None:
    completion = {
        "style": "review",
        "probability_of_review": 0.9,
        "fluency": -1.0,
        "fluent": False,
        "text": "Best it I",
    }
    content = {"prompts": ["Best "], "before": [completion], "after": [completion]}
    (tmp_path / "generations.json").write_text(json.dumps(content), encoding="utf-8")
    (found,) = read_generations(tmp_path).after
    assert (found.word, found.degenerate, found.repetitive) == ("neither", False, False)


def test_generations_are_read_as_they_are_written(tmp_path: Path) -> None:
    completions = tuple(JudgedCompletion(text="Best", **vars(verdict)) for verdict in VERDICTS)
    written = Generations(("Best",) * 4, completions, completions)
    (tmp_path / "generations.json").write_text(json.dumps(as_json(written)), encoding="utf-8")
    assert read_generations(tmp_path) == written
