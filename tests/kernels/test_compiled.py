"""The code of each kernel at real shapes: no stack, no spills, the right instructions; resources are recorded in one
table per version of Triton.

After a change of kernels or configurations, with each version in PYTHONPATH, as in `make emulate-versions`:
 DIGAN_FAST_RECORD=1 python -m pytest tests/kernels/test_compiled.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import triton
from cases import DTYPES, REAL, kernel
from emulator.triton_offline import ARCHITECTURES, SHARED_LIMIT, Launch, offline
from mlps import gradient_arguments, siren

from digan_fast.kernels._configurations import FUSED
from digan_fast.kernels._products import VERSION

TABLE = Path(__file__).parent / "compiled" / f"triton-{triton.__version__}.txt"
RECORD = os.environ.get("DIGAN_FAST_RECORD") == "1"
MATRICES = {80: "mma", 90: "wgmma", 100: "tcgen05", 120: "mma"}
NO_PRODUCTS = ("bias", "filter")
# Shapes whose products are in float32 whatever the tensors' type.
WIDE_PRODUCTS = (*NO_PRODUCTS, "factors")
# Neighbouring outputs may read other elements, so these load single elements.
NARROW = ("filter",)
# Sums of vectors of any extent, such as three biases.
SUMS = ("add_rows",)
_seen: dict[str, str] = {}


def recorded() -> dict[str, str]:
    lines = [line for line in TABLE.read_text().splitlines() if "|" in line] if TABLE.exists() else []
    return {line.partition(" | ")[0]: line for line in lines}


def row(name: str, launch: Launch) -> str:
    found = launch.resources
    kinds = ", ".join(f"{kind} {count}" for kind, count in launch.instructions.items() if count)
    return f"{name} | {found.registers} registers, {found.shared} shared | {kinds}"


def kinds() -> list[tuple[str, str, int]]:
    """float16 differs from bfloat16 only in instruction types: except for products, one architecture is enough."""
    found = []
    for shape in REAL:
        if shape.startswith("mlp") and VERSION < (3, 9):
            continue
        has_products = not shape.startswith(WIDE_PRODUCTS)
        for kind, archs in {
            "float32": ARCHITECTURES,
            "tf32": ARCHITECTURES if has_products else (),
            "bfloat16": ARCHITECTURES,
            "float16": ARCHITECTURES if has_products else (80,),
        }.items():
            if shape.startswith("mlp"):
                # float32 networks have 128 channels at most.
                found += [
                    (shape, kind, arch) for arch in archs if kind != "tf32" and (kind, shape) != ("float32", "mlp 256")
                ]
            elif not shape.startswith("render"):
                found += [(shape, kind, arch) for arch in archs]
            elif kind == "bfloat16":
                found += [(shape, kind, arch) for arch in archs if arch != 100 or arch in FUSED]
    return found


@pytest.mark.parametrize(("shape", "kind", "arch"), kinds())
def test_compiles_well(shape: str, kind: str, arch: int) -> None:
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    with offline(arch) as launches:
        for op, args in REAL[shape](DTYPES.get(kind, torch.float32)):
            kernel(op)(*args)
    before = recorded()
    assert launches
    # Only the last level of a rendering is a new kernel.
    for number, launch in enumerate(launches[-1:] if shape.startswith("render") else launches):
        if launch.name in SUMS and number > 1:
            continue  # one of like launches, for a gradient each
        name = f"{shape} {launch.name.strip('_')}.{number} {kind} sm_{arch}"
        found, instructions = launch.resources, launch.instructions
        assert found.stack == found.spills == 0, f"{name}: {found}"
        assert found.shared <= SHARED_LIMIT[arch], name
        assert instructions["atom"] == 0, name
        if not shape.startswith(NARROW) and launch.name not in SUMS:
            assert instructions["cp.async.16"] + instructions["ld.16"] > 0, f"{name}: no loads of 16 bytes"
        if kind != "float32" and not shape.startswith(WIDE_PRODUCTS) and launch.name not in ("_backward_base", *SUMS):
            used = instructions[MATRICES[arch]] + instructions["mma"]
            assert used > 0, f"{name}: no tensor cores"
        _seen[name] = row(name, launch)
        if not RECORD:
            assert _seen[name] == before.get(name), f"{TABLE.name} has {before.get(name)}; see the head of this file"


@pytest.mark.parametrize(
    ("width", "hidden", "kind"), [(64, 2, "float32"), (32, 4, "float32"), (128, 1, "bfloat16"), (64, 4, "bfloat16")]
)
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp_backward needs Triton 3.9")
def test_the_most_products_of_the_backward_of_coordinate_mlps_do_not_spill(width: int, hidden: int, kind: str) -> None:
    args = gradient_arguments(siren(64, 64, width, hidden, kind, 4))
    args[-1][0] = False
    for arch in ARCHITECTURES:
        with offline(arch) as launches:
            kernel("coord_mlp_backward")(*args)
        found = launches[0].resources
        assert found.stack == found.spills == 0, f"sm_{arch}: {found}"
        assert found.shared <= SHARED_LIMIT[arch]


def test_the_table_is_complete() -> None:
    """Runs last: if everything was compiled, the table must list it and nothing else."""
    head = f"triton {triton.__version__}"
    is_whole = len({tuple(name.rsplit(" ", 2)[1:]) for name in _seen}) > 1 and len(_seen) >= len(kinds())
    if RECORD:
        assert is_whole, "recording needs all tests of this file"
        TABLE.write_text("\n".join([head, *(_seen[name] for name in sorted(_seen))]) + "\n")
    assert TABLE.read_text().splitlines()[0] == head
    if is_whole:
        assert set(recorded()) == set(_seen)
