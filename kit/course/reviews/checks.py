"""The checks of the exercise ``reviews``."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kit.checks.diagnosis import Failed
from kit.judge.observation import Outcome, Raised, returned
from kit.judge.submission import Submission

FUNCTION = "prepare_reviews"
NUMBER_OF_REVIEWS = 60
#: Sorted by label, like the file of reviews.
EXAMPLES = [(f"Review {number}: I saw it.", int(number >= 30)) for number in range(NUMBER_OF_REVIEWS)]
_NUMBER = re.compile(r"Review (\d+): I saw it\.")
#: A review -> the same review without markup.
CLEANED = {
    "Bad.<br />Very bad.": "Bad. Very bad.",
    "Bad.<br /><br />Very bad.": "Bad. Very bad.",
    "Bad. <br /> <br /> Very bad.": "Bad. Very bad.",
    "A < B, and <b>bold</b> break > it": "A < B, and <b>bold</b> break > it",
}
GLOBAL_SEED = 12345


@dataclass(frozen=True)
class NotText:
    """An item of a batch that is not a string."""

    shown: str


Batches = list[list[str | NotText]]


@dataclass(frozen=True)
class Call:
    """A call of ``prepare_reviews`` and its outcome."""

    batch_size: int
    num_batches: int
    outcome: Outcome[Batches]


@dataclass(frozen=True)
class OrderSeen:
    """The batches for some seeds, and whether a call changes the global random numbers."""

    seed_3: Outcome[Batches]
    seed_3_again: Outcome[Batches]
    seed_4: Outcome[Batches]
    #: The next number of the module ``random``, seeded with GLOBAL_SEED before the second call.
    next_random: float


def observe_text_alone(submission: Submission) -> dict[str, Outcome[Batches]]:
    """For each review of CLEANED, one batch of this review."""
    return {text: _call(submission, [(text, 1)], 1, 1).outcome for text in CLEANED}


def judge_text_alone(batches: dict[str, Outcome[Batches]]) -> None:
    """Each batch has the cleaned text."""
    assert batches.keys() == CLEANED.keys(), "not all reviews were tried"
    for text, expected in CLEANED.items():
        found = _texts(returned(batches[text]))
        if found != [expected]:
            markup = "<br" in text
            raise Failed(
                "REVIEWS_MARKUP_LEFT" if markup else "NOT_AS_EXPECTED",
                "A run of <br /> is not replaced by one space." if markup else "A review without <br /> is changed.",
                ("review, each space shown as a dot", "expected", "yours"),
                # Otherwise an extra space would be invisible.
                [tuple(shown.replace(" ", "·") for shown in (text, expected, ", ".join(found)))],
            )


def observe_too_few(submission: Submission) -> list[Call]:
    """Calls for more reviews than there are, and one for all reviews."""
    sizes = ((7, 9), (61, 1), (1, 61))
    calls = [_call(submission, EXAMPLES, *size, expects=ValueError) for size in sizes]
    return [*calls, _call(submission, EXAMPLES, 6, 10)]


def judge_too_few(calls: list[Call]) -> None:
    """Calls for too many reviews raise an error with both numbers; the other calls return."""
    too_many = [call for call in calls if call.batch_size * call.num_batches > NUMBER_OF_REVIEWS]
    assert 0 < len(too_many) < len(calls), "too few sizes were tried"
    for call in too_many:
        wanted = call.batch_size * call.num_batches
        if not isinstance(call.outcome, Raised):
            number = sum(len(batch) for batch in returned(call.outcome))
            cause = f"The batches take {wanted} reviews, {NUMBER_OF_REVIEWS} are available, and no error is raised."
            rows = [(wanted, NUMBER_OF_REVIEWS, f"{number} reviews")]
            raise Failed("REVIEWS_TOO_FEW_ACCEPTED", cause, ("wanted", "available", "returned"), rows)
        if not {str(wanted), str(NUMBER_OF_REVIEWS)} <= set(re.findall(r"\d+", call.outcome.text)):
            raise Failed(
                "REVIEWS_TOO_FEW_ACCEPTED",
                "The error does not say how many reviews are wanted and how many are available.",
                ("wanted", "available", "your message"),
                [(wanted, NUMBER_OF_REVIEWS, call.outcome.text)],
                remedy="Put both numbers into the message of the ValueError.",
            )
    for call in calls:
        if call not in too_many:
            _numbers(returned(call.outcome))


def observe_order(submission: Submission) -> OrderSeen:
    """Batches for the same seed twice, and for another seed."""
    first = _call(submission, EXAMPLES, 2, 10, seed=3)
    state = random.getstate()
    random.seed(GLOBAL_SEED)
    # An iterator can be read only once.
    again = _call(submission, iter(EXAMPLES), 2, 10, seed=3)
    next_random = random.random()
    random.setstate(state)
    other = _call(submission, EXAMPLES, 2, 10, seed=4)
    return OrderSeen(first.outcome, again.outcome, other.outcome, next_random)


def judge_order(seen: OrderSeen) -> None:
    """All reviews are shuffled by the seed alone, and the global generator is unchanged."""
    first = _numbers(returned(seen.seed_3))
    later = sum(number >= NUMBER_OF_REVIEWS // 2 for number in first)
    columns = ("seed", "first reviews of your order", f"of {len(first)}, from the second half")
    row = ("3", _beginning(first), str(later))
    # Of 20 reviews drawn from 60, all are from one half once in 70 million times.
    if later in (0, len(first)) or first == sorted(first) or _read_in_order(first):
        raise Failed(
            "REVIEWS_NOT_SHUFFLED",
            "The reviews keep the order of the file or come from one part of it. The file is sorted by label, so all "
            "of these reviews share one opinion.",
            columns,
            [row],
        )
    again, other = _numbers(returned(seen.seed_3_again)), _numbers(returned(seen.seed_4))
    rows = [row, ("3 again", _beginning(again), ""), ("4", _beginning(other), "")]
    if again != first:
        raise Failed("REVIEWS_NOT_REPRODUCIBLE", "The same seed gives another order.", columns, rows)
    if other == first:
        raise Failed("REVIEWS_NOT_REPRODUCIBLE", "Another seed gives the same order.", columns, rows)
    if seen.next_random != random.Random(GLOBAL_SEED).random():
        raise Failed(
            "REVIEWS_NOT_REPRODUCIBLE",
            "Your shuffle changes the random numbers of the rest of the program.",
            columns,
            rows,
            remedy="Create your own generator with random.Random(seed). Do not call random.seed or random.shuffle.",
        )


def observe_full_batches(submission: Submission) -> list[Call]:
    """Batches of different sizes and numbers."""
    return [_call(submission, EXAMPLES, *size) for size in ((4, 3), (7, 8), (1, 5), (60, 1))]


def judge_full_batches(calls: list[Call]) -> None:
    """Number and sizes of the batches are the requested ones, and all reviews are different."""
    assert calls, "no batches were requested"
    for call in calls:
        batches = returned(call.outcome)
        sizes, expected = [len(batch) for batch in batches], [call.batch_size] * call.num_batches
        if sizes != expected:
            raise Failed(
                "REVIEWS_PARTIAL_BATCH",
                f"{FUNCTION} returned "
                + ("batches of other sizes" if len(batches) == call.num_batches else f"{len(batches)} batches")
                + f" instead of {call.num_batches} batches of {call.batch_size}.",
                ("expected sizes", "yours"),
                [(expected, sizes)],
            )
        numbers = _numbers(batches)
        if len(set(numbers)) != len(numbers):
            raise Failed(
                "NOT_AS_EXPECTED",
                "A review appears more than once, while others are left out.",
                ("expected different reviews", "yours"),
                [(len(numbers), len(set(numbers)))],
                remedy="Cut the shuffled list into consecutive slices.",
            )


def _call(
    submission: Submission,
    examples: Iterable[tuple[str, int]],
    batch_size: int,
    num_batches: int,
    seed: int = 0,
    expects: type[Exception] | tuple[type[Exception], ...] = (),
) -> Call:
    def read(batches: list) -> Batches:
        for batch in batches:
            submission.expect_type(f"a batch of {FUNCTION}", batch, list)
        return [[str(item) if isinstance(item, str) else NotText(repr(item)) for item in batch] for batch in batches]

    # A list of its own: the solution may sort or shuffle what it is given.
    given = list(examples) if isinstance(examples, list) else examples
    outcome = submission.observe(
        FUNCTION, given, batch_size, num_batches, seed, reads=read, returns=list, expects=expects
    )
    return Call(batch_size, num_batches, outcome)


def _texts(batches: Batches) -> list[str]:
    """All texts in their order. Raises Failed if an item is not a text."""
    texts = []
    for batch in batches:
        for item in batch:
            if isinstance(item, NotText):
                cause = "A batch contains an item that is not a text."
                raise Failed("REVIEWS_LABELS_KEPT", cause, ("expected", "yours"), [("a text", item.shown)])
            texts.append(item)
    return texts


def _numbers(batches: Batches) -> list[int]:
    """The numbers of the reviews in their order.

    Raises Failed if there are no reviews, or if one is changed.
    """
    texts = _texts(batches)
    numbers = [int(match[1]) for match in map(_NUMBER.fullmatch, texts) if match]
    if len(numbers) != len(texts) or not texts:
        changed = [text for text in texts if not _NUMBER.fullmatch(text)]
        cause = "A review without markup is changed." if texts else f"{FUNCTION} returned no review."
        raise Failed(
            "NOT_AS_EXPECTED", cause, ("expected", "yours"), [("Review …: I saw it.", changed[0] if changed else "[]")]
        )
    return numbers


def _read_in_order(numbers: list[int]) -> bool:
    """Whether the numbers are in the file's order, or shuffled within a small window only."""
    return max(abs(number - sorted(numbers)[position]) for position, number in enumerate(numbers)) <= 4


def _beginning(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10]))
