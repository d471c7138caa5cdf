"""STYLE_CONTROL_SHIFTS_TOO: reviews lose less than lists, so shuffled words count as a shift."""

from kit.reference.generation import complete, mean_log_likelihood  # noqa: F401


def style_shift(before, after):
    change = {name: after[name] - before[name] for name in before}
    return change | {"shift": change["reviews"] - change["lists"]}
