"""Which backend runs a call of an op, or the sentence that says why it cannot.

The body of every registered op is :func:`call`, so a traced graph does not depend on the backend that runs it.  A
backend registers a function and a predicate for an op; the predicate returns ``None`` or the reason why not.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ORDER = ("cuda", "triton", "native", "reference")
ENVIRONMENT = "DIGAN_FAST_BACKEND"

logger = logging.getLogger("digan_fast")


class BackendUnavailable(RuntimeError):
    """A backend requested by name cannot run a call; the message says why."""


@dataclass(frozen=True)
class _Kernel:
    """A backend's function for an op, and its predicate: the reason why it cannot run a call, or None."""

    run: Callable[..., Any]
    why_not: Callable[..., str | None]


# Registrations survive a reload of this module.
_kernels: dict[str, dict[str, _Kernel]] = globals().get("_kernels", {})
_said: set[tuple[str, str, str]] = set()
_requests: list[tuple[object, str]] = []
_requests_lock = threading.Lock()


def register(
    op: str,
    backend: str,
    run: Callable[..., Any],
    why_not: Callable[..., str | None] = lambda *_: None,
) -> None:
    """Let ``backend`` run ``op``.  ``why_not`` takes the op's arguments and returns a reason, or None if it can."""
    _kernels.setdefault(op, {})[backend] = _Kernel(run, why_not)


def kernel(op: str, backend: str) -> _Kernel:
    """What a backend has registered for ``op``.  Raises KeyError if nothing."""
    return _kernels[op][backend]


def reference(op: str) -> Callable[..., Any]:
    """The op's definition in plain PyTorch."""
    return _kernels[op]["reference"].run


def native_module() -> Any:
    """The compiled module ``digan_fast._C``.

    Raises ModuleNotFoundError if it was not built, ImportError if it was built but cannot be used.
    """
    from digan_fast import _C

    return _C


@functools.cache
def _why_not_native() -> str | None:
    try:
        native_module()
    except ModuleNotFoundError:
        return why_not_built()
    except ImportError as error:
        reason = f"the compiled module cannot be used: {error}"
        logger.warning("backend native passed over: %s", reason)
        return reason
    return None


@functools.cache
def _why_not_cuda() -> str | None:
    if (reason := _why_not_native()) is not None:
        return reason
    if not native_module().build_info()["cuda"]:
        return f"the compiled module was {left_out() or 'built without CUDA'}"
    return native_module().cuda_info()["reason"] or None


@functools.cache
def _why_not_triton() -> str | None:
    return None if importlib.util.find_spec("triton") else "triton is not installed"


def left_out() -> str | None:
    """What the installation recorded about a compiled module, or CUDA part of it, that it did not build."""
    record = Path(__file__).with_name("_native.txt")
    return record.read_text(encoding="utf-8").strip() if record.exists() else None


def why_not_built() -> str:
    """Why there is no compiled module."""
    return left_out() or "digan_fast._C was not built"


def _has_kernels(backend: str) -> bool:
    return any(backend in kernels for kernels in _kernels.values())


def _why_not(backend: str) -> str | None:
    if backend == "reference":
        return None
    if not _has_kernels(backend):
        return "this version of digan_fast has no kernels for it"
    if backend == "native":
        return _why_not_native()
    if backend == "cuda" and (reason := _why_not_cuda()) is not None:
        return reason
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return _why_not_triton() if backend == "triton" else None


def backends() -> dict[str, str | None]:
    """Every backend in the order they are tried, with None if it is available, else the reason why not."""
    return {name: _why_not(name) for name in ORDER}


def runs_natively() -> bool:
    """Whether calls on the CPU run native kernels.  False while torch.compile traces."""
    return not torch.compiler.is_compiling() and requested() in (None, "native") and _why_not_native() is None


# Whether there were threads at this process's last fork, and whether it was itself forked from one with threads.
_had_threads = False
_lost_threads = False


def _before_fork() -> None:
    global _had_threads
    tasks = Path("/proc/self/task")  # Linux has it; elsewhere threads are assumed.
    _had_threads = not tasks.is_dir() or len(os.listdir(tasks)) > 1


