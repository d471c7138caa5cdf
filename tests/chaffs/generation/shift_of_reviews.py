"""NOT_AS_EXPECTED: lists have no part in it."""

from kit.reference.generation import complete, mean_log_likelihood  # noqa: F401


def style_shift(before, after):
    change = {name: after[name] - before[name] for name in before}
    return change | {"shift": change["reviews"]}
