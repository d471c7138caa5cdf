"""The share of a batch that a process feeds."""

from typing import Any

import jax

from kit.run.multi_process import local_batches, local_rows


def test_one_process_feeds_all(mesh_2x4: Any) -> None:
    assert local_rows(mesh_2x4, 6) == [0, 1, 2, 3, 4, 5]
    assert local_batches([["a", "b"], ["c", "d"]], mesh_2x4) == [["a", "b"], ["c", "d"]]
    assert jax.process_count() == 1
