"""The usual mistakes in likelihoods and in the style shift, computed on the data of the checks."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.generation.oracle import change_weights, logits_of, sharpen
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_with_batch_axis
from kit.evidence import unsharded_twin as twin
from kit.judge.mistakes import RIGHT, Mistake, MistakeTable, Names, Values

#: Numbers of texts: fewer than one chunk, and more than one.
NUMBERS_OF_TEXTS = (5, 18)
_SECTION = "generation#How probable is a text?"
_WRONG, _PADDING = "LIKELIHOOD_WRONG", "LIKELIHOOD_COUNTS_PADDING"

LIKELIHOOD = (
    Mistake(
        "padding_counted",
        _PADDING,
        "The mean is over all positions: padding counts as if it were text.",
        "Multiply by the preprocessor's weight, and divide by its sum.",
        _SECTION,
    ),
    Mistake(
        "divided_by_positions",
        _PADDING,
        "Padding is left out of the sum, and counted in the number that it is divided by.",
        "Divide by the sum of the weights, not by the number of positions.",
        _SECTION,
    ),
    Mistake(
        "fillers_counted",
        _WRONG,
        "The fillers of the last batch are counted: they repeat its first text.",
        "Use only the first `chunk_size` rows of logits, targets and weights.",
        _SECTION,
    ),
    Mistake(
        "fillers_counted_as_tokens",
        _WRONG,
        "The fillers of the last batch are left out of the sum, and their tokens are counted in the number that it is "
        "divided by.",
        "Sum the weights of the first `chunk_size` rows alone.",
        _SECTION,
    ),
    Mistake(
        "first_token_left_out",
        _WRONG,
        "The first token of each text is left out: only the start token before it has no probability.",
        "Count each position whose weight is not 0: `next_tokens` begins with the text's first token.",
        _SECTION,
    ),
    Mistake(
        "mask_of_inputs",
        _PADDING,
        "The mask of the inputs is used for the targets, which are one token further on: the padding after each text's "
        "last token counts.",
        "Use the third value that the preprocessor returns: it is the weight of the targets.",
        _SECTION,
    ),
    Mistake(
        "mean_of_texts",
        _WRONG,
        "This is the mean of each text's mean, so that a short text weighs as much as a long one.",
        "Add up log-probabilities and tokens of all texts, and divide once, at the end.",
        _SECTION,
    ),
    Mistake(
        "mean_of_batches",
        _WRONG,
        "This is the mean of each batch's mean, so that a batch with few tokens weighs as much as a full one.",
        "Add up log-probabilities and tokens of all batches, and divide once, at the end.",
        _SECTION,
    ),
    Mistake(
        "sum_of_tokens",
        _WRONG,
        "This is the sum over all tokens, not the mean.",
        "Divide by the number of tokens.",
        _SECTION,
    ),
    Mistake(
        "sum_per_text",
        _WRONG,
        "This is the sum over the tokens of a text, averaged over texts, and not the mean over tokens.",
        "Count tokens, not texts, in the number that you divide by.",
        _SECTION,
    ),
    Mistake(
        "shifted_twice",
        _WRONG,
        "The targets are shifted twice: `next_tokens` is shifted already, so each position is compared with the "
        "token after the next one.",
        "Use logits and `next_tokens` at the same position.",
        _SECTION,
    ),
    Mistake(
        "not_shifted",
        _WRONG,
        "The probability is that of the token at the position itself, not of the next token.",
        "Use `next_tokens`, the second value that the preprocessor returns.",
        _SECTION,
    ),
    Mistake(
        "raw_logits",
        _WRONG,
        "The logits themselves are averaged, without the logarithm of the sum of their exponentials.",
        "Subtract the logarithm of the sum of exponentials over the vocabulary from each logit.",
        _SECTION,
    ),
    Mistake(
        "probabilities",
        _WRONG,
        "The probabilities are averaged, not their logarithms.",
        "Average ln p, as the docstring says.",
        _SECTION,
    ),
    Mistake(
        "probabilities_clipped",
        _WRONG,
        "Before the logarithm a small number, such as 1e-12, is added to the probabilities, or they are clipped there: "
        "tokens that are less probable count as if they were that probable.",
        "Subtract the logarithm of the sum of exponentials from the logit: a logarithm of 0 cannot occur then, and "
        "nothing has to be clipped.",
        _SECTION,
    ),
    Mistake("in_bits", _WRONG, "The logarithms have base 2.", "Use natural logarithms: the unit is nats.", _SECTION),
    Mistake(
        "negative",
        _WRONG,
        "The sign is wrong: this is the loss, and a log-likelihood is at most 0.",
        "Return the mean of ln p, without a minus sign.",
        _SECTION,
    ),
)
#: At most one of each group can be made.
_EXCLUSIVE = (
    {"padding_counted", "divided_by_positions", "mask_of_inputs"},
    {"mean_of_texts", "mean_of_batches", "sum_of_tokens", "sum_per_text"},
    {"sum_of_tokens", "sum_per_text", "divided_by_positions"},
    {"mean_of_texts", "sum_of_tokens", "sum_per_text", "fillers_counted", "fillers_counted_as_tokens"},
    {"shifted_twice", "not_shifted"},
    {"raw_logits", "probabilities", "in_bits"},
    {"raw_logits", "probabilities", "probabilities_clipped"},
)
_OF_SCORES = frozenset({"not_shifted", "shifted_twice", "raw_logits", "probabilities", "mask_of_inputs"})


@dataclass(frozen=True)
class Clipping:
    """How probabilities are kept above 0 before their logarithm is taken."""

    least: float = 1e-12
    #: Whether ``least`` is added; else smaller probabilities are replaced by it.
    added: bool = False

    def of(self, log_probabilities: np.ndarray) -> np.ndarray:
        """The logarithms of the clipped probabilities."""
        probabilities = np.exp(log_probabilities)
        return np.log(probabilities + self.least if self.added else np.maximum(probabilities, self.least))


_CLIPPINGS = [Clipping(10.0**exponent, added) for exponent in (-12, *range(-20, -5)) for added in (False, True)]


def likelihood_table(clipping: Clipping | None = None) -> MistakeTable:
    """The mistakes that the check ``likelihood`` recognises, of which one is this clipping."""
    compute = functools.partial(_likelihoods, clipping=clipping or Clipping())
    # float32 sums over hundreds of tokens in another order.
    return MistakeTable(LIKELIHOOD, compute, relative=1e-5, exclusive=_EXCLUSIVE)


def likelihood_failure(found: Values) -> Failed:
    """The diagnosis of wrong likelihoods."""
    for clipping in _CLIPPINGS:
        if recognised := likelihood_table(clipping).recognised_failure(found):
            return recognised
    cause = "mean_log_likelihood is not the mean over the tokens of the texts."
    return likelihood_table().failure(found, "LIKELIHOOD_WRONG", cause)


def label(number: int) -> str:
    """The label of the value of ``number`` texts."""
    return f"{number} texts, nats per token"


def _likelihoods(names: Names, clipping: Clipping) -> Values:
    return {label(number): _mean(number, names, clipping) for number in NUMBERS_OF_TEXTS}


def not_finite(found: Mapping[str, float]) -> Failed:
    """The failure of a likelihood that is infinite or NaN, which has two causes that look alike."""
    number = NUMBERS_OF_TEXTS[0]
    largest, least = _predictions(number)[0].max(), _scores(number, RIGHT)[0].min()
    cause = (
        "The likelihood is not finite. In float32 exp of a logit above 88.7 is infinite, and these go up to "
        f"{largest:.0f}; the probability of a token with a log-likelihood below -104 is 0, and these go down to "
        f"{least:.0f}."
    )
    remedy = (
        "Compute neither: subtract the largest logit from all, and then the logarithm of the sum of exponentials from "
        "the logit of the next token."
    )
    right = likelihood_table().right
    rows = [(name, f"{right[name]:.7g}", f"{value:.7g}") for name, value in found.items()]
    return Failed("LIKELIHOOD_OVERFLOWS", cause, ("", "expected", "yours"), rows, remedy)


def changed_likelihood(number: int) -> float:
    """The mean log-likelihood after :func:`change_weights`."""
    model = small_models.bundled_model()
    model.preprocessor.sequence_length = small_models.SEQUENCE_LENGTH
    sharpen(model)
    change_weights(model)
    x, y, weight = twin.tokenized(model, small_models.texts(number, seed=3))
    scores = np.asarray(jax.nn.log_softmax(logits_of(model, x)), "float64")
    chosen = np.take_along_axis(scores, y[..., None], axis=-1)[..., 0]
    return float((chosen * weight).sum() / weight.sum())


@functools.cache
def _predictions(number: int) -> tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray, np.ndarray]:
    """Logits, inputs, next tokens and weights of ``number`` texts, on one device."""
    model = small_models.bundled_model()
    model.preprocessor.sequence_length = small_models.SEQUENCE_LENGTH
    sharpen(model)
    x, y, weight = twin.tokenized(model, small_models.texts(number, seed=3))
    assert 0.3 < weight.mean() < 0.95, "the texts have no padding, or nothing else"
    return logits_of(model, x), x, y, weight.astype("float64")


@functools.cache
def _scores(number: int, names: Names) -> tuple[np.ndarray, np.ndarray]:
    """What is averaged, by these of ``_OF_SCORES``, and its weights: (text, position)."""
    logits, inputs, next_tokens, weight = _predictions(number)
    if "mask_of_inputs" in names:
        weight = inputs["padding_mask"].astype("float64")
    targets = inputs["token_ids"] if "not_shifted" in names else next_tokens
    if "shifted_twice" in names:
        logits, targets, weight = logits[:, :-1], targets[:, 1:], weight[:, 1:]
    scores = logits if "raw_logits" in names else np.asarray(jax.nn.log_softmax(logits))
    chosen = np.take_along_axis(scores, targets[..., None], axis=-1)[..., 0].astype("float64")
    return (np.exp(chosen) if "probabilities" in names else chosen), weight


def _times(number: int, names: Names, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each text counts in the sum and in the number of tokens: (text, 1)."""
    once, with_fillers = np.ones((number, 1)), np.ones((number, 1))
    # The first text of the last chunk fills it up.
    with_fillers[number // chunk * chunk] += -number % chunk
    in_sum = "fillers_counted" in names
    return (
        with_fillers if in_sum else once,
        with_fillers if in_sum or "fillers_counted_as_tokens" in names else once,
    )


def _mean(number: int, names: Names, clipping: Clipping) -> float:
    """The mean log-likelihood of texts, or what the mistakes give instead."""
    chosen, weight = _scores(number, names & _OF_SCORES)
    if "probabilities_clipped" in names:
        chosen = clipping.of(chosen)
    if "in_bits" in names:
        chosen = chosen / math.log(2)
    if "padding_counted" in names:
        weight = np.ones_like(weight)
    if "first_token_left_out" in names:
        weight = np.concatenate([np.zeros_like(weight[:, :1]), weight[:, 1:]], axis=1)
    tokens = np.full_like(weight, 1.0) if "divided_by_positions" in names else weight
    chunk = 8 * mesh_with_batch_axis()[0]
    times, times_of_tokens = _times(number, names, chunk)
    sums, counts = (chosen * weight * times).sum(1), (tokens * times_of_tokens).sum(1)
    if "mean_of_texts" in names:
        mean = float(np.mean(sums / counts))
    elif "mean_of_batches" in names:
        starts = range(0, number, chunk)
        means = [sums[start : start + chunk].sum() / counts[start : start + chunk].sum() for start in starts]
        mean = float(np.mean(means))
    elif "sum_of_tokens" in names:
        mean = float(sums.sum())
    elif "sum_per_text" in names:
        mean = float(sums.sum() / number)
    else:
        mean = float(sums.sum() / counts.sum())
    return -mean if "negative" in names else mean


#: Log-likelihoods per token of held-out reviews and of lists, before and after 300 steps on
#: reviews, and on reviews with shuffled words: "log_likelihood" in the output of `kit run --json`
#: and `kit run --control --json` with seed 0.
BEFORE = {"reviews": -3.8122, "lists": -0.7522}
CONTROL = "its control"
AFTER = {
    "a run": {"reviews": -3.7648, "lists": -1.3291},
    CONTROL: {"reviews": -4.4939, "lists": -2.9855},
    # As if the model were tuned on lists that resemble reviews.
    "a run on lists": {"reviews": -3.7122, "lists": -0.3522},
}
_CONTROL_SHIFTS, _CONTROL_SECTION = "STYLE_CONTROL_SHIFTS_TOO", "generation#The control"
_SMALLER = "Return the smaller of two numbers: the change of reviews, and this change minus that of lists."
SHIFT = (
    Mistake(
        "turned",
        "NOT_AS_EXPECTED",
        "A change is the score before tuning minus the score after it: the sign is wrong.",
        "Subtract the score before tuning from the score after it.",
        _CONTROL_SECTION,
    ),
    Mistake(
        "quotients",
        "NOT_AS_EXPECTED",
        "A change is the score after tuning divided by the score before it.",
        "Subtract: a change is a difference in nats per token.",
        _CONTROL_SECTION,
    ),
    Mistake(
        "difference",
        _CONTROL_SHIFTS,
        "The shift is the change of reviews minus that of lists. It is above 0 for the control too, whose reviews "
        "became less probable.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "lists_alone",
        _CONTROL_SHIFTS,
        "The shift is what lists have lost. It is above 0 for the control too, which has forgotten lists and learned "
        "no reviews.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "distance",
        _CONTROL_SHIFTS,
        "The shift is the size of the change of reviews, without its sign. It is above 0 for the control too, whose "
        "reviews became less probable.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "larger",
        _CONTROL_SHIFTS,
        "The shift is the larger of the two numbers. It is above 0 for the control too.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "reviews_alone",
        "NOT_AS_EXPECTED",
        "The shift is the change of reviews, and the lists are ignored: a model that gains more on lists than on "
        "reviews has a shift too.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "smaller_change",
        "NOT_AS_EXPECTED",
        "The shift is the smaller change, that of reviews or that of lists.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "sum",
        "NOT_AS_EXPECTED",
        "The shift is the sum of both changes, as if lists were reviews.",
        _SMALLER,
        _CONTROL_SECTION,
    ),
    Mistake(
        "not_below_zero",
        "NOT_AS_EXPECTED",
        "The shift is cut off at 0: it does not show by how much the control fails.",
        "Return the smaller number also where it is below 0.",
        _CONTROL_SECTION,
    ),
)


def shift_table() -> MistakeTable:
    """The mistakes that the check ``shift`` recognises."""
    # Differences of numbers with four decimals, in float64.
    return MistakeTable(SHIFT, _shifts, relative=0.0, absolute=1e-9)


def style_shift(before: Mapping[str, float], after: Mapping[str, float], names: Names = RIGHT) -> dict[str, float]:
    """The changes and the shift, or what the mistakes give instead."""
    if "quotients" in names:
        change = {style: after[style] / before[style] for style in before}
    else:
        sign = -1 if "turned" in names else 1
        change = {style: sign * (after[style] - before[style]) for style in before}
    reviews, lists = change["reviews"], change["lists"]
    forms = {
        "difference": reviews - lists,
        "lists_alone": -lists,
        "distance": abs(reviews),
        "larger": max(reviews, reviews - lists),
        "reviews_alone": reviews,
        "smaller_change": min(reviews, lists),
        "sum": reviews + lists,
        "not_below_zero": max(0.0, min(reviews, reviews - lists)),
    }
    made = [form for form in forms if form in names]
    return change | {"shift": forms[made[0]] if made else min(reviews, reviews - lists)}


def _shifts(names: Names) -> Values | None:
    """The numbers of all cases; at most one form of the shift and of a change can be wrong."""
    if len(names - {"turned", "quotients"}) > 1 or {"turned", "quotients"} <= names:
        return None
    return {
        f"{case}: {key}": value
        for case, after in AFTER.items()
        for key, value in style_shift(BEFORE, after, names).items()
    }


TABLES = {"likelihood": likelihood_table, "shift": shift_table}
