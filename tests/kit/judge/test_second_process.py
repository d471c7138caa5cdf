"""A call in another process gets the same data, and strings have other hashes there."""

from pathlib import Path

from kit.course.catalogue import catalogue
from kit.judge.observation import Returned, Stopped
from kit.judge.second_process import CallInSecondProcess
from kit.judge.submission import Submission
from kit.parts.implementation import find_parts

SOURCE = """
def prepare_reviews(examples, batch_size, num_batches, seed):
    print("this is no answer")
    if seed:
        raise KeyError("no such seed")
    return [[text for text, _ in examples], hash("text")]
"""


def submission_in(folder: Path) -> Submission:
    (folder / "reviews.py").write_text(SOURCE, encoding="utf-8")
    return Submission(find_parts(str(folder)), catalogue().find("reviews"))


def test_the_value_is_returned_and_hashes_differ(tmp_path: Path) -> None:
    submission = submission_in(tmp_path)
    calls = [
        CallInSecondProcess(submission, "prepare_reviews", [("good", 1), ("bad", 0)], 1, 2, 0, hash_seed=seed)
        for seed in (1, 2)
    ]
    outcomes = [call.outcome() for call in calls]
    assert all(isinstance(outcome, Returned) and outcome.data[0] == ["good", "bad"] for outcome in outcomes)
    assert outcomes[0] != outcomes[1]


def test_an_error_is_a_diagnosis(tmp_path: Path) -> None:
    outcome = CallInSecondProcess(submission_in(tmp_path), "prepare_reviews", [], 1, 2, 3).outcome()
    assert isinstance(outcome, Stopped)
    assert "fails in a second Python process: KeyError" in outcome.diagnosis.cause
