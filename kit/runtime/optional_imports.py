"""Keras without pandas, scikit-learn and matplotlib, until someone uses them.

Keras imports these libraries only because they are installed, to recognise a DataFrame and for
functions that few programs call. They take half of the time of ``import keras``. A program can
still import and use all of them, with Keras or without.
"""

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace

#: What prepares a module: it receives the module, and the function that executes it.
Prepare = Callable[[ModuleType, Callable[[ModuleType], None]], None]

#: Public names of functions that need scikit-learn or matplotlib.
_EXECUTED_ON_USE = (
    "keras.wrappers",
    "keras.visualization",
    "keras._tf_keras.keras.wrappers",
    "keras._tf_keras.keras.visualization",
    "keras.src.visualization",
)


class PreparedModules(importlib.abc.MetaPathFinder):
    """Finds modules as the other finders do, and prepares some of them when they are imported."""

    def __init__(self, prepare: Mapping[str, Prepare]) -> None:
        """Prepare the modules of these names."""
        self._prepare = prepare

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module to prepare; None for all others."""
        if name not in self._prepare:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            prepare, execute = self._prepare[name], spec.loader.exec_module
            # This import's own loader.
            spec.loader.exec_module = lambda module: prepare(module, execute)  # type: ignore[method-assign]
        return spec


class _AbsentModules(importlib.abc.MetaPathFinder):
    """Makes the import of some modules fail in this thread, as if they were not installed."""

    def __init__(self) -> None:
        self._absent = threading.local()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == getattr(self._absent, "name", None):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def execute_without(self, absent: str, module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
        """Execute a module that does not need this library."""
        sys.meta_path.insert(0, self)
        self._absent.name = absent
        try:
            execute(module)
        finally:
            self._absent.name = None
            sys.meta_path.remove(self)


def keep_optional_libraries_out() -> None:
    """Let a later ``import keras`` import no pandas, scikit-learn, matplotlib and IPython.

    Does nothing if Keras has been imported.
    """
    if "keras" not in sys.modules and _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _slicing_without_pandas(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    """Execute the module of Keras' data adapters that recognises Series and DataFrames."""
    _AbsentModules().execute_without("pandas", module, execute)
    names = vars(module)
    if names["pandas"] is None:
        series, frame = _class_of_pandas("Series"), _class_of_pandas("DataFrame")
        names["pandas"] = SimpleNamespace(Series=series, DataFrame=frame)
        names["ARRAY_TYPES"] = (*names["ARRAY_TYPES"], series, frame)


def _class_of_pandas(name: str) -> type:
    """A class whose instances are those of a class of pandas, which need not be imported yet."""

    def is_instance(cls: type, value: object) -> bool:
        pandas = sys.modules.get("pandas")
        # Another thread may be importing pandas.
        return isinstance(value, getattr(pandas, name, ()))

    return type("Late", (type,), {"__instancecheck__": is_instance})(name, (), {})


def _without_ipython(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    """Execute a module that uses IPython only in a notebook, which has imported IPython."""
    _AbsentModules().execute_without("IPython", module, execute)


def _execute_on_use(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    """Leave a module empty until one of its names is used."""
    lock, state = threading.RLock(), SimpleNamespace(executing=False)

    def fill() -> None:
        with lock:  # another thread waits; this one may ask again while it executes the module
            if "__getattr__" not in module.__dict__ or state.executing:
                return
            state.executing = True
            try:
                execute(module)
                del module.__getattr__, module.__dir__
            finally:
                state.executing = False

    def find(name: str) -> object:
        # Python and tools ask any module for such names; `from module import *` for this one.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        fill()
        try:
            return module.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}") from None

    def names() -> list[str]:
        fill()
        return sorted(module.__dict__)

    module.__getattr__ = find  # type: ignore[method-assign]
    module.__dir__ = names  # type: ignore[method-assign]


_FINDER = PreparedModules(
    {
        "keras.src.trainers.data_adapters.array_slicing": _slicing_without_pandas,
        "keras.src.saving.file_editor": _without_ipython,
        "kagglehub.env": _without_ipython,
        **dict.fromkeys(_EXECUTED_ON_USE, _execute_on_use),
    }
)
