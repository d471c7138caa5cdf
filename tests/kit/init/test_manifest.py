"""What the manifest says of the functions of a stub."""

from kit.init.manifest import Manifest

PATH = "exercises/lora.py"
STUB = """import math


def first(a):
    # Task 1: this.
    raise NotImplementedError


def second():
    pass
"""


def test_functions_that_changed_are_named() -> None:
    before = Manifest.of({PATH: STUB})
    for text, changed in {
        STUB: [],
        STUB.replace("this", "that"): ["first"],
        STUB.replace("import math", "import os"): [],
        STUB.replace("second", "third"): ["second", "third"],
    }.items():
        assert before.changed_functions(Manifest.of({PATH: text}), PATH) == changed


def test_only_exercises_have_functions() -> None:
    assert Manifest.of({"conftest.py": STUB}).functions == {}
