"""How a check of your own model fails: with an AssertionError whose text is the diagnostic."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from kit.checks.diagnosis import Diagnosis, Failed
from kit.errors import UserError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class CheckFailed(AssertionError):  # noqa: N818 -- it is a verdict, not an error
    """A model does not pass a check. Its text is the diagnostic: code, cause, evidence, remedy."""

    #: Where users import it from, and what a traceback shows.
    __module__ = "kit.checks"

    def __init__(self, diagnosis: Diagnosis) -> None:
        """Keep the diagnosis in the attribute ``diagnosis``."""
        # pytest puts the name of this class before the first line, and a margin before each.
        super().__init__(diagnosis.as_text(width=88))
        self.diagnosis = diagnosis


def raises_check_failed(check: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let a check raise CheckFailed from here, so that pytest shows no frame of the kit.

    The check raises UserError if Keras does not run on JAX.
    """

    @functools.wraps(check)
    def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        __tracebackhide__ = True
        import keras

        if keras.backend.backend() != "jax":
            raise UserError(
                f"Keras runs on {keras.backend.backend()}, but the checks need JAX: set KERAS_BACKEND=jax before you "
                "import Keras, or put `simulated_devices = 8` into pytest's ini file."
            )
        try:
            return check(*args, **kwargs)
        except Failed as failed:
            diagnosis = failed.diagnosis
        raise CheckFailed(diagnosis)

    return checked
