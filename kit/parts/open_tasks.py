"""Tasks that are still open in a module, found by reading its source: nothing is imported or run.

A task is open where the module has ``raise NotImplementedError("<exercise>, task N")``, as each
stub does.
"""

import ast
from typing import Any, TypeGuard


def parse(source: str | bytes) -> ast.Module:
    """The syntax tree of a module; bytes may have a byte-order mark or name their encoding.

    Raises SyntaxError if the source is not Python. An expression that is too deep for Python's
    compiler gives an empty tree: importing it reports what is wrong.
    """
    try:
        return ast.parse(source)
    except (RecursionError, MemoryError):
        return ast.Module([], [])
    except (ValueError, LookupError) as error:  # a null byte, or an encoding that decodes no text
        raise SyntaxError(str(error)) from None


def functions_in(source: str | bytes) -> dict[str, ast.FunctionDef]:
    """The functions at the top of a module, by name; see :func:`parse`."""
    return {node.name: node for node in parse(source).body if isinstance(node, ast.FunctionDef)}


def untouched_functions(source: str | bytes, stub: str) -> dict[str, int]:
    """The functions that are unchanged from the stub, each with the line of its first task.

    Whether any other function is implemented can only be known by running it: a name may come from
    anywhere. Raises SyntaxError if the source is not Python.
    """
    here = functions_in(source)
    found = {}
    for name, function in functions_in(stub).items():
        raises = [node.lineno for node in ast.walk(here.get(name, function)) if isinstance(node, ast.Raise)]
        is_gap = any(isinstance(node, ast.Raise) and "task " in ast.unparse(node) for node in ast.walk(function))
        if is_gap and name in here and _is_same(here[name], function):
            found[name] = min(raises)
    return found


def open_functions(source: str | bytes, exercise: str) -> dict[str, int]:
    """The functions with an open task, or that use such a function, each with the task's line.

    Raises SyntaxError if the source is not Python.
    """
    functions = functions_in(source)
    is_open = {
        name: min(node.lineno for node in ast.walk(function) if _is_open_task(node, exercise))
        for name, function in functions.items()
        if any(_is_open_task(node, exercise) for node in ast.walk(function))
    }
    found: dict[str, int] = {}
    while found != is_open:
        found = dict(is_open)
        for name, function in functions.items():
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} & found.keys()
            if used and name not in is_open:
                is_open[name] = min(found[other] for other in used)
    return is_open


def _is_same(first: Any, second: Any) -> bool:
    """Whether two syntax trees are equal, however deep they are."""
    pairs = [(first, second)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, ast.AST):
            pairs += [(getattr(one, name, None), getattr(other, name, None)) for name in one._fields]
        elif isinstance(one, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def _is_open_task(node: ast.AST, exercise: str) -> TypeGuard[ast.Raise]:
    if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
        return False
    called, text = node.exc.func, node.exc.args[0]
    return (
        isinstance(called, ast.Name)
        and called.id == "NotImplementedError"
        and isinstance(text, ast.Constant)
        and str(text.value).startswith(f"{exercise}, task ")
    )
