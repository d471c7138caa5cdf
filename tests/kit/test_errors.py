"""Unknown names are answered with those that were probably meant."""

from kit.errors import similar_names, unknown_name

NAMES = ("mesh", "layout", "loading", "generation")


def test_similar_names() -> None:
    assert similar_names("mehs", NAMES) == ["mesh"]
    assert similar_names("GEN", NAMES) == ["generation"]
    assert similar_names("lo", NAMES) == ["loading"]
    assert similar_names("zzz", NAMES) == []
    assert similar_names("", NAMES) == []


def test_an_unknown_name_is_one_error() -> None:
    assert str(unknown_name("exercise", "mehs", NAMES)) == (
        "There is no exercise 'mehs': did you mean mesh? Choose one of mesh, layout, loading, generation."
    )
    assert str(unknown_name("layer", "zzz", ("spec",))) == "There is no layer 'zzz': choose one of spec."
