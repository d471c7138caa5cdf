"""Tasks that are still open in a module, found by reading its source: nothing is imported or run.

A task is open where the module has ``raise NotImplementedError("<exercise>, task N")``, as each
stub does.
"""

import ast
from typing import TypeGuard


def functions_in(source: str) -> dict[str, ast.FunctionDef]:
    """The functions at the top of a module, by name.

    Raises SyntaxError if the source is not Python.
    """
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def untouched_functions(source: str, stub: str) -> dict[str, int]:
    """The functions that are unchanged from the stub, each with the line of its first task.

    Whether any other function is implemented can only be known by running it: a name may come from
    anywhere. Raises SyntaxError if the source is not Python.
    """
    here = functions_in(source)
    found = {}
    for name, function in functions_in(stub).items():
        raises = [node.lineno for node in ast.walk(here.get(name, function)) if isinstance(node, ast.Raise)]
        is_gap = any(isinstance(node, ast.Raise) and "task " in ast.unparse(node) for node in ast.walk(function))
        if is_gap and name in here and ast.dump(here[name]) == ast.dump(function):
            found[name] = min(raises)
    return found


def open_functions(source: str, exercise: str) -> dict[str, int]:
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


def _is_open_task(node: ast.AST, exercise: str) -> TypeGuard[ast.Raise]:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc).startswith(f"NotImplementedError('{exercise}, task ")
    )
