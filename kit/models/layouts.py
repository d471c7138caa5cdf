"""Layout maps and the models that they are for."""

from kit.errors import UserError
from kit.evidence.layouts import RuleCoverage
from kit.narrator import as_tuple


def check_coverage(coverage: RuleCoverage, mesh: tuple[int, int]) -> None:
    """Refuse a layout map that Keras would refuse.

    Raises:
        UserError: with the first variable that it cannot be used on.

    """
    if coverage.overlaps:
        path, patterns = coverage.overlaps[0]
        raise UserError(
            f"The layout map has {len(patterns)} rules for {path}: {', '.join(patterns)}; Keras takes one at most."
        )
    if coverage.misfits:
        misfit = coverage.misfits[0]
        raise UserError(
            f"The layout map's spec {as_tuple(misfit.spec)} does not fit {misfit.path}, of shape {as_tuple(misfit.shape)} "
            f"({len(coverage.misfits)} such variables)."
        )
    if coverage.indivisible:
        first = coverage.indivisible[0]
        raise UserError(
            f"--mesh {mesh[0]}x{mesh[1]}: dimension {first.dimension} of {first.path}, of shape {as_tuple(first.shape)}, has "
            f'{first.shape[first.dimension]} entries, which the {first.axis_size} devices of the axis "{first.axis}" do not '
            f'divide ({len(coverage.indivisible)} such variables); choose a mesh whose "{first.axis}" axis divides it.'
        )


def layout_of(preset: str, mesh: tuple[int, int]) -> None:
    """To come."""
    return None
