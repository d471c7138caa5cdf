"""A check of a loaded model: its weights are sharded over the devices."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.layout import CALL_IT, judge_replicated, require_share
from kit.formatting import format_bytes

if TYPE_CHECKING:
    import keras

    from kit.evidence.placement import Placement


@raises_check_failed
def check_placement(model: "keras.Model | Sequence[keras.Variable]", share: float = 0.01) -> None:
    """Check that at most ``share`` of a loaded model's bytes are replicated.

    :func:`check_replicated_bytes` reads a layout map; this check reads the shardings of the
    weights.

    Args:
        model: Built or loaded under a distribution; or a list of such variables.
        share: Of the model's bytes; at least 0 and below 1.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no weights, a weight without a value, or a single device),
            LOADING_NO_DISTRIBUTION (all weights are on one device), LOADING_DISTRIBUTION_TOO_LATE
            (some weights are on fewer devices than the others), LAYOUT_MATRIX_REPLICATED.
    """
    require_share(share)
    from kit.evidence.placement import placements

    found = placements(getattr(model, "weights", model))
    _require_placements(found)
    judge_device_counts(found)
    judge_replicated(
        [placement for placement in found if placement.replicated],
        sum(placement.nbytes for placement in found),
        share,
        found[0].device_count,
        "Compare the layout map with these paths: check_layout_coverage shows what each rule matches.",
    )


def require_values(found: "list[Placement]", remedy: str = CALL_IT) -> None:
    """Raises ``Failed`` if there is no weight, or one without a value."""
    if not found:
        raise Failed("NOTHING_TO_CHECK", "The model has no weights.", remedy=remedy)
    valueless = sum(not placement.device_count for placement in found)
    if valueless:
        cause = f"{valueless} of the model's {len(found)} weights have no value."
        raise Failed("NOTHING_TO_CHECK", cause, remedy=remedy)


def _require_placements(found: "list[Placement]") -> None:
    import jax

    require_values(found, _BUILD)
    if jax.device_count() < 2:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"JAX sees a single device, {jax.devices()[0]}, so that nothing can be sharded.",
            remedy="Put `simulated_devices = 8` into pytest's ini file.",
        )


_BUILD = f"{CALL_IT} check_replicated_bytes judges a model without values."


def judge_device_counts(found: "list[Placement]") -> None:
    """All weights are on the same number of devices, and that is more than one."""
    import jax

    counts = Counter(placement.device_count for placement in found)
    most = max(counts)
    rows = []
    for count, number in sorted(counts.items()):
        those = [placement for placement in found if placement.device_count == count]
        nbytes = sum(placement.nbytes for placement in those)
        rows.append((f"{count} of {jax.device_count()}", number, format_bytes(nbytes), those[0].path))
    headings = ("devices", "weights", "bytes", "for example")
    if most == 1:
        raise Failed(
            "LOADING_NO_DISTRIBUTION",
            f"All {len(found)} weights of the model are on one of {jax.device_count()} devices.",
            headings,
            rows,
            "Call keras.distribution.set_distribution before you build the model.",
        )
    if len(counts) > 1:
        raise Failed(
            "LOADING_DISTRIBUTION_TOO_LATE",
            f"{len(found) - counts[most]} of the model's {len(found)} weights are on fewer devices than the others.",
            headings,
            rows,
            "Build the whole model under the distribution: a variable gets its layout when it is created.",
        )
