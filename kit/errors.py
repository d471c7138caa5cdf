"""The one error that a user sees: a sentence that says what is wrong, what was found and what to do."""


class UserError(Exception):
    """A mistake that a user can make and mend. The command line prints its text alone and exits with 2."""
