"""What standard output and standard error are: a terminal, a cell of a notebook, or a pipe.

Apart from ``kit.cli.console``, so that commands which only print need not import rich.
"""

import os
from typing import IO

#: Variables that a kernel of Jupyter, Colab or Kaggle sets, which ignores a terminal's sequences.
NOTEBOOKS = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")


def can_redraw(file: IO[str]) -> bool:
    """Whether a line that was printed there can be redrawn.

    Not in a pipe and a notebook, and not with NO_COLOR or TERM=dumb, which ask for plain lines.
    """
    return file.isatty() and not (wants_plain_lines() or _in_notebook())


def can_replace(file: IO[str]) -> bool:
    """Whether a carriage return lets the next line replace the last: in a cell of a notebook."""
    return file.isatty() and _in_notebook() and not wants_plain_lines()


def wants_plain_lines() -> bool:
    """Whether the user asks for text without colours and redrawn lines."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")


def _in_notebook() -> bool:
    # What ipykernel sets, also in Visual Studio Code.
    sets_pager = os.environ.get("PAGER") == "cat" and os.environ.get("CLICOLOR_FORCE")
    return bool(sets_pager) or any(map(os.environ.get, NOTEBOOKS))
