"""The one exception that a person sees: a single line saying what is wrong, where, and what to do."""


class UserError(Exception):
    """Bad input or a failed precondition; ``str(error)`` is the line to show, never a traceback.

    ``exit_code`` is what the shell gets: 2 for wrong usage, 1 for a failure.
    """

    exit_code = 1


class UsageError(UserError):
    """What was asked for cannot be: an index out of range, an unknown name, files that do not fit."""

    exit_code = 2
