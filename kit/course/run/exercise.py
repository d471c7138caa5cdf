"""The whole run as data: the checks of all parts together. Imports no framework."""

from kit.judge.catalogue import WHOLE_RUN, Exercise

EXERCISE = Exercise(
    number=100,
    name=WHOLE_RUN,
    title="The whole run",
    difficulty=1,
    minutes=0,
    prerequisites=(),
    contract=None,
    hints=(),
    questions={
        ("style", "", 900): {
            "style_shift": "In the run of the bundled preset, the style must shift from lists to reviews, and the "
            "loss decrease.",
            "control": "After a third of the steps on reviews with shuffled words, the style must not have shifted.",
        },
        ("tpu", "", 3600): {
            "tutorial": "With Gemma 7B, 11,067,392 parameters must be trained, the style must shift, and the loss "
            "decrease."
        },
    },
)
