"""What `kit doctor` reports."""

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """The result of one check of the machine."""

    subject: str
    #: "good"; "missing", which `kit run` does not need; or "broken", which it needs.
    state: State
    #: What the machine has.
    found: str
    #: What to do, if anything.
    remedy: str = ""
