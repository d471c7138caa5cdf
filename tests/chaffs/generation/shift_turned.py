"""NOT_AS_EXPECTED: before minus after."""

from kit.reference.generation import complete, mean_log_likelihood  # noqa: F401


def style_shift(before, after):
    change = {name: before[name] - after[name] for name in before}
    return change | {"shift": min(change["reviews"], change["reviews"] - change["lists"])}
