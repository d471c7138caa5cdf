"""What crosses from the process of a solution to the process that judges it: plain data, as JSON.

The process of a solution may send anything, so nothing that it sends is executed or trusted:
decoding makes numbers, text, bytes, arrays, containers and the kit's own dataclasses, whose fields
must be those of the class. No constructor is called.
"""

import base64
import dataclasses
import importlib
import json
import types
import typing
from typing import Any

from kit.checks.diagnosis import Diagnosis

#: Bytes of a message at most. The largest observation of the course has less than a tenth.
MESSAGE_LIMIT = 512_000_000

_SCALARS = (str, bool, int, float, type(None))


class NotPlainData(Exception):  # noqa: N818 -- what happened
    """A message is not what the process of a solution sends if nobody interferes."""


def encode(value: Any) -> bytes:
    """An observation, for which ``expect_plain`` holds, as a message."""
    return json.dumps(_tree(value)).encode()


def decode(message: bytes, hint: Any = Any) -> Any:
    """The observation of a message, which must have the type of an annotation.

    Raises NotPlainData if it is anything else.
    """
    try:
        value = _value(json.loads(message))
        expect_type(value, hint, "the observation")
    except NotPlainData:
        raise
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ImportError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise NotPlainData(f"{type(error).__name__}: {error}") from error
    return value


def _tree(value: Any) -> Any:
    """A value as JSON has it: what JSON does not distinguish is a pair of kind and content."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list:
        return [_tree(item) for item in value]
    if kind is tuple:
        return {"tuple": [_tree(item) for item in value]}
    if kind is dict:
        return {"dict": [[_tree(key), _tree(item)] for key, item in value.items()]}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if dataclasses.is_dataclass(value):
        fields = {field.name: _tree(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
    # A NumPy array or scalar. Types such as bfloat16 are "void" to NumPy, and have a name.
    dtype = value.dtype.name if value.dtype.kind == "V" else value.dtype.str
    array = {"dtype": dtype, "shape": list(value.shape), "data": base64.b64encode(value.tobytes()).decode()}
    return {"array" if kind.__name__ == "ndarray" else "scalar": array}


def _value(tree: Any) -> Any:
    if type(tree) in _SCALARS:
        return tree
    if type(tree) is list:
        return [_value(item) for item in tree]
    kind, content = next(iter(tree.items()))
    if kind == "class":
        return _instance(content, tree["fields"])
    if len(tree) != 1:
        raise NotPlainData(f"a {kind} with other entries")
    if kind == "tuple":
        return tuple(_value(item) for item in content)
    if kind == "dict":
        return {_value(key): _value(item) for key, item in content}
    if kind == "bytes":
        return base64.b64decode(content, validate=True)
    if kind in ("array", "scalar"):
        return _array(kind, content)
    raise NotPlainData(f"an entry of the unknown kind {kind!r}")


def _instance(name: str, fields: dict[str, Any]) -> Any:
    """An instance of a dataclass of the kit."""
    module, _, path = name.partition(":")
    # No module that does something when it is imported, as `__main__` does.
    if not module.startswith("kit.") or "__" in module:
        raise NotPlainData(f"an instance of {name}")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise NotPlainData(f"an instance of {name}")
    if fields.keys() != {field.name for field in dataclasses.fields(found)}:
        raise NotPlainData(f"{name} with other fields")
    made = object.__new__(found)
    for field, item in fields.items():
        object.__setattr__(made, field, _value(item))
    return made


def _array(kind: str, content: dict[str, Any]) -> Any:
    import numpy as np

    dtype = np.dtype(content["dtype"])
    if dtype.hasobject:
        raise NotPlainData("an array of objects")
    array = np.frombuffer(base64.b64decode(content["data"], validate=True), dtype).reshape(content["shape"])
    return array[()] if kind == "scalar" else array.copy()


def expect_type(value: Any, hint: Any, where: str) -> None:
    """Make sure that containers and dataclasses are those of an annotation.

    Numbers, text and type variables are not compared: a solution may return any of them. Raises
    NotPlainData, naming the first value that is another.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        failures = []
        for one in arguments:
            try:
                return expect_type(value, one, where)
            except NotPlainData as error:
                failures.append(str(error))
        raise NotPlainData(failures[-1])
    kind = origin or hint
    if not isinstance(kind, type) or kind in (*_SCALARS, bytes, object):
        return None
    if (kind in (list, tuple, dict) or dataclasses.is_dataclass(kind)) and type(value) is not kind:
        raise NotPlainData(f"{where} is a {type(value).__name__} and not a {kind.__name__}")
    if dataclasses.is_dataclass(kind):
        return _expect_fields(value, kind, arguments, where)
    if kind is list and arguments:
        for item in value:
            expect_type(item, arguments[0], f"an item of {where}")
    elif kind is dict and arguments:
        for key, item in value.items():
            expect_type(key, arguments[0], f"a key of {where}")
            expect_type(item, arguments[1], f"{where}[{key!r}]")
    elif kind is tuple and arguments:
        members = [arguments[0]] * len(value) if arguments[1:] == (...,) else list(arguments)
        if len(members) != len(value):
            raise NotPlainData(f"{where} has {len(value)} entries and not {len(members)}")
        for item, member in zip(value, members, strict=True):
            expect_type(item, member, f"an entry of {where}")
    return None


def _expect_fields(value: Any, kind: type, arguments: tuple[Any, ...], where: str) -> None:
    if kind is Diagnosis:
        _expect_diagnosis(value, where)
    hints = annotations_of(kind)
    variables = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    for field in dataclasses.fields(kind):
        hint = hints.get(field.name, Any)
        expect_type(getattr(value, field.name), variables.get(hint, hint), f"{where}.{field.name}")


def annotations_of(annotated: Any) -> dict[str, Any]:
    """The annotations of a class or function; none if one of them is imported for types only."""
    try:
        return typing.get_type_hints(annotated)
    except NameError:
        return {}


def _expect_diagnosis(value: Diagnosis, where: str) -> None:
    """All of a diagnosis is text, since it is shown."""
    cells = [value.code, value.cause, value.remedy, value.anchor, value.location, *value.headings, *value.mistakes]
    cells += [cell for row in value.rows for cell in row]
    if not all(type(cell) is str for cell in cells):
        raise NotPlainData(f"{where} is a diagnosis with other values than text")
