"""Checks of the exercise ``reviews``."""

import random
import re
from typing import Any

from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission

FUNCTION = "prepare_reviews"
#: As the file is: sorted by label.
NUMBER_OF_REVIEWS = 60
_EXAMPLES = [(f"Review {number}: I saw it.", int(number >= 30)) for number in range(NUMBER_OF_REVIEWS)]
_NUMBER = re.compile(r"Review (\d+): I saw it\.")


def text_alone(submission: Submission) -> None:
    """Labels are dropped, and a run of markup is one space."""
    cases = {
        "Bad.<br />Very bad.": "Bad. Very bad.",
        "Bad.<br /><br />Very bad.": "Bad. Very bad.",
        "Bad. <br /> <br /> Very bad.": "Bad. Very bad.",
        "A < B, and <b>bold</b> break > it": "A < B, and <b>bold</b> break > it",
    }
    for text, expected in cases.items():
        batches = _call(submission, [(text, 1)], 1, 1, 0)
        (item,) = _flat(batches)
        if not isinstance(item, str):
            _labels_kept(item)
        if item != expected:
            markup = "<br" in text
            raise Failed(
                "REVIEWS_MARKUP_LEFT" if markup else "NOT_AS_EXPECTED",
                "A run of <br /> did not become one space." if markup else "A review without <br /> was changed.",
                ("review, with a dot for each space", "expected", "yours"),
                # Else a space too many could not be seen.
                [tuple(shown.replace(" ", "·") for shown in (text, expected, item))],
            )


def too_few(submission: Submission) -> None:
    """Too few reviews are a ValueError with both numbers."""
    for batch_size, num_batches in ((7, 9), (61, 1), (1, 61)):
        wanted = batch_size * num_batches
        result = submission.attempt(FUNCTION, list(_EXAMPLES), batch_size, num_batches, 0, expects=ValueError)
        if not isinstance(result, ValueError):
            raise Failed(
                "REVIEWS_TOO_FEW_ACCEPTED",
                f"{wanted} reviews were asked for, {NUMBER_OF_REVIEWS} given, and no error was raised.",
                ("wanted", "given", "returned"),
                [(wanted, NUMBER_OF_REVIEWS, f"{len(_flat(result))} reviews")],
            )
        if not {str(wanted), str(NUMBER_OF_REVIEWS)} <= set(re.findall(r"\d+", str(result))):
            raise Failed(
                "REVIEWS_TOO_FEW_ACCEPTED",
                "The error does not say how many reviews were wanted and how many there are.",
                ("wanted", "given", "your text"),
                [(wanted, NUMBER_OF_REVIEWS, str(result))],
                advice="Put both numbers into the text of the ValueError.",
            )
    # As many as wanted are enough.
    _numbers(_call(submission, list(_EXAMPLES), 6, 10, 0))


def order(submission: Submission) -> None:
    """All of the reviews are shuffled, with the seed and with nothing else."""
    first = _numbers(_call(submission, list(_EXAMPLES), 2, 10, 3))
    later = sum(number >= NUMBER_OF_REVIEWS // 2 for number in first)
    columns = ("seed", "the first of your order", f"of {len(first)} from the second half")
    row = ("3", ", ".join(map(str, first[:10])), str(later))
    # Of 20 drawn from 60 at random, all are from one half once in 70 million times.
    if later in (0, len(first)) or first == sorted(first) or _batches_in_order(first):
        raise Failed(
            "REVIEWS_NOT_SHUFFLED",
            "The reviews come in their order in the file, or out of one part of it: the file is sorted by label, and all of "
            "these have one opinion.",
            columns,
            [row],
        )
    state = random.getstate()
    random.seed(12345)
    again = _numbers(_call(submission, iter(_EXAMPLES), 2, 10, 3))
    undisturbed = random.random() == random.Random(12345).random()
    random.setstate(state)
    other = _numbers(_call(submission, list(_EXAMPLES), 2, 10, 4))
    rows = [row, ("3 again", ", ".join(map(str, again[:10])), ""), ("4", ", ".join(map(str, other[:10])), "")]
    if again != first:
        raise Failed("REVIEWS_NOT_REPRODUCIBLE", "The same seed gave another order.", columns, rows)
    if other == first:
        raise Failed("REVIEWS_NOT_REPRODUCIBLE", "Another seed gave the same order.", columns, rows)
    if not undisturbed:
        raise Failed(
            "REVIEWS_NOT_REPRODUCIBLE",
            "Your shuffle changes the random numbers of the rest of the program.",
            columns,
            rows,
            advice="Make a generator of your own, random.Random(seed), and leave the module's own alone.",
        )


def full_batches(submission: Submission) -> None:
    """There are as many batches as asked for, each full, and no review twice."""
    for batch_size, num_batches in ((4, 3), (7, 8), (1, 5), (60, 1)):
        batches = _call(submission, list(_EXAMPLES), batch_size, num_batches, 0)
        sizes = [len(batch) for batch in batches]
        if sizes != [batch_size] * num_batches:
            raise Failed(
                "REVIEWS_PARTIAL_BATCH",
                f"Asked for {num_batches} batches of {batch_size}, prepare_reviews returned "
                + ("batches of other sizes." if len(batches) == num_batches else f"{len(batches)}."),
                ("expected sizes", "yours"),
                [([batch_size] * num_batches, sizes)],
            )
        numbers = _numbers(batches)
        if len(set(numbers)) != len(numbers):
            raise Failed(
                "NOT_AS_EXPECTED",
                "A review comes more than once, while others are left out.",
                ("expected different reviews", "yours"),
                [(len(numbers), len(set(numbers)))],
                advice="Cut the shuffled list into consecutive pieces.",
            )


def _call(submission: Submission, examples: Any, batch_size: int, num_batches: int, seed: int) -> list[Any]:
    batches = submission.call(FUNCTION, examples, batch_size, num_batches, seed, returns=list)
    for batch in batches:
        submission.expect_type("a batch of prepare_reviews", batch, list)
    return list(batches)


def _flat(batches: Any) -> list[Any]:
    return [item for batch in batches for item in batch]


def _numbers(batches: list[Any]) -> list[int]:
    """Which reviews came, in their order."""
    items = _flat(batches)
    for item in items:
        if not isinstance(item, str):
            _labels_kept(item)
    matches = [_NUMBER.fullmatch(item) for item in items]
    changed = [item for item, match in zip(items, matches, strict=True) if match is None]
    if changed or not items:
        raise Failed(
            "NOT_AS_EXPECTED",
            "A review that has no markup was changed." if items else "No review came back.",
            ("expected", "yours"),
            [("Review …: I saw it.", changed[0] if changed else "[]")],
        )
    return [int(match[1]) for match in matches if match]


def _labels_kept(item: Any) -> None:
    raise Failed(
        "REVIEWS_LABELS_KEPT",
        "A batch holds something else than texts.",
        ("expected", "yours"),
        [("a text", repr(item))],
    )


def _batches_in_order(numbers: list[int]) -> bool:
    """Whether the numbers are those of a file read in order, shuffled within a small window at most."""
    return max(abs(number - sorted(numbers)[position]) for position, number in enumerate(numbers)) <= 4
