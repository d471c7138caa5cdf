"""Loading slice by slice: the values and shardings that Keras' own loading gives."""

from typing import Any

import chex
import keras
import numpy as np
import pytest

from kit.course.shared import small_models as small
from kit.models.presets import BUNDLED_FOLDER
from kit.models.sharded_loading import load_slice_by_slice
from kit.parts.implementation import find_parts


def test_the_same_values_in_the_same_places(mesh_2x4: Any) -> None:
    parts = find_parts("reference")
    layout_map = parts.layout.gemma_layout_map(mesh_2x4)
    plain = parts.loading.load_distributed(str(BUNDLED_FOLDER), layout_map, dtype="bfloat16")
    with load_slice_by_slice() as report:
        sliced = parts.loading.load_distributed(str(BUNDLED_FOLDER), layout_map, dtype="bfloat16")
    assert len(sliced.variables) == len(plain.variables) >= 30
    one, other = ({variable.path: variable.value for variable in each.variables} for each in (sliced, plain))
    chex.assert_trees_all_equal_comparator(
        lambda mine, right: mine.sharding.is_equivalent_to(right.sharding, mine.ndim),
        lambda mine, right: f"{mine.sharding} is not {right.sharding}",
        one,
        other,
    )
    # With their dtypes.
    chex.assert_trees_all_equal(one, other, strict=True)
    assert set(report.peak_nbytes) == {f"cpu:{number}" for number in range(8)}
    # Keras is unchanged afterwards.
    variable = keras.Variable(np.ones(3), name="after")
    variable.assign([1.0, 2.0, 3.0])
    assert variable.value.tolist() == [1.0, 2.0, 3.0]


def test_weights_that_do_not_fit() -> None:
    small.set_distribution(1, 8)
    with load_slice_by_slice():
        variable = keras.Variable(shape=(8, 2), initializer="zeros", name="mine")
        with pytest.raises(ValueError, match=r"variable\.shape=\(8, 2\), Received: value\.shape=\(2, 8\)"):
            variable.assign(np.ones((2, 8)))
    # It got no value, and has its initial value.
    assert variable.value.tolist() == np.zeros((8, 2)).tolist()
