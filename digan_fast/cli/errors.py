"""The exception of the command line."""


class UsageError(ValueError):
    """Invalid arguments; the message begins with the name of the one to change."""
