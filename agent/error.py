"""What can be expected to go wrong: every command tells it in one line (agent/commands/line.py), never by a stack trace.

The message says what was expected, what was found, where, and what to do.
"""


class InputError(Exception):
    """Wrong input: it fails the same way again until somebody has put it right. Exit status 2."""


class OutageError(Exception):
    """Something is not there or has failed that may be there after a restart. Exit status 1."""
