"""How much text the evidence of a run is measured on. Imports no framework."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from kit.errors import UserError
from kit.formatting import format_count

#: The value of ``--evidence`` that :func:`choose_evidence_size` decides.
AUTOMATIC = "auto"
#: Parameters for each CPU core up to which the full evidence takes a few minutes at most.
PARAMETERS_PER_CORE = 20_000_000


@dataclass(frozen=True)
class EvidenceSize:
    """How many prompts are completed, and how many held-out texts are scored."""

    name: str
    prompts: int
    #: Texts of each style.
    texts: int
    #: Steps of the unsharded twin; 0: none.
    twin_steps: int
    #: Held-out reviews that are scored along the training; 0: none.
    texts_along: int

    def of_prompts(self, prompts: Sequence[str]) -> list[str]:
        """As many of the prompts, with the first among them, in equal distances."""
        return list(prompts[:: max(1, len(prompts) // self.prompts)])[: self.prompts]


FULL = EvidenceSize("full", 20, 128, twin_steps=5, texts_along=16)
QUICK = EvidenceSize("quick", 8, 24, twin_steps=0, texts_along=0)
EVIDENCE_SIZES = {size.name: size for size in (QUICK, FULL)}


def check_evidence(name: str) -> None:
    """Refuse a value of ``--evidence`` that does not exist: raises UserError."""
    if name != AUTOMATIC and name not in EVIDENCE_SIZES:
        raise UserError(f"--evidence {name}: choose one of {AUTOMATIC}, {', '.join(EVIDENCE_SIZES)}.")


def choose_evidence_size(name: str, parameters: int, simulated: bool) -> EvidenceSize:
    """The size of that name, or the one that suits the model and the machine.

    ``parameters`` are those of the backbone. With ``simulated`` devices a model that is large for
    the CPU cores gets the quick evidence.
    """
    if name != AUTOMATIC:
        return EVIDENCE_SIZES[name]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return QUICK if simulated and parameters > PARAMETERS_PER_CORE * cores else FULL


def describe_choice(size: EvidenceSize, name: str, parameters: int) -> str:
    """A sentence about a size that was chosen automatically and is not the full one; else empty."""
    if name != AUTOMATIC or size == FULL:
        return ""
    return (
        f"{format_count(parameters)} parameters are many for this CPU: the style is measured with {size.prompts} "
        f"prompts and {size.texts} held-out texts of each style; `--evidence full` takes {FULL.prompts} and "
        f"{FULL.texts}"
    )
