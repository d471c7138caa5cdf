"""The usual mistakes in shares and effects, computed on the numbers of the checks."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from kit.course.precision.cases import Change, changes, sums
from kit.course.precision.rounding import effect_kept, rounded, share_unchanged
from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

_SHARE, _SHARES = "PRECISION_WRONG_SHARE", "precision#What bfloat16 represents"
_EFFECT, _NOISE, _EFFECTS = "PRECISION_WRONG_EFFECT", "PRECISION_NOISE_COUNTED", "precision#A change and noise"
_ROUND = "Add in float32, cast the sum to bfloat16, and compare it with the kernel."

SHARES = (
    Mistake(
        "update_rounded",
        _SHARE,
        "The update is rounded to bfloat16 before it is added, which moves it across a tie or away from it.",
        "Add in float32, and round the sum only.",
        _SHARES,
    ),
    Mistake("truncated", _SHARE, "The lower bits of the sum are cut off instead of rounded.", _ROUND, _SHARES),
    Mistake(
        "one_threshold",
        _SHARE,
        "Every update below 1/512 of its entry counts as lost, and others count as kept: the distance to the next "
        "number is the same between two powers of two.",
        _ROUND,
        _SHARES,
    ),
    Mistake(
        "ties_stay",
        _SHARE,
        "Every sum in the middle between two numbers counts as unchanged: half of them are rounded away from the "
        "entry, to the even significand.",
        _ROUND,
        _SHARES,
    ),
    Mistake(
        "ties_away",
        _SHARE,
        "Every sum in the middle between two numbers is rounded away from zero: half of them are rounded back to the "
        "entry, to the even significand.",
        _ROUND,
        _SHARES,
    ),
    Mistake(
        "same_distance_below",
        _SHARE,
        "The distance above a power of two is used below it too, where numbers are twice as close.",
        _ROUND,
        _SHARES,
    ),
    Mistake(
        "float16",
        _SHARE,
        "The sum is rounded to float16, which has three more bits than bfloat16 and ends at 6e-8.",
        "Use `ml_dtypes.bfloat16`.",
        _SHARES,
    ),
    Mistake("not_rounded", _SHARE, "The sum is compared in float32, without rounding it to bfloat16.", _ROUND, _SHARES),
    Mistake(
        "nearly_equal",
        _SHARE,
        "Entries that are nearly equal count as equal (np.isclose), so that tiny numbers do not change.",
        "Compare with ==: rounded numbers are equal or not.",
        _SHARES,
    ),
    Mistake(
        "changed_entries",
        _SHARE,
        "This is the share of the entries that change.",
        "Return the share of those that stay.",
        _SHARES,
    ),
    Mistake("number", _SHARE, "This is the number of entries, and not their share.", "Take the mean.", _SHARES),
    Mistake("percent", _SHARE, "The share is in percent.", "Return a number from 0 to 1.", _SHARES),
)
#: Which entries stay, by mistake: of kernel and update in float64.
_STAY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "truncated": lambda kernel, update: _with_bits(kernel + update, np.trunc) == kernel,
    "one_threshold": lambda kernel, update: np.abs(update) < np.abs(kernel) / 512,
    "ties_stay": lambda kernel, update: np.abs(update) <= np.where(_is_inward(kernel, update), 0.5, 1) * _half(kernel),
    "ties_away": lambda kernel, update: _with_bits(kernel + update, _half_away) == kernel,
    "same_distance_below": lambda kernel, update: (
        (np.abs(update) < _half(kernel))
        | ((np.abs(update) == _half(kernel)) & (np.abs(np.frexp(kernel)[0]) * 256 % 2 == 0))
    ),
    "float16": lambda kernel, update: (kernel + update).astype("float16") == kernel.astype("float16"),
    "not_rounded": lambda kernel, update: (kernel + update).astype("float32") == kernel,
    "nearly_equal": lambda kernel, update: np.isclose(rounded(kernel + update), kernel),
}
_FORMS = {"changed_entries", "number", "percent"}


def shares_table() -> MistakeTable:
    """The mistakes that the check ``shares`` recognises."""
    return MistakeTable(SHARES, _shares, relative=0.0, absolute=1e-6)


def _shares(names: Names) -> Values | None:
    if len(names & _STAY.keys()) > 1 or {"number", "percent"} <= names:
        return None
    return {case.name: _share(case.kernel, case.update, names) for case in sums()}


def _share(kernel: np.ndarray, update: np.ndarray, names: Names) -> float:
    exact = kernel.astype("float64"), update.astype("float64")
    if "update_rounded" in names:
        exact = exact[0], rounded(exact[1])
    made = [name for name in _STAY if name in names]
    share = float(np.mean(_STAY[made[0]](*exact))) if made else share_unchanged(kernel, exact[1])
    share = 1 - share if "changed_entries" in names else share
    return share * (kernel.size if "number" in names else 100 if "percent" in names else 1)


def _with_bits(values: np.ndarray, to_integer: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Values with eight significant bits, by another rule than ties to even."""
    significand, exponent = np.frexp(values)
    return np.asarray(np.ldexp(to_integer(significand * 256), exponent - 8))


