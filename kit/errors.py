"""The error for mistakes of a user: one sentence with what is wrong, what was found, what to do."""


class UserError(Exception):
    """A mistake that a user can fix. The command line prints only its text, and exits with 2."""
