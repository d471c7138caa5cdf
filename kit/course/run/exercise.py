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
            asks="The whole tutorial with these parts: lists before, reviews after, the loss goes down.",
        ),
        Check(
            "control",
            "style",
            "",
            limit=900,
            asks="A third of the steps on reviews with their words shuffled is no shift.",
        ),
        Check(
            "tutorial",
            "tpu",
            "",
            limit=3600,
            asks="Gemma 7B: 11,067,392 trainable parameters, the loss goes down, the style shifts.",
        ),
    ),
)