def _half_away(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(values) * np.floor(np.abs(values) + 0.5))


def _half(kernel: np.ndarray) -> np.ndarray:
    """Half of the distance to the next number away from zero."""
    return np.asarray(np.ldexp(1.0, np.frexp(kernel)[1] - 9))


def _is_inward(kernel: np.ndarray, update: np.ndarray) -> np.ndarray:
    """Whether a power of two is moved towards zero."""
    return (np.abs(np.frexp(kernel)[0]) == 0.5) & (np.sign(update) != np.sign(kernel))


_FIT = "Divide the sum of difference x change by the sum of change x change, both in float64."
EFFECTS = (
    Mistake(
        "subtracted_in_bfloat16",
        _EFFECT,
        "The outputs are subtracted in bfloat16, which rounds their difference.",
        'Cast both outputs first: `after.astype("float64") - before.astype("float64")`.',
        _EFFECTS,
    ),
    Mistake(
        "norms",
        _NOISE,
        "This is the norm of the difference divided by that of the change, and the noise is part of the difference.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "squared_norms",
        _NOISE,
        "This is the sum of the squared difference divided by that of the squared change, and the noise is part of the "
        "difference.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "mean_sizes",
        _NOISE,
        "This is the mean size of the difference divided by that of the change, and the noise is part of the "
        "difference.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "correlation",
        _EFFECT,
        "This is a correlation: it measures how little noise there is, and not how much of the change is kept.",
        "Divide by the sum of change x change, and not by both norms.",
        _EFFECTS,
    ),
    Mistake(
        "with_intercept",
        _EFFECT,
        "This is the slope of a line with an intercept, as `numpy.polyfit` fits it: what all outputs have in common is "
        "left out of the fit.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "mean_of_quotients",
        _EFFECT,
        "This is the mean of quotients, in which the smallest changes count most.",
        "Divide two sums, once.",
        _EFFECTS,
    ),
    Mistake(
        "median_of_quotients",
        _EFFECT,
        "This is the median of quotients, and not the least-squares fit.",
        "Divide two sums, once.",
        _EFFECTS,
    ),
    Mistake(
        "sums_divided",
        _EFFECT,
        "This is the sum of the difference divided by that of the change: where changes of both signs cancel, little "
        "of it is left.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "fitted_the_other_way",
        _EFFECT,
        "This fits the change by the difference: the sum of squares below is that of the difference.",
        "Divide by the sum of change x change.",
        _EFFECTS,
    ),
    Mistake(
        "not_divided",
        _EFFECT,
        "This is the sum of difference x change, which is not divided by the sum of change x change.",
        _FIT,
        _EFFECTS,
    ),
    Mistake(
        "before_minus_after",
        _EFFECT,
        "The sign is wrong: the difference is after - before.",
        "Subtract the outputs before the update from those after it.",
        _EFFECTS,
    ),
    Mistake(
        "lost_share", _EFFECT, "This is the share that is lost.", "Return k itself, the share that is kept.", _EFFECTS
    ),
)
_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], "float | np.floating"]] = {
    "norms": lambda seen, change: np.linalg.norm(seen) / np.linalg.norm(change),
    "squared_norms": lambda seen, change: np.vdot(seen, seen) / np.vdot(change, change),
    "mean_sizes": lambda seen, change: np.abs(seen).mean() / np.abs(change).mean(),
    "correlation": lambda seen, change: np.vdot(seen, change) / (np.linalg.norm(seen) * np.linalg.norm(change)),
    "with_intercept": lambda seen, change: np.polyfit(change.ravel(), seen.ravel(), 1)[0],
    "mean_of_quotients": lambda seen, change: np.mean(seen / change),
    "median_of_quotients": lambda seen, change: np.median(seen / change),
    "sums_divided": lambda seen, change: seen.sum() / change.sum(),
    "fitted_the_other_way": lambda seen, change: np.vdot(seen, change) / np.vdot(seen, seen),
    "not_divided": lambda seen, change: np.vdot(seen, change),
}
#: These do not depend on the sign of the difference.
_SIZES = {"norms", "squared_norms", "mean_sizes"}


def effects_table() -> MistakeTable:
    """The mistakes that the check ``effects`` recognises."""
    # float32 is precise enough; its error is 1e-6.
    return MistakeTable(EFFECTS, _effects, relative=1e-5, absolute=1e-5)


def _effects(names: Names) -> Values | None:
    if len(names & _MEASURES.keys()) > 1 or ("before_minus_after" in names and names & _SIZES):
        return None
    return {case.name: _effect(case, names) for case in changes()}


def _effect(case: Change, names: Names) -> float:
    seen = case.after.astype("float64") - case.before.astype("float64")
    if "subtracted_in_bfloat16" in names and case.after.dtype == ml_dtypes.bfloat16:
        seen = rounded(seen)
    if "before_minus_after" in names:
        seen = -seen
    made = [name for name in _MEASURES if name in names]
    if made:
        found = float(_MEASURES[made[0]](seen, case.change))
    else:
        found = effect_kept(case.change, np.zeros_like(seen), seen)
    return 1 - found if "lost_share" in names else found


TABLES = {"shares": shares_table, "effects": effects_table}
