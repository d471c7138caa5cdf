"""Frozen dataclasses written as JSON, and read back with every type checked. Imports no framework.

A field with another name in JSON has it as its metadata "key".
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from kit.errors import UserError

Record = TypeVar("Record")

_JSON_TYPES: dict[Any, tuple[Any, str]] = {
    str: (str, "a text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    dict: (dict, "an object"),
    list: (list, "a list"),
}


def as_json(value: Any) -> Any:
    """A value of dataclasses, dicts, tuples and plain types as ``json.dumps`` takes it.

    A field with the default None is left out if it is None.
    """
    if is_dataclass(value):
        items = ((each, getattr(value, each.name)) for each in fields(value))
        return {_key(each): as_json(item) for each, item in items if not (item is None and each.default is None)}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def from_json(kind: type[Record], content: Any) -> Record:
    """The value of type ``kind`` that ``content`` holds, without keys that the type does not have.

    Raises KeyError for a key that is missing, and ValueError for a value of another type.
    """
    return cast(Record, _read(kind, content))


def read_record(kind: type[Record], file: Path) -> Record:
    """What a JSON file holds. Raises UserError if it is missing, unreadable or damaged."""
    with faults_in_one_sentence(file):
        return from_json(kind, json.loads(file.read_text(encoding="utf-8")))


@contextlib.contextmanager
def faults_in_one_sentence(file: Path) -> Iterator[None]:
    """Turn whatever goes wrong while ``file`` is read into a UserError of one sentence."""
    try:
        yield
        return
    except FileNotFoundError:
        raise UserError(f"{file}: it is missing; restore it, or start a new run with the same options.") from None
    except OSError as error:
        raise UserError(f"{file}: it cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno} is not JSON: {error.msg}"
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except KeyError as error:
        reason = f'it has no "{error.args[0]}"'
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{file}: it is damaged ({reason}); restore it, or start a new run with the same options.")


def _read(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _read_union(arguments, value)
    if origin is tuple:
        items = _checked(list, value)
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        return _read_row(kinds, items, f"a list of {len(kinds)} entries")
    if origin is dict:
        return {key: _read(arguments[1], item) for key, item in _checked(dict, value).items()}
    if is_dataclass(kind):
        return _read_object(kind, _checked(dict, value))
    if hasattr(kind, "_fields"):  # a NamedTuple
        return kind(*_read_row(_hints(kind).values(), _checked(list, value), f"a list of {', '.join(kind._fields)}"))
    if kind is datetime:
        return datetime.fromisoformat(_checked(str, value))
    return float(_checked(float, value)) if kind is float else _checked(kind, value)


def _read_object(kind: Any, content: dict[str, Any]) -> Any:
    hints = _hints(kind)
    found = {}
    for each in fields(kind):
        if _key(each) in content:
            found[each.name] = _read(hints[each.name], content[_key(each)])
        elif each.default is MISSING:
            raise KeyError(_key(each))
    return kind(**found)


def _read_union(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    return _read(str if str in others and isinstance(value, str) else others[-1], value)


def _read_row(kinds: Any, items: list[Any], expected: str) -> tuple[Any, ...]:
    if len(items) != len(kinds):
        raise ValueError(f"{_shown(items)} where {expected} should be")
    return tuple(_read(kind, item) for kind, item in zip(kinds, items, strict=True))


def _checked(kind: Any, value: Any) -> Any:
    types, name = _JSON_TYPES[kind]
    # JSON's true is an int in Python.
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{_shown(value)} where {name} should be")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def _key(each: Any) -> str:
    return str(each.metadata.get("key", each.name))


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
