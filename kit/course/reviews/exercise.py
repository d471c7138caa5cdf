"""The exercise ``reviews`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import ReviewsPart

EXERCISE = Exercise(
    number=4,
    name="reviews",
    title="The reviews",
    difficulty=1,
    minutes=10,
    prerequisites=(),
    contract=ReviewsPart,
    learned="Data that is sorted by label must be shuffled as a whole, with a seed, before batches are taken from it.",
    hints=(
        "The file is sorted by label. What does the first batch contain if you take reviews first and shuffle then? "
        "What if you shuffle first? And can you know the number of examples before you have read all of them?",
        "Task 1: use re.sub with a pattern for a whole run of marks and the white space around it. It needs \\s, a "
        "group, and +. Task 3: random.Random creates your own generator from a seed, and it can shuffle a list in "
        "place. Task 4: range takes a step.",
        "Task 1: a list comprehension over the pairs that drops the label and cleans the text. Task 2: an `if` that "
        "compares the length of the list with the wanted number, and a ValueError whose message contains both. Task "
        "3: one line that shuffles the whole list. Task 4: a list of slices of length batch_size, whose starts run "
        "from 0 to the wanted number.",
    ),
    questions={
        ("spec", "prepare_reviews", 15): {
            "text_alone": "Labels must be dropped, each run of markup must become one space, and other text must not "
            "change.",
            "too_few": "Too few reviews must raise a ValueError that names both numbers; exactly enough must not.",
            "order": "All reviews must be shuffled, and only the seed may decide the order, in each process and for "
            "any iterable.",
            "full_batches": "There must be as many full batches as requested, and no review more often than given.",
        }
    },
    remedies={
        "Text only": {
            "REVIEWS_LABELS_KEPT": "Keep the text of each pair and drop its label.",
            "REVIEWS_MARKUP_LEFT": "Replace each run of <br />, together with the space around it, by one space.",
            "REVIEWS_ITERATOR_FAILS": "Go through `examples` once, and make a list: an iterator has no length and no "
            "index, and can be read only once.",
        },
        "The order": {
            "REVIEWS_NOT_SHUFFLED": "Shuffle all reviews before you take some of them: the file is sorted by label.",
            "REVIEWS_NOT_REPRODUCIBLE": "Draw all random numbers from random.Random(seed).",
            "REVIEWS_INPUT_CHANGED": "Make a list of your own, and shuffle that: the caller may still use the list "
            "that it passed.",
        },
        "Full batches": {
            "REVIEWS_PARTIAL_BATCH": "Return exactly num_batches lists of exactly batch_size texts.",
            "REVIEWS_ENOUGH_REFUSED": "Raise the error only if there are fewer reviews than wanted: exactly as many "
            "are enough.",
            "REVIEWS_TOO_FEW_ACCEPTED": "Raise a ValueError with both numbers if there are fewer than batch_size x "
            "num_batches reviews.",
        },
    },
)
