"""References such as ``${coords.low_res_cfg}`` in a published configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MAX_DEPTH = 50
_MAX_TEXT = 10_000
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")


def resolve(value: Any, roots: Sequence[Mapping[str, Any]], spend: Callable[[], None] = lambda: None) -> Any:
    """``value``, of nested dicts and lists, with every reference replaced by what it names.

    A path is looked up from each root, then below its ``generator``, where the published files keep their networks;
    leading dots make it relative.  ``spend`` is called for each value visited.  Raises ValueError for a reference
    to nothing or to itself.
    """
    return _resolve(value, [], roots, spend)


def _resolve(value: Any, parents: list[Any], roots: Sequence[Mapping[str, Any]], spend: Callable[[], None]) -> Any:
    """``parents`` are the containers around ``value``."""
    spend()
    if len(parents) > _MAX_DEPTH:
        raise ValueError("a reference in the configuration refers to itself")
    inside = [*parents, value]
    if isinstance(value, Mapping):
        return {key: _resolve(item, inside, roots, spend) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolve(item, inside, roots, spend) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _resolve(_look_up(whole[1], parents, roots), inside, roots, spend)

    def text(match: re.Match[str]) -> str:
        spend()
        found = _look_up(match[1], parents, roots)
        if isinstance(found, (Mapping, list)):
            raise ValueError(f"the reference {match[0][:80]!r} within a text is no text")
        return str(found)

    replaced = _REFERENCE.sub(text, value)
    if replaced == value or len(replaced) > _MAX_TEXT:
        raise ValueError(f"the reference {value[:80]!r} in the configuration has no value")
    return _resolve(replaced, inside, roots, spend)


def _look_up(path: str, parents: list[Any], roots: Sequence[Mapping[str, Any]]) -> Any:
    keys = path.lstrip(".").split(".")
    dots = len(path) - len(path.lstrip("."))
    if dots:
        candidates = [(parents[-dots], keys)] if dots <= len(parents) else []
    else:
        candidates = [(root, keys) for root in roots]
        candidates += [(root["generator"], keys) for root in roots if "generator" in root]
        if keys[0] == "generator":
            candidates += [(root, keys[1:]) for root in roots]
    for start, steps in candidates:
        found, value = _follow(start, steps)
        if found:
            return value
    raise ValueError(f"the reference ${{{path[:80]}}} in the configuration has no value")


def _follow(value: Any, keys: list[str]) -> tuple[bool, Any]:
    for key in keys:
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, Mapping) and key.isdecimal() and int(key) in value:
            value = value[int(key)]
        else:
            return False, None
    return True, value
