"""``digan-fast info``."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from typing import Any, Final

PACKAGES: Final = ("torch", "numpy", "triton", "av")


@dataclass(frozen=True)
class InfoOptions:
    """Versions, this machine, and which kernels run on it."""

    json: bool = False
    """One JSON object instead of text."""


def run(options: InfoOptions) -> None:
    """Print the result of :func:`collect`."""
    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else "\n".join(_lines(facts)))


def collect() -> dict[str, Any]:
    """Facts about this installation, as plain data."""
    import torch

    from digan_fast import __version__, dispatch, ops

    native, cpu, cuda = _native()
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "versions": {
            "digan_fast": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "machine": {
            "system": platform.platform(),
            "architecture": platform.machine(),
            "torch_threads": torch.get_num_threads(),
            **cpu,
        },
        "native": native,
        "cuda": {
            **cuda,
            "torch_built_with": torch.version.cuda,
            "torch_devices": [torch.cuda.get_device_name(index) for index in devices],
        },
        "backends": {name: "available" if reason is None else reason for name, reason in ops.backends().items()},
        "requested_backend": dispatch.requested(),
        "kernels": ops.kernel_table(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _native() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What the compiled module reports about itself, the processor and CUDA."""
    from digan_fast import dispatch

    try:
        module = dispatch.native_module()
    except ImportError as error:
        reason = dispatch.why_not_built() if isinstance(error, ModuleNotFoundError) else str(error)
        return {"available": False, "reason": reason}, {}, {}
    cpu: dict[str, Any] = {"instruction_sets": list(module.cpu_features())}
    cpu.update({f"no_{name}": f"this CPU lacks {what}" for name, what in module.missing_features().items()})
    try:
        cpu["chosen_instruction_set"] = module.isa()
    except (RuntimeError, ValueError) as error:
        cpu["chosen_instruction_set"] = f"none: {error}"
    return {"available": True, **module.build_info()}, cpu, dict(module.cuda_info())


def _lines(facts: dict[str, Any]) -> list[str]:
    """The facts as text: sections with one line per entry."""
    lines: list[str] = []
    for section, content in facts.items():
        if not isinstance(content, dict):
            lines.append(f"{section}: {_text(content)}")
            continue
        lines.append(f"{section}:")
        lines.extend(f"  {name}: {_text(value)}" for name, value in content.items())
    return lines


def _text(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
