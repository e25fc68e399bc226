"""Plain data as tyro takes it."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

import tyro

from digan_fast.training.shown import Shown


def presented(kind: type) -> type:
    """A dataclass whose :class:`Shown` annotations are tyro's; it is a subclass, whose docstrings tyro finds in ``kind``."""
    hints = typing.get_type_hints(kind, include_extras=True)
    changed = {name: _translated(hint) for name, hint in hints.items() if _shown(hint)}
    if not changed:
        return kind
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.name in changed and field.default is not dataclasses.MISSING
    }
    own = {"__annotations__": changed, "__doc__": kind.__doc__, "__module__": kind.__module__}
    return dataclasses.dataclass(frozen=True)(type(kind.__name__, (kind,), own | defaults))


def _shown(hint: Any) -> list[Shown]:
    return [entry for entry in getattr(hint, "__metadata__", ()) if isinstance(entry, Shown)]


def _translated(hint: Any) -> Any:
    (shown,) = _shown(hint)
    plain = hint.__origin__
    found = tyro.conf.Positional[plain] if shown.positional else plain
    options: dict[str, Any] = {} if shown.metavar is None else {"metavar": shown.metavar}
    if shown.own_default:
        options["help_behavior_hint"] = ""
    return Annotated[found, tyro.conf.arg(**options)] if options else found
