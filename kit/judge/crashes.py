"""An error in a solution as a diagnosis shows it: the call, the line, the message, the remedy.

Imports no framework: arrays, variables and models are recognised by their attributes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.formatting import without_escapes

#: Longest value and longest message that are shown.
_VALUE, _MESSAGE = 60, 200
#: Keras' first line names the layer; the error is in the next one.
_KERAS_PREFIX = re.compile(r"Exception encountered when calling .*|.*<class '.*'> could not be .*:$")

#: Errors that have one cause: a pattern of "Class: message" -> what to do.
FORESEEN: dict[str, str] = {
    r"TypeError: Gradient only defined for scalar-output functions. Output was:? \(": "The function that you "
    "differentiate returns a tuple: pass has_aux=True, so that only its first value is differentiated.",
    r"ValueError: (too many|not enough) values to unpack|TypeError: cannot unpack": "Look at how many values the call "
    "on this line returns, and unpack them all.",
    r"AttributeError: 'tuple' object has no attribute": "This value is a tuple: unpack it first, as in "
    "`first, second = …`.",
    r"TypeError: '?list'? object is not hashable|TypeError: unhashable type: 'list'": "Pass a tuple in the place of "
    "the list.",
    r"(TypeError|ValueError): .*(<Variable path=|<class '.*Variable'>|KerasVariable)": "Pass the variable's array: "
    "`variable.value`.",
    r"ModuleNotFoundError: tensorflow(_text)? is blocked": "Use grain.MapDataset.source instead of tf.data, and NumPy "
    "arrays instead of tensors: TensorFlow takes seconds to import and occupies the TPU, so the kit blocks it.",
    r"AttributeError: 'SingleDeviceSharding' object has no attribute '(spec|mesh)'": "An array on one device has no "
    "spec and no mesh: treat it as replicated.",
}


def remedy_for(error: BaseException, foreseen: Mapping[str, str]) -> str:
    """The remedy of a foreseen error, or an empty text. The exercise's own patterns go first."""
    text = f"{type(error).__name__}: {without_escapes(_message(error))}"
    for pattern, remedy in (*foreseen.items(), *FORESEEN.items()):
        if re.match(pattern, text):
            return remedy
    return ""


def described(error: BaseException) -> str:
    """Class and first line of an error's message, without the full stop at its end."""
    lines = [line.strip() for line in without_escapes(_message(error)).splitlines() if line.strip()]
    if len(lines) > 1 and _KERAS_PREFIX.fullmatch(lines[0]):
        lines = lines[1:]
    text = lines[0].rstrip(".") if lines else ""
    if text.endswith(":") and len(lines) > 1:
        text = f"{text} {lines[1].rstrip('.')}"
    if len(text) > _MESSAGE:
        text = text[:_MESSAGE].rpartition(" ")[0] + " …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a solution's own class may have a wrong `__str__`
        return ""


def shown_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call as a person would write it: ``complete(GemmaCausalLM, 'I saw', max_length=9)``."""
    values = [*map(shown_value, args), *(f"{key}={shown_value(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(values)})"


def shown_value(value: Any) -> str:
    """A value by its shape and dtype, its class, or, if it is short, as Python writes it."""
    try:
        return _shown(value, depth=0)
    except Exception:  # a user's object may not even have a repr
        return f"<{type(value).__name__}>"


def _shown(value: Any, depth: int) -> str:
    if value is None or isinstance(value, bool | int | float | str | bytes | Path):
        text = repr(value)
        return text if len(text) <= _VALUE else f"{text[: _VALUE - 2]}…{text[-1]}"
    if isinstance(value, type):
        return value.__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        path = getattr(value, "path", "")
        of = f"{getattr(dtype, 'name', dtype)}{list(shape)}"
        return f"variable {path} {of}" if path else of
    if isinstance(value, Mapping):
        if depth or len(value) > 4:
            return f"<dictionary of {len(value)}>"
        return "{" + ", ".join(f"{key!r}: {_shown(item, depth + 1)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return _shown_items(value, depth)
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    if hasattr(value, "trainable_variables"):
        return f"<{type(value).__name__}>"
    text = repr(value)
    # The default repr has an address, and that of an array or a model has many lines.
    plain = len(text) <= _VALUE and " at 0x" not in text and "\n" not in text
    return text if plain else f"<{type(value).__name__}>"


def _shown_items(items: Sequence[Any], depth: int) -> str:
    opened, closed = ("[", "]") if isinstance(items, list) else ("(", ",)" if len(items) == 1 else ")")
    texts = [_shown(item, depth + 1) for item in items[:4]]
    whole = opened + ", ".join(texts) + closed
    if len(items) <= 4 and len(whole) <= _VALUE:
        return whole
    kind = "list" if isinstance(items, list) else "tuple"
    kinds = {type(item).__name__ for item in items}
    of = f" {kinds.pop()}" if len(kinds) == 1 else " values"
    return f"<{kind} of {len(items)}{of}>"
