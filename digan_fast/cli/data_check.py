"""``digan-fast data check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from digan_fast.cli.data_options import DataOptions, option_names
from digan_fast.cli.errors import by_option

# The exit status if some videos cannot be read.
_BROKEN: Final = 3


@dataclass(frozen=True, kw_only=True)
class CheckOptions(DataOptions):
    """Print what a data set holds: videos, frames, sizes, rates, classes, and what cannot be used.

    Ends with the SHA-256 of the list of files and their sizes, by which two copies are the same.
    The exit status is 0 if every video can be read, 3 if some cannot, 1 if none can be used; videos
    that are shorter than a clip do not change it.
    """

    decode: bool = False
    """Decode every frame, which finds all damage; otherwise each video's first frame is decoded and
    the others are counted."""


def run(options: CheckOptions) -> int:
    """Print the report; the exit status.  Raises ValueError for another layout, or if no video can be used."""
    from digan_fast.data.checking import census

    options.check()
    try:
        found = options.layout().find(options.data)
        counted = census(
            options.data, found, options.least_frames(), options.decode, options.processes(), progress=True
        )
    except ValueError as error:
        raise ValueError(by_option(error, option_names(CheckOptions))) from error
    print("\n".join(counted.report()))
    return _BROKEN if counted.broken else 0
