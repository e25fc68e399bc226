"""The command line ``digan-fast``; a command's module is imported only when the command runs.

Exit codes: 0 for success; 1 for a failure; 2 for invalid arguments; 3 for what a command found, as its help says; 130
for an interrupt, 143 and 129 for SIGTERM and SIGHUP, or 130 if a training run saved itself; 141 if what reads the
output, such as ``head``, has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import re
import select
import signal
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

from digan_fast import __version__
from digan_fast.cli.errors import UsageError

__all__ = ["COMMANDS", "main"]

# Each command's module has `run(options)`, which may return an exit code; the annotation of `options` is the dataclass
# to parse. A command may have two words, the first of which is no command of its own.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "info": ("digan_fast.cli.info", "versions, this machine, and which kernels run on it"),
    "generate": ("digan_fast.cli.generate", "videos from seeds"),
    "interpolate": ("digan_fast.cli.interpolate", "from one seed's video to the next"),
    "motions": ("digan_fast.cli.motions", "one content with many motions"),
    "convert": ("digan_fast.cli.convert", "a published pickle, or a snapshot, to safetensors"),
    "data check": ("digan_fast.cli.data_check", "what a data set holds, and what of it is broken"),
    "data pack": ("digan_fast.cli.data_pack", "decode a data set once, into one file for training"),
    "train": ("digan_fast.cli.train", "train on videos"),
    "evaluate": ("digan_fast.cli.evaluate", "measure a snapshot's videos against real ones, by a named protocol"),
    "fit": ("digan_fast.cli.fit", "train a network on one clip, without a generator"),
    "project": ("digan_fast.cli.project", "find a clip in a snapshot's latent space"),
    "curves": ("digan_fast.cli.curves", "draw the curves of a training run"),
}
TRACEBACK: Final = "DIGAN_FAST_TRACEBACK"

# What shells report for a program that SIGPIPE ends.
_UNREAD: Final = 141
_FAILURES: Final = (ValueError, OSError, ImportError, RuntimeError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `argv` are the words after the program's name."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe or terminal with a limited encoding shows other characters escaped.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _terminable():
        try:
            code = _main(argv)
            sys.stdout.flush()
            sys.stderr.flush()
            return code
        except BrokenPipeError:
            unread = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
            if not unread:
                raise
            for stream in unread:
                _drop(stream)
            return _UNREAD


def _is_unread(stream: Any) -> bool:
    """Whether a stream is a pipe whose other end is closed."""
    if not hasattr(select, "poll"):  # Windows.
        return True
    try:
        number = stream.fileno()
    except OSError:  # Not a file.
        return False
    asked = select.poll()
    asked.register(number, 0)
    return bool(asked.poll(0))


def _drop(stream: Any) -> None:
    """What the stream holds, and Python would write at its end, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    detailed = "--traceback" in words or bool(os.environ.get(TRACEBACK))
    words = [word for word in words if word != "--traceback"]
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    command = " ".join(words[:length]) if words else "--help"
    if command in ("-h", "--help") or (_grouped(command) and words[1:] in ([], ["-h"], ["--help"])):
        print(_help())
        return 0
    if command == "--version":
        print(__version__)
        return 0
    try:
        if command not in COMMANDS:
            named = " ".join(words[:2]) if _grouped(command) else command
            raise UsageError(f"{named!r} is no command, expected one of {', '.join(_grouped(command) or COMMANDS)}")
        run, options = _parse(command, words[length:])
        if run is not None:
            return run(options) or 0
    except UsageError as error:
        return _failed(command, error, 2, detailed)
    except _FAILURES as error:
        if isinstance(error, BrokenPipeError) and (_is_unread(sys.stdout) or _is_unread(sys.stderr)):
            raise
        return _failed(command, error, 1, detailed)
    except KeyboardInterrupt as interrupt:
        _complain(f"digan-fast: {str(interrupt) or 'interrupted'}")
        return 130
    except _Terminated as signalled:
        _complain("digan-fast: terminated")
        return 128 + signalled.number
    return 0


def _grouped(word: str) -> list[str]:
    """The commands of two words that begin with this one."""
    return [name for name in COMMANDS if name.startswith(f"{word} ")]


class _Terminated(BaseException):
    """SIGTERM or SIGHUP, raised so that half-written files are removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Ends a command on SIGTERM and SIGHUP as on Ctrl-C, if Python may handle these signals and nothing else does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated(number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, stop)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _complain(line: str) -> None:
    """Print to stderr, which a lost connection may have closed."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return (
        f"usage: digan-fast [--version] [--traceback] COMMAND …\n\n"
        f"Videos as implicit neural representations.\n\n{rows}\n\n"
        f"digan-fast COMMAND --help lists a command's options. --traceback, or the environment\n"
        f"variable {TRACEBACK}, shows an error's traceback."
    )


def _parse(command: str, words: Sequence[str]) -> tuple[Callable[[Any], int | None] | None, Any]:
    """The command's function and its options; None if the help was printed instead."""
    import tyro

    from digan_fast.cli.presentation import presented

    module = importlib.import_module(COMMANDS[command][0])
    run = module.run
    hints = typing.get_type_hints(run)
    (kind,) = (hint for name, hint in hints.items() if name != "return")
    # A command may take its options' defaults from one of its words.
    found = module.defaults(words) if hasattr(module, "defaults") else None
    shown = presented(kind, found)
    given = {} if found is None else {"default": shown(**_values(found))}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options: Any = tyro.cli(
                shown,
                args=words,
                **given,
                prog=f"digan-fast {command}",
                config=(tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as exit:
        if exit.code:
            raise UsageError(_first_paragraph(complaint.getvalue())) from None
        return None, None
    return run, kind(**_values(options))


def _values(options: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, as they are."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def _first_paragraph(boxed: str) -> str:
    """tyro's complaint on one line, without its frame, title and hints."""
    words: list[str] = []
    titled = "╭" in boxed  # Consoles without these characters get the title above a rule.
    for line in boxed.splitlines():
        text = line.strip("│╭╮╰╯ ")
        if line.startswith("╭"):
            continue
        is_rule = not text.strip("─-")
        if is_rule and text and not titled:
            words, titled = [], True
        elif is_rule and words:
            break
        elif not is_rule:
            words.append(text)
    # An option that may be left out has no value of that name.
    return re.sub("'None', |, 'None'", "", " ".join(words)) or boxed.strip()


def _failed(command: str, error: BaseException, code: int, detailed: bool) -> int:
    if detailed:
        traceback.print_exception(error)
    program = f"digan-fast {command}" if command in COMMANDS else "digan-fast"
    message = " ".join(str(error).split()) or type(error).__name__
    _complain(f"{program}: error: {message}")
    return code
