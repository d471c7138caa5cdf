"""A lock as TOML, to read in a review. Imports no framework."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.formatting import format_bytes
from kit.lock.content import Collectives, Compiled, Lock, LockedRule, Source, Variables

FORMAT = 1
_HEAD = """\
# What the layout map does to the model. Written by `kit lock`; `kit lock --check` compares.
# Sizes are bytes. An empty string in a spec is a dimension that is not split.
"""


def write_lock(lock: Lock) -> str:
    """The text of the file: the same for the same lock."""
    lines = [_HEAD + f"format = {FORMAT}"]
    lines += _table("source", {name: value for name, value in vars(lock.source).items() if value})
    lines += _table("versions", lock.versions)
    lines += _table("mesh", {"axes": [*lock.axes], "shape": [*lock.axes.values()], "batch_axis": lock.batch_axis})
    lines += _table("model", {"parameters": lock.parameters, "trainable": lock.trainable})
    lines += _table("per_device", {"weights_and_optimizer": _Bytes(lock.state_nbytes_per_device)})
    for number, rule in enumerate(lock.rules, 1):
        lines += ["", f"[[rule]]  # {number}"]
        content: dict[str, Any] = {"pattern": rule.pattern, "spec": [axis or "" for axis in rule.spec]}
        content |= {"outputs": [*rule.outputs]} if rule.outputs else {}
        lines += _entries(content | {"matches": rule.matches, "bytes": _Bytes(rule.nbytes)})
        lines += _rows("variables", map(_variables, rule.variables))
    lines += ["", "[no_rule]  # replicated on each device"]
    lines += _rows("variables", map(_variables, lock.unmatched))
    for compiled in lock.compiled:
        lines += ["", "[[compiled]]"]
        content = {"topology": compiled.topology, "fits": compiled.fits, "peak": _Bytes(compiled.peak)}
        content |= {"arguments": _Bytes(compiled.arguments), "usable": _Bytes(compiled.usable)}
        lines += _entries(content)
        if compiled.collectives is not None:
            lines += _rows("collectives", map(_collectives, compiled.collectives))
    return "\n".join(lines) + "\n"


class _Bytes(int):
    """A size, with a comment that people can read."""


def _table(name: str, content: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *_entries(content)]


def _entries(content: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}{_comment(value)}" for key, value in content.items()]


def _comment(value: Any) -> str:
    return f"  # {format_bytes(value)}" if isinstance(value, _Bytes) and value >= 1000 else ""


def _value(value: Any) -> str:
    # Texts, numbers, booleans and lists of them look the same in JSON; but not the character 127.
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str) and "\\" in value and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _rows(name: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A list with a line for each of its inline tables."""
    lines = [f"  {{ {', '.join(f'{key} = {_value(value)}' for key, value in row.items())} }}," for row in rows]
    return [f"{name} = [", *lines, "]"] if lines else [f"{name} = []"]


def _variables(row: Variables) -> dict[str, Any]:
    found = {"path": row.path, "count": row.count, "shape": row.shape, "dtype": row.dtype}
    return found | {"per_device": row.nbytes_per_device, "with_optimizer": row.state_nbytes_per_device}


def _collectives(row: Collectives) -> dict[str, Any]:
    return {"layer": row.layer, "kind": row.kind, "count": row.count, "bytes": row.nbytes}


def read_lock(file: Path) -> Lock:
    """Read a lock. Raises UserError if there is none, or if it is none that this kit writes."""
    again = "write it again with `kit lock FILE.py:FUNCTION`"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no lock here; {again.replace('again ', '')}.") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: this is not TOML ({error}); {again}.") from None
    if content.get("format") != FORMAT:
        raise UserError(f"{file}: its format is {content.get('format')}, and this kit reads {FORMAT}; {again}.")
    try:
        return _lock(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: {type(error).__name__} {error} in it; {again}.") from None


def _lock(content: Mapping[str, Any]) -> Lock:
    mesh = content["mesh"]
    return Lock(
        source=Source(**content["source"]),
        versions=dict(content["versions"]),
        axes=dict(zip(mesh["axes"], map(int, mesh["shape"]), strict=True)),
        batch_axis=mesh["batch_axis"],
        parameters=int(content["model"]["parameters"]),
        trainable=int(content["model"]["trainable"]),
        rules=tuple(map(_read_rule, content.get("rule", ()))),
        unmatched=tuple(map(_read_variables, content["no_rule"]["variables"])),
        compiled=tuple(map(_read_compiled, content.get("compiled", ()))),
    )


def _read_rule(entry: Mapping[str, Any]) -> LockedRule:
    spec = tuple(axis or None for axis in entry["spec"])
    rows = tuple(map(_read_variables, entry["variables"]))
    return LockedRule(entry["pattern"], spec, int(entry["bytes"]), rows, tuple(entry.get("outputs", ())))


def _read_variables(row: Mapping[str, Any]) -> Variables:
    numbers = (int(row["count"]), int(row["per_device"]), int(row["with_optimizer"]))
    return Variables(row["path"], tuple(map(int, row["shape"])), row["dtype"], *numbers)


def _read_compiled(entry: Mapping[str, Any]) -> Compiled:
    rows = entry.get("collectives")
    made = (
        None
        if rows is None
        else tuple(Collectives(row["layer"], row["kind"], int(row["count"]), int(row["bytes"])) for row in rows)
    )
    numbers = (int(entry["peak"]), int(entry["arguments"]), int(entry["usable"]))
    return Compiled(entry["topology"], bool(entry["fits"]), *numbers, made)
