"""What the command line raises."""


class UsageError(ValueError):
    """Arguments that do not fit; the message begins with the name of the one to change."""
