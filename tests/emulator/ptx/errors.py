"""The errors that an execution can detect; each names kernel, PTX line, block and thread."""


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
    """The parser does not understand the text."""


class UnsupportedInstruction(PtxError):
    """An opcode, modifier, type or operand that the interpreter does not model: never silently skipped."""


class WrongLaunch(PtxError):
    """Arguments, grid, block or shared memory that the kernel cannot be launched with."""


class GlobalOutOfBounds(PtxError):
    """An address outside every allocation, or an access that crosses the end of one."""


class SharedOutOfBounds(PtxError):
    """An access outside the block's static and dynamic shared memory."""


class LocalOutOfBounds(PtxError):
    """An access outside the thread's local memory, a constant array or the parameters."""


class MisalignedAccess(PtxError):
    """An address that is not a multiple of the access size."""


class UninitialisedShared(PtxError):
    """A read of unwritten shared memory."""


class UninitialisedGlobal(PtxError):
    """A read of an allocation from `Memory.empty` before it was written."""


class UninitialisedLocal(PtxError):
    """A read of local memory that the thread has not written."""


class UninitialisedRegister(PtxError):
    """Use of an undefined value: of a register that the thread has not written, or derived from one."""


class ReadOnlyWrite(PtxError):
    """A store or atomic to an allocation that was declared read-only."""


class SharedRace(PtxError):
    """Two warps of a block access the same shared bytes, at least one writing, with no barrier between."""


class GlobalRace(PtxError):
    """Two blocks access the same global bytes, at least one with a plain store."""


class CopyInFlight(PtxError):
    """The destination or source of a cp.async is touched before the copy has been waited for."""


class MatrixInFlight(PtxError):
    """Operands or accumulators of a wgmma are touched before it has been waited for, or its proxy fence is missing."""


class DivergentCollective(PtxError):
    """A collective of a warp, warp group or block that the threads it names do not execute together."""


class BarrierDeadlock(PtxError):
    """All threads wait, and no barrier can complete."""


class BudgetExceeded(PtxError):
    """More steps than the launch allows: an infinite loop, or too small a budget."""


class DeviceTrap(PtxError):
    """The kernel executed `trap` or a failed assertion."""
