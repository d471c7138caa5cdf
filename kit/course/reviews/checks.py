"""The checks of the exercise ``reviews``."""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies

from kit.checks.diagnosis import Failed
from kit.course.reviews.cleaning import MARK, Cleaning, cleaned, recognised, same
from kit.course.reviews.order import order_fault
from kit.judge.observation import Outcome, Raised, Returned, Stopped, returned
from kit.judge.properties import observe_property
from kit.judge.second_process import CallInSecondProcess
from kit.judge.submission import Submission

FUNCTION = "prepare_reviews"
NUMBER_OF_REVIEWS = 60
#: As many as show a shuffle buffer of 10,000, as in many input pipelines.
MANY = 12_000
#: Eight of many reviews for each: that none of all 80 is in the last quarter has a probability of
#: 1e-10.
SEEDS_FOR_FEW = 10
#: Reviews whose markup distinguishes the usual mistakes.
REVIEWS = (
    "Bad.<br />Very bad.",
    "Bad.<br /><br />Very bad.",
    "Bad. <br /> <br /> Very  bad.<br /><br /><br />So bad.",
    "A < B, and <b>bold</b> break > it",
    "Other <br> markup <br/> and <BR />, &lt;br />",
    "Two  spaces,\ttabs, &amp; caf\u00e9s.",
)
GLOBAL_SEED = 12345
#: Texts that generated reviews are made of.
_PIECES = ("Good.", "bad", "<br />", "<br />", " ", "  ", "\n", "<b>", "A < B", "\u00e9", "&amp;", "br")
_NUMBER = re.compile(r"Review (\d+): I saw it\.")
_TOO_FEW = "The batches take {} reviews, {} are available, and no error is raised."


@dataclass(frozen=True)
class NotText:
    """An item of a batch that is not a string."""

    kind: str
    shown: str


Batches = list[list[str | NotText]]


@dataclass(frozen=True)
class Call:
    """A call of ``prepare_reviews`` and its outcome."""

    available: int
    batch_size: int
    num_batches: int
    seed: int
    outcome: Outcome[Batches]
    #: The reviews before and after the call, where it has changed its argument.
    changed: tuple[str, str] | None = None
    #: Where all reviews are wanted and the call fails: whether it returns with one review more.
    returns_with_one_more: bool = False

    @property
    def wanted(self) -> int:
        """Number of reviews in all batches."""
        return self.batch_size * self.num_batches


@dataclass(frozen=True)
class OrderSeen:
    """The batches for some seeds, and whether a call changes the global random numbers."""

    #: Seed 3, with one state of the global generators, with another, and with the first again.
    seed_3: Call
    other_state: Call
    same_state: Call
    #: Seed 3, for an iterator over the same reviews.
    iterator: Call
    #: Seed 3, in a process in which strings have other hashes.
    other_process: Outcome[Batches]
    #: Further seeds, and seed 0 a second time.
    seeds: list[Call]
    seed_0_again: Call
    #: Seed 3, for many reviews.
    many: Call
    #: A few of many reviews, for some seeds.
    few_of_many: list[Call]
    #: Name of a module -> its next random number, after a call with a known state.
    next_random: dict[str, float]


def observe_text_alone(submission: Submission) -> dict[str, Call]:
    """For each review one batch of this review; the last ones are generated."""
    found = {text: _call(submission, [(text, 1)], 1, 1) for text in REVIEWS}

    def observe(pieces: list[str]) -> tuple[str, Call]:
        text = "".join(["It", *pieces, "is"])
        return text, _call(submission, [(text, 1)], 1, 1)

    pieces = strategies.lists(strategies.sampled_from(_PIECES), max_size=8)
    generated = observe_property(pieces, observe, lambda case: _judge_text(*case))
    return found | dict(generated)


def judge_text_alone(calls: dict[str, Call]) -> None:
    """Each batch has the cleaned text."""
    assert calls.keys() > set(REVIEWS), "not all reviews were tried"
    found = {}
    for text in REVIEWS:
        texts = _texts(_batches(calls[text]))
        found[text] = texts[0] if len(texts) == 1 else ""
    mistake = recognised(found)
    for text, call in calls.items():
        _judge_text(text, call, mistake)


