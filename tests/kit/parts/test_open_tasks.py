"""Open tasks are found by reading the source."""

from kit.course.catalogue import catalogue
from kit.parts.open_tasks import open_functions, untouched_functions


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
