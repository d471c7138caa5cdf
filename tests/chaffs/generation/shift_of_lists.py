"""STYLE_CONTROL_SHIFTS_TOO: that lists become less probable is taken for a shift to reviews."""

from kit.reference.generation import complete, mean_log_likelihood  # noqa: F401


def style_shift(before, after):
    change = {name: after[name] - before[name] for name in before}
    return change | {"shift": -change["lists"]}
