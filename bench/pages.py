"""Generated parts of a page, between ``<!-- MARK: NAME -->`` and ``<!-- MARK: end -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def fill(page: str, mark: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """The page with its sections of this mark regenerated.  Raises ValueError for an unknown section name."""

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in sections:
            raise ValueError(f"<!-- {mark}: {name} -->: expected one of {', '.join(sections)}")
        return f"<!-- {mark}: {name} -->\n{sections[name]()}\n<!-- {mark}: end -->"

    return re.sub(rf"<!-- {mark}: (?!end)(\S+) -->\n.*?<!-- {mark}: end -->", replaced, page, flags=re.DOTALL)
