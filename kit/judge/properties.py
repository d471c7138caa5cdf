"""Properties of functions over plain data: generated cases, and the smallest one that fails.

Imports Hypothesis, so only the checks that use it import this module. The cases are the same each
time, and nothing is written to disk.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import hypothesis
from hypothesis.internal import entropy
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import SearchStrategy

from kit.checks.diagnosis import Failed

Value = TypeVar("Value")
Seen = TypeVar("Seen")

#: Generated cases of one property.
EXAMPLES = 50
# Otherwise Hypothesis parses each imported module for constants, which takes seconds, and writes
# them to disk.
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants
# When Hypothesis first sets NumPy's random numbers, it looks at all objects, which takes up to a
# second. Here this happens once, in the parent of all checks.
with entropy.deterministic_PRNG():
    pass


def observe_property(
    strategy: SearchStrategy[Value],
    observe: Callable[[Value], Seen],
    judge: Callable[[Seen], None],
    examples: int = EXAMPLES,
) -> list[Seen]:
    """Try generated values, and return what was observed.

    ``observe`` runs learner code and returns plain data; ``judge`` raises Failed if they are wrong.

    Returns the observation of the smallest value that fails, or those of all values. They are plain
    data that the check judges again.
    """
    seen: list[Seen] = []
    failing: list[Seen] = []

    def try_value(value: Value) -> None:
        seen.append(observe(value))
        try:
            judge(seen[-1])
        except Failed:
            failing.append(seen[-1])
            raise

    chosen = hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
    )
    # A function that returns something else each time is reported as flaky: its last failure
    # counts.
    with contextlib.suppress(Exception):
        chosen(hypothesis.given(strategy)(try_value))()
    # Hypothesis tries the smallest failing value last.
    return failing[-1:] or seen
