"""The whole run as data: the checks of all parts together. Imports no framework."""

from kit.judge.catalogue import WHOLE_RUN, Check, Exercise

EXERCISE = Exercise(
    number=100,
    name=WHOLE_RUN,
    title="The whole run",
    difficulty=1,
    minutes=0,
    prerequisites=(),
    contract=None,
    hints=(),
    checks=(
        Check(
            "style_shift",
            "style",
            "",
            limit=900,
            asks="The run of the bundled preset: the style shifts from lists to reviews, and the loss decreases.",
        ),
        Check(
            "control",
            "style",
            "",
            limit=900,
            asks="A third of the steps on reviews with shuffled words: the style does not shift.",
        ),
        Check(
            "tutorial",
            "tpu",
            "",
            limit=3600,
            asks="Gemma 7B: 11,067,392 parameters are trained, the style shifts, and the loss decreases.",
        ),
    ),
)
