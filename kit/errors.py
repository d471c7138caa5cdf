"""The error for mistakes of a user: one sentence with what is wrong, what was found, what to do."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that a user can fix. The command line prints only its text, and exits with 2."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist: ``what`` is "exercise", for example."""
    names = list(known)
    close = similar_names(name, names)
    if close:
        return UserError(
            f"There is no {what} {name!r}: did you mean {' or '.join(close)}? Choose one of {', '.join(names)}."
        )
    return UserError(f"There is no {what} {name!r}: choose one of {', '.join(names)}.")


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three names that a user may have meant: completions, else similar ones."""
    import difflib

    by_text = {candidate.casefold(): candidate for candidate in known}
    text = name.casefold()
    begin = [candidate for candidate in by_text if len(text) > 1 and candidate.startswith(text)]
    return [by_text[candidate] for candidate in (begin or difflib.get_close_matches(text, by_text))[:3]]