def _judge_text(text: str, call: Call, mistake: Cleaning | None = None) -> None:
    """The batch has the cleaned text; ``mistake`` is one that was recognised."""
    found, expected = _texts(_batches(call)), cleaned(text)
    if len(found) == 1 and same(found[0], expected):
        return
    shown = ", ".join(found)
    code, remedy = "NOT_AS_EXPECTED", "Leave all other text unchanged."
    if mistake:
        code, cause, remedy = mistake.code, mistake.headline, mistake.remedy
    elif MARK in text and (MARK in shown or _letters(shown) == _letters(expected)):
        code, cause, remedy = "REVIEWS_MARKUP_LEFT", "A run of <br /> is not replaced by exactly one space.", ""
    elif _letters(shown) == _letters(text):
        cause = "White space that is not beside a <br /> is changed."
    else:
        cause = "More of a review is changed than its <br />."
    # Otherwise an extra space would be invisible.
    row = [shown.replace(" ", "·").replace("\n", "⏎") for shown in (text, expected, shown)]
    raise Failed(code, cause, ("review, each space shown as a dot", "expected", "yours"), [row], remedy)


def observe_too_few(submission: Submission) -> list[Call]:
    """Calls for more reviews than there are, one for all reviews, and one for fewer."""
    return [_call(submission, _reviews(NUMBER_OF_REVIEWS), *size) for size in ((7, 9), (61, 1), (1, 61), (6, 10))]


def judge_too_few(calls: list[Call]) -> None:
    """Calls for too many reviews raise an error with both numbers; the other calls return."""
    assert {call.wanted > call.available for call in calls} == {True, False}, "too few sizes were tried"
    for call in calls:
        if call.wanted > call.available:
            _judge_refused(call)
        else:
            _numbers(_batches(call))


def _judge_refused(call: Call) -> None:
    """A call for too many reviews raises a ValueError with both numbers."""
    both = (call.wanted, call.available)
    columns = ("wanted", "available", "yours")
    if isinstance(call.outcome, Returned):
        number = sum(len(batch) for batch in call.outcome.data)
        rows = [(*both, f"{number} reviews")]
        raise Failed("REVIEWS_TOO_FEW_ACCEPTED", _TOO_FEW.format(*both), columns, rows)
    if isinstance(call.outcome, Stopped) and call.outcome.diagnosis.code == "EXERCISE_CRASHED":
        error = call.outcome.diagnosis.cause.partition(" failed: ")[2]
        raise Failed(
            "REVIEWS_TOO_FEW_ACCEPTED",
            f"With {call.available} of {call.wanted} reviews {FUNCTION} fails with another error than a ValueError.",
            columns,
            [(*both, error)],
            remedy="Compare the numbers before you shuffle and cut, and raise a ValueError yourself.",
        )
    text = call.outcome.text if isinstance(call.outcome, Raised) else str(_batches(call))
    if not {str(number) for number in both} <= set(re.findall(r"\d+", text)):
        raise Failed(
            "REVIEWS_TOO_FEW_ACCEPTED",
            "The error does not say how many reviews are wanted and how many are available.",
            columns,
            [(*both, text)],
            remedy="Put both numbers into the message of the ValueError.",
        )


