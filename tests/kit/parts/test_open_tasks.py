"""Open tasks are found by reading the source."""

import codecs

import pytest

from kit.course.catalogue import catalogue
from kit.parts.open_tasks import functions_in, open_functions, untouched_functions


def test_only_functions_as_in_the_stub_are_untouched() -> None:
    stub = catalogue().stub("lora")
    functions = {function.name for function in catalogue().find("lora").functions}
    assert untouched_functions(stub, stub).keys() == functions
    commented = stub.replace("def enable_lora", "# mine\ndef enable_lora")
    assert untouched_functions(commented, stub).keys() == functions
    changed = stub.replace('    raise NotImplementedError("lora, task 1")', "    pass")
    assert untouched_functions(changed, stub).keys() == functions - {"enable_lora"}
    # A name may come from another module.
    assert "enable_lora" not in untouched_functions("from elsewhere import enable_lora\n", stub)


def test_a_function_that_uses_an_open_function_is_open() -> None:
    stub = (
        'def f(x):\n    """Doc."""\n    # Task 1: Say it.\n    raise NotImplementedError("e, task 1")\n    return y\n'
    )
    assert open_functions(stub + "\n\ndef g():\n    return f(1)\n", "e") == {"f": 4, "g": 4}


@pytest.mark.parametrize(
    "source",
    [codecs.BOM_UTF8 + b"x = 1\r\n", b"# coding: latin-1\nx = '\xe9'\n", f"x = 1{'+1' * 20_000}\n".encode()],
    ids=["byte-order mark and CRLF", "coding", "deep"],
)
def test_what_is_python_or_too_deep_to_be_read(source: bytes) -> None:
    assert functions_in(source + b"def f(): pass\n").keys() <= {"f"}


@pytest.mark.parametrize(
    "source", [b"x = 1\0\n", b"# coding: no-such\n", b"x = '\xe9'\n", b"# coding: zlib_codec\nx\n"]
)
def test_what_is_not_python(source: bytes) -> None:
    with pytest.raises(SyntaxError):
        functions_in(source)


def test_a_deep_expression_is_compared() -> None:
    stub = catalogue().stub("lora")
    deep = stub.replace('    raise NotImplementedError("lora, task 1")', f"    return {'+'.join(['1'] * 900)}")
    assert "enable_lora" not in untouched_functions(deep, stub)
