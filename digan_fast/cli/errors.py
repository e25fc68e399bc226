"""The exception of the command line, and library errors in its terms."""

from __future__ import annotations

from collections.abc import Collection


class UsageError(ValueError):
    """Invalid arguments; the message begins with the name of the one to change."""


def by_option(error: ValueError, options: Collection[str]) -> str:
    """The error's message, a leading field name that is one of the options replaced by the option's."""
    field, colon, rest = str(error).partition(":")
    return f"--{field.replace('_', '-')}{colon}{rest}" if colon and field in options else str(error)
