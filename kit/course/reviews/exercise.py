"""The exercise ``reviews`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import ReviewsPart

EXERCISE = Exercise(
    number=4,
    name="reviews",
    title="The reviews",
    difficulty=1,
    minutes=10,
    prerequisites=(),
    contract=ReviewsPart,
    hints=(
        "The file is sorted by label. What is in the first batch if one takes before one "
        "shuffles, and what if one shuffles before one takes? And may one ask how many examples "
        "there are before all have been read?",
        "Task 1: re.sub, with a pattern for a whole run of marks and the white space around it; "
        "\\s, a group and + are in it. Task 3: random.Random makes a generator of your own from a "
        "seed, and it can shuffle a list in place. Task 4: range takes a step.",
        "A list comprehension over the pairs that drops the second of each and cleans the first. "
        "An if that compares the length of the list with what is wanted, and a ValueError whose "
        "text has both. One line to shuffle the whole list. And a list of slices, each batch_size "
        "long, whose starts run from 0 up to what is wanted.",
    ),
    checks=(
        Check(
            "text_alone",
            "spec",
            "prepare_reviews",
            limit=15,
            asks="Labels are dropped, and a run of markup is one space.",
        ),
        Check(
            "too_few",
            "spec",
            "prepare_reviews",
            limit=15,
            asks="Too few reviews are a ValueError with both numbers.",
        ),
        Check(
            "order",
            "spec",
            "prepare_reviews",
            limit=15,
            asks="All of the reviews are shuffled, with the seed and with nothing else.",
        ),
        Check(
            "full_batches",
            "spec",
            "prepare_reviews",
            limit=15,
            asks="There are as many batches as asked for, each full, and no review twice.",
        ),
    ),
    codes={
        "REVIEWS_LABELS_KEPT": Code(
            "Keep the text of each pair and drop its label.",
            "Text alone",
        ),
        "REVIEWS_MARKUP_LEFT": Code(
            "Replace each run of <br />, with the space around it, by one space.",
            "Text alone",
        ),
        "REVIEWS_NOT_SHUFFLED": Code(
            "Shuffle all of the reviews before you take some: the file is sorted by label.",
            "The order",
        ),
        "REVIEWS_NOT_REPRODUCIBLE": Code(
            "Draw from random.Random(seed) and from nothing else.",
            "The order",
        ),
        "REVIEWS_PARTIAL_BATCH": Code(
            "Return exactly num_batches lists of exactly batch_size texts.",
            "Full batches",
        ),
        "REVIEWS_TOO_FEW_ACCEPTED": Code(
            "Raise a ValueError with both numbers if there are fewer than batch_size x num_batches reviews.",
            "Full batches",
        ),
    },
)
