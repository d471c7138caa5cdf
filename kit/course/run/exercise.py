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
            "style_shift": "The run of the bundled preset: the style shifts from lists to reviews, and the loss "
            "decreases.",
            "control": "A third of the steps on reviews with shuffled words: the style does not shift.",
        },
        ("tpu", "", 3600): {
            "tutorial": "Gemma 7B: 11,067,392 parameters are trained, the style shifts, and the loss decreases."
        },
    },
)
