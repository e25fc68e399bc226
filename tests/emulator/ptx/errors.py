"""The errors that an execution may detect; each names kernel, PTX line, block and thread."""


class PtxError(Exception):
    """A kernel or its launch is wrong; attributes that do not apply are None."""

    def __init__(
        self,
        message: str,
        *,
        kernel: str | None = None,
        line: int | None = None,
        text: str | None = None,
        source: str | None = None,
        block: tuple[int, int, int] | None = None,
        thread: tuple[int, int, int] | None = None,
    ) -> None:
        self.message, self.kernel, self.line, self.text = message, kernel, line, text
        self.source, self.block, self.thread = source, block, thread
        where = [
            kernel and f"kernel {kernel}",
            line is not None and f"PTX line {line}: {text}",
            source and f"source {source}",
            block is not None and f"block {block}",
            thread is not None and f"thread {thread}",
        ]
        super().__init__("; ".join([message, *(part for part in where if part)]))


class SyntaxNotUnderstood(PtxError):
    """The text is not the PTX that the parser knows."""


class UnsupportedInstruction(PtxError):
    """An opcode, modifier, type or operand that the interpreter does not model: never skipped in silence."""


class WrongLaunch(PtxError):
    """Arguments, grid, block or shared memory that the kernel cannot be launched with."""


class GlobalOutOfBounds(PtxError):
    """An address outside every allocation, or an access that crosses the end of one."""


class SharedOutOfBounds(PtxError):
    """An access outside the block's static and dynamic shared memory."""


class LocalOutOfBounds(PtxError):
    """An access outside the thread's local memory, a constant array's or the parameters' extent."""


class MisalignedAccess(PtxError):
    """An address that is no multiple of the bytes accessed."""


class UninitialisedShared(PtxError):
    """A read of shared memory that nobody has written."""


class UninitialisedGlobal(PtxError):
    """A read of an allocation from `Memory.empty` before it was written."""


class UninitialisedLocal(PtxError):
    """A read of local memory that the thread has not written."""


class UninitialisedRegister(PtxError):
    """An undefined value where it counts: of a register that the thread has not written, or computed of one."""


class ReadOnlyWrite(PtxError):
    """A store or atomic to an allocation that was declared read-only."""


class SharedRace(PtxError):
    """Two warps of a block touch the same shared bytes, one of them writing, with no barrier between."""


class GlobalRace(PtxError):
    """Two blocks touch the same global bytes, one of them by a plain store."""


class CopyInFlight(PtxError):
    """The destination or source of a cp.async is touched before the copy was waited for."""


class MatrixInFlight(PtxError):
    """Operands or accumulators of a wgmma are touched before it was waited for, or shared memory was not fenced."""


class DivergentCollective(PtxError):
    """A collective of a warp, warp group or block which threads that it names do not execute together."""


class BarrierDeadlock(PtxError):
    """Every thread waits, and no barrier can complete."""


class BudgetExceeded(PtxError):
    """More steps than the launch allows: an endless loop, or a budget that is too small."""


class DeviceTrap(PtxError):
    """The kernel executed `trap` or a failed assertion."""
