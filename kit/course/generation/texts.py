"""Why a completion is wrong: what was done to the most probable text instead."""

from collections.abc import Callable
from dataclasses import dataclass

from kit.checks.diagnosis import Failed

#: The cause where nothing else is known than that the text is another one.
OTHER_TEXT = "This is not the most probable continuation."


@dataclass(frozen=True)
class Expectation:
    """What a completion is compared with."""

    prompt: str
    max_length: int
    #: The most probable text that begins with a prompt, of this number of tokens.
    greedy: Callable[[str, int], str]
    #: Number of tokens of a text, including the start token.
    length: Callable[[str], int]
    #: Special tokens as text, such as "<bos>".
    special: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text that is right."""
        return self.greedy(self.prompt, self.max_length)


def wrong_text(found: str, wanted: Expectation) -> Failed | None:
    """The diagnosis of a wrong completion, or None if it is right.

    The cause is :data:`OTHER_TEXT` if the text begins with the prompt and continues in another way.
    """
    expected, prompt = wanted.text, wanted.prompt
    assert expected.startswith(prompt)
    assert len(expected) > len(prompt), "the oracle generated nothing"
    if found == expected:
        return None
    code, cause, remedy = (
        _wrong_prompt(found, wanted)
        or _wrong_characters(found, wanted)
        or _wrong_length(found, wanted)
        or ("NOT_AS_EXPECTED", OTHER_TEXT, "")
    )
    rows = [("expected", expected, wanted.max_length), ("yours", found, wanted.length(found))]
    return Failed(code, cause, ("", "text", "tokens, including the start token"), rows, remedy)


_Fault = tuple[str, str, str] | None


def _wrong_prompt(found: str, wanted: Expectation) -> _Fault:
    """The prompt is missing, cut, repeated, or alone."""
    expected, prompt = wanted.text, wanted.prompt
    if found.strip() == prompt.strip():
        return "GENERATION_PROMPT_ONLY", "complete returned only the prompt.", ""
    if found.count(prompt.strip()) > max(1, expected.count(prompt.strip())):
        return "GENERATION_PROMPT_TWICE", "The text that complete returned has the prompt twice.", ""
    if found.strip() == expected[len(prompt) :].strip():
        return "GENERATION_PROMPT_MISSING", "complete returned the continuation without the prompt.", ""
    if found and expected.endswith(found):
        missing = len(expected) - len(found)
        return "GENERATION_PROMPT_MISSING", f"The first {missing} characters of the text are missing.", ""
    return None


def _wrong_characters(found: str, wanted: Expectation) -> _Fault:
    """Other characters than those of the tokens, or another prompt."""
    expected, prompt = wanted.text, wanted.prompt
    code = "NOT_AS_EXPECTED"
    unchanged = "Return the text of `generate` unchanged."
    if special := [token for token in wanted.special if token in found and token not in expected]:
        return code, f"The text has a special token: {special[0]!r}.", unchanged
    if "".join(found.split()) == "".join(expected.split()):
        return code, "White space of the text is changed.", unchanged
    if found.lower() == expected.lower():
        return code, "The case of the text's letters is changed.", unchanged
    if prompt != prompt.strip() and found == wanted.greedy(prompt.strip(), wanted.max_length):
        cause = "This is the continuation of the prompt without the white space at its ends, which is another prompt."
        return code, cause, "Pass the prompt on unchanged."
    if not found.startswith(prompt):
        if prompt in found:
            cause = f"The text has {found[: found.index(prompt)]!r} before the prompt."
        else:
            cause = "The text that complete returned does not begin with the prompt."
        return "GENERATION_PROMPT_MISSING", cause, ""
    return None


def _wrong_length(found: str, wanted: Expectation) -> _Fault:
    """The right tokens, and fewer or more of them."""
    expected, prompt, length = wanted.text, wanted.prompt, wanted.max_length
    if not (expected.startswith(found) or found.startswith(expected)):
        return None
    tokens = wanted.length(prompt)
    cause = f"complete(…, max_length={length}) returned a text of another length."
    remedy = ""
    if found in (wanted.greedy(prompt, length + tokens), wanted.greedy(prompt, length + tokens - 1)):
        cause = f"The text has max_length = {length} new tokens, besides those of the prompt."
        remedy = "max_length includes the prompt's tokens: pass it on to `generate` unchanged."
    elif found == wanted.greedy(prompt, length - 1):
        cause = f"The text has one token less than max_length = {length}, which includes the start token."
        remedy = "Pass max_length on to `generate` unchanged: it counts the start token too."
    elif found == wanted.greedy(prompt, length + 1):
        cause = f"The text has one token more than max_length = {length}, which includes the start token."
        remedy = "Pass max_length on to `generate` unchanged: it counts the start token too."
    return "GENERATION_LENGTH_IGNORED", cause, remedy
