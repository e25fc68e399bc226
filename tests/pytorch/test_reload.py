"""The package can be imported again in one process, as notebooks do, or reloaded in part."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, sys
import torch
from digan_fast import functional, use_backend

x, weight = torch.randn(1, 2, 3), torch.randn(1, 4, 3)
wanted = functional.linear_act(x, weight, None, "lrelu")
for name in [name for name in sys.modules if name.startswith("digan_fast")]:
    del sys.modules[name]
from digan_fast import Generator, dispatch, functional, use_backend
torch.testing.assert_close(functional.linear_act(x, weight, None, "lrelu"), wanted)
with use_backend("triton"):
    try:
        functional.linear_act(x, weight)
    except dispatch.BackendUnavailable:
        print("the new module's backend is asked")
for name in ("", ".dispatch", ".ops._registry", ".ops.linear_act", ".ops"):
    importlib.reload(sys.modules[f"digan_fast{name}"])
importlib.reload(functional)
leaf = x.clone().requires_grad_()
functional.linear_act(leaf, weight).sum().backward()
torch.testing.assert_close(leaf.grad, weight.sum(1, keepdim=True).expand_as(x))
print("fine")
"""


def test_imported_again_and_reloaded() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "the new module's backend is asked\nfine\n", done.stderr
