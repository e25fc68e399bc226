"""Plain data in the form tyro expects, and option types shared by commands."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Annotated, Any

import tyro

from digan_fast.training.shown import Shown


def parse_path(text: str) -> Path:
    """Raises ValueError for an empty text, such as an unset shell variable, which Path reads as the current folder."""
    if not text.strip():
        raise ValueError("'' is no path; an unset variable?")
    return Path(text)


def parse_snapshot(text: str) -> Path:
    """The path, or of a run's folder that of its snapshot.  Raises what :func:`parse_path` raises."""
    from digan_fast.training.folder import snapshot_in

    return snapshot_in(parse_path(text))


def _spec(kind: Any, parse: Callable[[str], Path] = parse_path) -> Any:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: ["" if value is None else str(value)],
    )


GivenPath = Annotated[Path, _spec(Path)]
MaybePath = Annotated[Path | None, _spec(Path | NoneType)]
MaybeSnapshot = Annotated[Path | None, _spec(Path | NoneType, parse_snapshot)]


def presented(kind: type, given: Any = None) -> type:
    """A subclass of ``kind``, where tyro finds the help texts, with :class:`Shown` annotations translated to tyro's.

    ``given``: an instance whose values are the defaults; those that are not the class's follow texts that state these.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    usual = {field.name: field.default for field in dataclasses.fields(kind)}
    own = {name: getattr(given, name) for name in usual if given is not None and getattr(given, name) != usual[name]}
    changed = {name: _translated(hint, own.get(name)) for name, hint in hints.items() if _shown(hint)}
    if not changed:
        return kind
    body: dict[str, Any] = {"__annotations__": changed, "__doc__": kind.__doc__, "__module__": kind.__module__}
    body |= {name: usual[name] for name in changed if usual[name] is not dataclasses.MISSING}
    return dataclasses.dataclass(frozen=True)(type(kind.__name__, (kind,), body))


def _shown(hint: Any) -> list[Shown]:
    return [entry for entry in getattr(hint, "__metadata__", ()) if isinstance(entry, Shown)]


def _translated(hint: Any, default: Any = None) -> Any:
    """``default``: one other than the text states, if there is one."""
    (shown,) = _shown(hint)
    found: Any = hint.__origin__
    if shown.is_path:
        found = MaybePath if NoneType in typing.get_args(found) else GivenPath
    if shown.positional:
        positional: Any = tyro.conf.Positional
        found = positional[found]
    options: dict[str, Any] = {} if shown.metavar is None else {"metavar": shown.metavar}
    if shown.own_default:
        options["help_behavior_hint"] = "" if default is None else f"(default here: {default})"
    return Annotated[found, tyro.conf.arg(**options)] if options else found
