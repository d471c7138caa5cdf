"""What the model wrote before and after: ``generations.json``. Imports no framework."""

import json
from dataclasses import dataclass
from pathlib import Path

from kit.evidence.style_verdict import STYLES, StyleVerdict
from kit.run.json_records import faults_in_one_sentence, from_json

GENERATIONS_FILE = "generations.json"


@dataclass(frozen=True, kw_only=True)
class JudgedCompletion(StyleVerdict):
    """A completion and the style classifier's verdict on what follows its prompt."""

    #: With the prompt.
    text: str


@dataclass(frozen=True)
class Generations:
    """The prompts, and the completion of each before and after."""

    prompts: tuple[str, ...]
    before: tuple[JudgedCompletion, ...]
    after: tuple[JudgedCompletion, ...]


def read_generations(folder: Path) -> Generations:
    """Read ``generations.json``. Raises UserError if it is missing or damaged."""
    file = folder / GENERATIONS_FILE
    with faults_in_one_sentence(file):
        found = from_json(Generations, json.loads(file.read_text(encoding="utf-8")))
        numbers = len(found.prompts), len(found.before), len(found.after)
        if len(set(numbers)) > 1:
            raise ValueError("{} prompts, {} completions before and {} after".format(*numbers))
        for each in (*found.before, *found.after):
            if each.style not in STYLES:
                raise ValueError(f'a style is "{each.style}"')
    return found