def observe_order(submission: Submission) -> OrderSeen:
    """Batches for the same seed several times, and for other seeds."""
    reviews = _reviews(NUMBER_OF_REVIEWS)
    other_process = CallInSecondProcess(submission, FUNCTION, reviews, 2, 10, 3)
    states = random.getstate(), np.random.get_state()

    def call(seed: int, global_seed: int, iterator: bool = False) -> Call:
        random.seed(global_seed)
        np.random.seed(global_seed)
        return _call(submission, iter(reviews) if iterator else reviews, 2, 10, seed)

    first = call(3, GLOBAL_SEED)
    next_random = {"random": random.random(), "numpy.random": float(np.random.random())}
    seen = OrderSeen(
        first,
        call(3, GLOBAL_SEED + 1),
        call(3, GLOBAL_SEED),
        call(3, GLOBAL_SEED, iterator=True),
        _read_process(other_process.outcome()),
        [call(seed, GLOBAL_SEED) for seed in (4, 0, 5, 1003, 2**31)],
        call(0, GLOBAL_SEED + 1),
        _call(submission, _reviews(MANY), 8, MANY // 8, seed=3),
        [_call(submission, _reviews(MANY), 4, 2, seed) for seed in range(SEEDS_FOR_FEW)],
        next_random,
    )
    random.setstate(states[0])
    np.random.set_state(states[1])
    return seen


def judge_order(seen: OrderSeen) -> None:
    """All reviews are shuffled by the seed alone, and the global generators are unchanged."""
    _judge_iterator(seen)
    first = _numbers(_batches(seen.seed_3))
    for call in (seen.seed_3, seen.many):
        fault = order_fault(_numbers(_batches(call)), call.batch_size, call.available)
        if fault:
            beginning = ("first reviews of your order", "", _beginning(_numbers(_batches(call))))
            rows = [(fault.measure, fault.expected, fault.found), beginning]
            remedy = fault.remedy
            raise Failed("REVIEWS_NOT_SHUFFLED", fault.cause, ("", "for a shuffle", "yours"), rows, remedy)
    _judge_few_of_many(seen.few_of_many)
    _judge_reproducible(seen, first)


def _judge_few_of_many(calls: list[Call]) -> None:
    """Also the few reviews that are used come from all of the input."""
    assert len(calls) == SEEDS_FOR_FEW
    numbers = [number for call in calls for number in _numbers(_batches(call))]
    if max(numbers) >= 3 * MANY // 4 and min(numbers) < MANY // 4:
        return
    part = "end" if max(numbers) < 3 * MANY // 4 else "beginning"
    raise Failed(
        "REVIEWS_NOT_SHUFFLED",
        f"If few reviews of many are wanted, none comes from the {part} of the input, with any of {len(calls)} seeds.",
        ("", "of all", "yours"),
        [("numbers of the reviews", f"0 to {MANY - 1:,}", f"{min(numbers):,} to {max(numbers):,}")],
        remedy="Read all of the input, shuffle it, and take the first reviews of the shuffled list.",
    )


def _judge_iterator(seen: OrderSeen) -> None:
    """What works with a list works with an iterator."""
    first, second = seen.seed_3.outcome, seen.iterator.outcome
    if not isinstance(first, Returned):
        return
    expected = f"{len(_texts(first.data))} reviews"
    found = expected
    if isinstance(second, Returned):
        found = f"{len(_texts(second.data))} reviews"
    elif isinstance(second, Stopped) and second.diagnosis.code == "EXERCISE_CRASHED":
        found = second.diagnosis.cause.partition(" failed: ")[2]
    if found != expected:
        raise Failed(
            "REVIEWS_ITERATOR_FAILS",
            f"{FUNCTION} works with a list of reviews, and not with an iterator over the same reviews.",
            ("examples", "outcome"),
            [("a list", expected), ("an iterator", found)],
        )


def _judge_reproducible(seen: OrderSeen, first: list[int]) -> None:
    """Only the seed decides the order, and other random numbers do not change."""
    columns = ("call with", "first reviews of your order")
    start = ("seed 3", _beginning(first))

    def fail(cause: str, label: str, other: list[int], remedy: str = "", base: tuple[str, str] = start) -> None:
        rows = [base, (label, _beginning(other))]
        raise Failed("REVIEWS_NOT_REPRODUCIBLE", cause, columns, rows, remedy)

    other_state, same_state = (_numbers(_batches(call)) for call in (seen.other_state, seen.same_state))
    if other_state != first:
        if same_state == first:
            cause = "The order depends on random numbers that other code draws, and not on the seed alone."
            fail(cause, "seed 3, other global random numbers", other_state)
        fail("The same seed gives another order at each call.", "seed 3 again", other_state)
    if (iterator := _numbers(_batches(seen.iterator))) != first:
        cause = "An iterator over the same reviews gives other batches than a list of them."
        fail(cause, "seed 3, an iterator", iterator, "Make one list of `examples` first, and use that list only.")
    if (other_process := _numbers(returned(seen.other_process))) != first:
        fail(
            "The same seed gives another order in a second Python process.",
            "seed 3, another process",
            other_process,
            "Use the seed itself. `hash` of a string and the order of a set of strings differ from one process to "
            "the next.",
        )
    orders = {call.seed: _numbers(_batches(call)) for call in seen.seeds}
    if (again := _numbers(_batches(seen.seed_0_again))) != orders[0]:
        cause = "Seed 0 gives another order at each call."
        remedy = "0 is a seed like any other: in Python `0 or …` and `if seed` treat it as missing."
        fail(cause, "seed 0 again", again, remedy, ("seed 0", _beginning(orders[0])))
    seeds = {3: first, **orders}
    for seed, order in seeds.items():
        for other, other_order in seeds.items():
            if seed < other and order == other_order:
                cause = f"Another seed gives the same order: {seed} and {other}."
                fail(cause, f"seed {other}", other_order, base=(f"seed {seed}", _beginning(order)))
    expected = {
        "random": random.Random(GLOBAL_SEED).random(),
        "numpy.random": float(np.random.RandomState(GLOBAL_SEED).random()),
    }
    for name, number in seen.next_random.items():
        if number != (right := expected[name]):
            raise Failed(
                "REVIEWS_NOT_REPRODUCIBLE",
                f"Your shuffle changes the random numbers of the rest of the program: those of {name}.",
                ("next random number", "expected", "after your call"),
                [(name, f"{right:.6f}", f"{number:.6f}")],
                remedy="Create your own generator with random.Random(seed). Do not call random.seed or random.shuffle.",
            )


def observe_full_batches(submission: Submission) -> list[Call]:
    """Batches of different sizes and numbers.

    In one call each review appears twice; the last calls are generated.
    """
    reviews = _reviews(NUMBER_OF_REVIEWS)
    calls = [_call(submission, reviews, *size) for size in ((4, 3), (7, 8), (1, 5), (60, 1))]
    calls.append(_call(submission, _reviews(NUMBER_OF_REVIEWS // 2) * 2, 10, 6))

    numbers = strategies.integers
    sizes_and_seed = strategies.tuples(numbers(1, 14), numbers(1, 5), numbers(1, 5), numbers(0, 2**32 - 1))

    def observe(sizes: tuple[int, int, int, int]) -> Call:
        available, batch_size, num_batches, seed = sizes
        return _call(submission, _reviews(available), batch_size, num_batches, seed)

    return calls + observe_property(sizes_and_seed, observe, _judge_batches)


def judge_full_batches(calls: list[Call]) -> None:
    """There are as many full batches as requested, and no review is left out or repeated."""
    once, (twice, *generated) = calls[:4], calls[4:]
    assert generated, "no batches were generated"
    for call in once:
        _judge_batches(call)
    _judge_equal_texts(twice)
    for call in generated:
        _judge_batches(call)


def _judge_equal_texts(call: Call) -> None:
    """All reviews are wanted, each of which appears twice in the input.

    With reviews that differ, calls of other sizes returned what they should.
    """
    found = Counter(_numbers(_batches(call))) if isinstance(call.outcome, Returned) else Counter()
    if found.total() == call.wanted and set(found.values()) == {2}:
        return
    yours = f"{found.total()} reviews" if found else "an error"
    raise Failed(
        "NOT_AS_EXPECTED",
        "Reviews with the same text are merged into one.",
        ("reviews", "different texts", "wanted", "yours"),
        [(call.available, call.available // 2, call.wanted, yours)],
        remedy="Collect the texts in a list, and not in a set or as the keys of a dictionary.",
    )


def _judge_batches(call: Call) -> None:
    if call.wanted > call.available:
        _judge_refused(call)
        return
    batches = _batches(call)
    sizes, expected = [len(batch) for batch in batches], [call.batch_size] * call.num_batches
    if sizes != expected:
        raise Failed(
            "REVIEWS_PARTIAL_BATCH",
            f"{FUNCTION} returned "
            + ("batches of other sizes" if len(batches) == call.num_batches else f"{len(batches)} batches")
            + f" instead of {call.num_batches} batches of {call.batch_size}.",
            ("reviews available", "expected sizes", "yours"),
            [(call.available, expected, sizes)],
        )
    numbers = _numbers(batches)
    if len(set(numbers)) != len(numbers):
        raise Failed(
            "NOT_AS_EXPECTED",
            "A review appears more than once, while others are left out.",
            ("reviews available", "expected different reviews", "yours"),
            [(call.available, len(numbers), len(set(numbers)))],
            remedy="Cut the shuffled list into consecutive slices.",
        )


def _reviews(number: int) -> list[tuple[str, int]]:
    """Reviews sorted by label, like the file."""
    return [(f"Review {place}: I saw it.", int(place >= number // 2)) for place in range(number)]


def _call(
    submission: Submission, examples: Iterable[tuple[str, int]], batch_size: int, num_batches: int, seed: int = 0
) -> Call:
    def read(batches: list) -> Batches:
        for batch in batches:
            submission.expect_type(f"a batch of {FUNCTION}", batch, list)
        return [
            [str(item) if isinstance(item, str) else NotText(type(item).__name__, repr(item)) for item in batch]
            for batch in batches
        ]

    available = list(examples) if isinstance(examples, list) else _reviews(NUMBER_OF_REVIEWS)
    given = list(examples) if isinstance(examples, list) else examples
    refused = ValueError if batch_size * num_batches > len(available) else ()
    outcome = submission.observe(
        FUNCTION, given, batch_size, num_batches, seed, reads=read, returns=list, expects=refused
    )
    changed, with_one_more = None, False
    if isinstance(given, list) and given != available:
        changed = (_shown(available), _shown(given))
    if isinstance(outcome, Stopped) and batch_size * num_batches == len(available):
        more = [*available, ("One more.", 1)]
        with_one_more = isinstance(submission.observe(FUNCTION, more, batch_size, num_batches, seed), Returned)
    return Call(len(available), batch_size, num_batches, seed, outcome, changed, with_one_more)


def _batches(call: Call) -> Batches:
    """The batches that a call returned. Raises Failed if it returned none."""
    if call.changed:
        cause = f"{FUNCTION} changes the list that it is given."
        raise Failed("REVIEWS_INPUT_CHANGED", cause, ("examples before the call", "after"), [call.changed])
    outcome = call.outcome
    if call.returns_with_one_more and isinstance(outcome, Stopped) and outcome.diagnosis.code == "EXERCISE_CRASHED":
        raise Failed(
            "REVIEWS_ENOUGH_REFUSED",
            f"With as many reviews as are wanted {FUNCTION} fails; with one review more it returns.",
            ("wanted", "available", "your error"),
            [(call.wanted, call.available, outcome.diagnosis.cause.partition(" failed: ")[2])],
        )
    return returned(outcome)


def _read_process(outcome: Outcome[Any]) -> Outcome[Batches]:
    """The batches from another process, whose texts were checked in this one."""
    if isinstance(outcome, Returned):
        return Returned([[str(item) for item in batch] for batch in outcome.data])
    return outcome


def _texts(batches: Batches) -> list[str]:
    """All texts in their order. Raises Failed if an item is not a text."""
    texts = []
    for batch in batches:
        for item in batch:
            if isinstance(item, NotText):
                kept = item.kind in ("tuple", "list", "int")
                code = "REVIEWS_LABELS_KEPT" if kept else "WRONG_RETURN_TYPE"
                cause = f"A batch contains an item of type {item.kind}, which is not a text."
                raise Failed(code, cause, ("expected", "yours"), [("a text", item.shown)])
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


def _letters(text: str) -> str:
    return "".join(text.split())


def _beginning(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10]))


def _shown(examples: list[tuple[str, int]]) -> str:
    return f"{len(examples)} reviews: {examples[:2]}"