def _after_fork() -> None:
    """OpenMP's threads do not survive a fork; the next parallel region, ours or torch's, would wait for them."""
    global _lost_threads
    _lost_threads = _lost_threads or _had_threads
    torch.set_num_threads(1)


def check_threads() -> None:
    """Raises RuntimeError if a forked process was given threads, for which it would wait forever."""
    if _lost_threads and torch.get_num_threads() > 1:
        raise RuntimeError(
            f"torch.set_num_threads: {torch.get_num_threads()} threads in a forked process, where OpenMP's do not "
            "work; expected 1, or a process that is spawned"
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def kernel_table() -> dict[str, list[str]]:
    """The backends with a kernel for each op, in the order they are tried."""
    return {op: [name for name in ORDER if name in kernels] for op, kernels in _kernels.items()}


def _checked(name: str, origin: str) -> str:
    if name not in ORDER:
        raise ValueError(f"{origin}: unknown backend {name!r}; expected one of {', '.join(ORDER)}")
    return name


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every op in this block on the named backend, for the whole process (autograd's threads included).

    A call that the backend cannot run raises :class:`BackendUnavailable` with the reason; a backward for which it has
    no kernel uses the reference, as float64 always does.  Of several blocks, in any threads, the one entered last
    decides.  Raises ValueError for an unknown name.
    """
    request = (object(), _checked(name, "use_backend"))
    with _requests_lock:
        _requests.append(request)
    try:
        yield
    finally:
        with _requests_lock:
            _requests.remove(request)


def requested() -> str | None:
    """The backend requested by :func:`use_backend`, else by ``DIGAN_FAST_BACKEND``, else None."""
    with _requests_lock:
        if _requests:
            return _requests[-1][1]
    name = os.environ.get(ENVIRONMENT)
    return _checked(name, ENVIRONMENT) if name else None


def _tensors(args: Iterable[Any]) -> Iterator[torch.Tensor]:
    for arg in args:
        if isinstance(arg, torch.Tensor):
            yield arg
        elif isinstance(arg, list | tuple):
            yield from (item for item in arg if isinstance(item, torch.Tensor))


def passed_over(op: str, what: str, reason: str) -> None:
    """Log, once, why a backend or a kernel does not run a call."""
    if (op, what, reason) not in _said:
        _said.add((op, what, reason))
        logger.warning("%s: %s passed over: %s", op, what, reason)


def runs(op: str, backend: str, *args: Any) -> bool:
    """Whether ``backend`` may run this call.  If it is available but its kernel cannot, the log says once why."""
    if requested() not in (None, backend) or _why_not(backend) is not None:
        return False
    if any(tensor.dtype == torch.float64 for tensor in _tensors(args)):
        return False
    reason = _kernels[op][backend].why_not(*args)
    if reason is not None:
        passed_over(op, f"backend {backend}", reason)
    return reason is None


def select(op: str, *args: Any) -> tuple[str, Callable[..., Any]]:
    """The backend that runs this call, and its function."""
    kernels = _kernels[op]
    wanted = requested()
    if any(tensor.dtype == torch.float64 for tensor in _tensors(args)):
        wanted = "reference"
    if wanted is not None:
        if wanted not in kernels and op.endswith("_backward"):
            wanted = "reference"
        kernel = kernels.get(wanted)
        reason = f"it has no kernel for {op}" if kernel is None else _why_not(wanted) or kernel.why_not(*args)
        if kernel is None or reason is not None:
            raise BackendUnavailable(f"{op}: backend {wanted!r} was asked for, but {reason}")
        return wanted, kernel.run
    for name in ORDER:
        kernel = kernels.get(name)
        if kernel is None:
            continue
        if _why_not(name) is not None:
            continue
        reason = kernel.why_not(*args)
        if reason is None:
            return name, kernel.run
        passed_over(op, f"backend {name}", reason)
    raise BackendUnavailable(f"{op}: no backend can run this call")


def call(op: str, *args: Any) -> Any:
    """Run ``op`` on the backend that :func:`select` chooses."""
    check_threads()
    return select(op, *args)[1](*args)
