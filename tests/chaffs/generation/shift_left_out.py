"""NOT_AS_EXPECTED: changes alone."""

from kit.reference.generation import complete, mean_log_likelihood  # noqa: F401


def style_shift(before, after):
    return {name: after[name] - before[name] for name in before}
