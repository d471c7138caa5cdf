"""What a model wrote before and after training, as a report shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from kit.evidence.style_verdict import StyleVerdict
from kit.run.generations import Generations
from kit.run.result import RunResult


@dataclass(frozen=True)
class JudgedText:
    """What follows a prompt, and the style classifier's verdict on it."""

    continuation: str
    verdict: StyleVerdict


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt, and what the model wrote to it."""

    prompt: str
    before: JudgedText
    after: JudgedText


@dataclass(frozen=True)
class FoldedCompletions:
    """Prompts, with their numbers from 1, to which the model wrote the same before and after."""

    prompts: tuple[tuple[int, str], ...]
    #: The longest completions.
    before: JudgedText
    after: JudgedText
    #: Whether other completions end earlier.
    cut: bool


def judged_prompts(generations: Generations) -> list[JudgedPrompt]:
    """The prompts with what follows each, before and after."""
    rows = zip(generations.prompts, generations.before, generations.after, strict=True)
    return [
        JudgedPrompt(prompt, *(JudgedText(each.text[len(prompt) :], each) for each in (before, after)))
        for prompt, before, after in rows
    ]


def folded(prompts: Sequence[JudgedPrompt]) -> list[FoldedCompletions]:
    """The prompts by what the model wrote to them, in the order of the first of each.

    A completion counts as the same as a longer one with the same verdict that begins with it: both
    have as many tokens as fit after their prompts.
    """
    groups: list[list[int]] = []
    for number, row in enumerate(prompts):
        for numbers in groups:
            if all(_are_same(row, prompts[other]) for other in numbers):
                numbers.append(number)
                break
        else:
            groups.append([number])
    return [_folded([(number + 1, prompts[number]) for number in numbers]) for numbers in groups]


def _folded(rows: Sequence[tuple[int, JudgedPrompt]]) -> FoldedCompletions:
    befores, afters = [row.before for _, row in rows], [row.after for _, row in rows]

    def longest(texts: Sequence[JudgedText]) -> JudgedText:
        return max(texts, key=lambda text: len(text.continuation))

    return FoldedCompletions(
        tuple((number, row.prompt) for number, row in rows),
        longest(befores),
        longest(afters),
        any(len({text.continuation for text in texts}) > 1 for texts in (befores, afters)),
    )


def _are_same(one: JudgedPrompt, other: JudgedPrompt) -> bool:
    for mine, theirs in ((one.before, other.before), (one.after, other.after)):
        short, long = sorted((mine.continuation, theirs.continuation), key=len)
        # Nothing is the beginning of everything.
        begins = long.startswith(short) and bool(short.strip())
        if not (short == long or begins) or mine.verdict.word != theirs.verdict.word:
            return False
    return True


def own_completions(result: RunResult) -> tuple[str, str]:
    """What follows the run's own prompt, before and after."""
    own = result.generations
    return own.before[len(own.prompt) :], own.after[len(own.prompt) :]
