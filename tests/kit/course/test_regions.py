"""Stubs are cut from the regions of the reference."""

import pytest
from exercise_folder import reference_source

from kit.course.catalogue import catalogue
from kit.course.regions import cut, find_regions


def test_cutting() -> None:
    source = (
        'def f(x):\n    """Doc."""\n    # region task 1\n    #: Say it.\n    y = x\n    # endregion\n    return y\n'
    )
    (region,) = find_regions(source)
    assert (region.task, region.text, region.start, region.stop) == (1, ("Say it.",), 4, 5)
    assert cut(source, "e") == (
        'def f(x):\n    """Doc."""\n    # Task 1: Say it.\n    raise NotImplementedError("e, task 1")\n    return y\n'
    )
    with pytest.raises(ValueError, match="line 1: a region ends"):
        find_regions("# endregion\n")
    with pytest.raises(ValueError, match="is not closed"):
        find_regions("# region task 1\n#: x\n")


@pytest.mark.parametrize("name", catalogue().names)
def test_stubs_are_cut_from_the_reference(name: str) -> None:
    assert catalogue().stub(name) == cut(reference_source(name), name), "run `kit dev build`"
