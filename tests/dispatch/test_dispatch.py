from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch

from digan_fast import backends, dispatch, functional, ops, use_backend


@pytest.fixture
def fake_op(monkeypatch: pytest.MonkeyPatch) -> str:
    """An op with a reference, and a native kernel that supports only positive numbers."""
    monkeypatch.setattr(dispatch, "_kernels", dict(dispatch._kernels))
    monkeypatch.setattr(dispatch, "_said", set())
    monkeypatch.setattr(dispatch, "_why_not_native", lambda: None)
    dispatch.register("twice", "reference", lambda x: ("reference", x * 2))
    dispatch.register("twice", "native", lambda x: ("native", x * 2), lambda x: None if x > 0 else "x is not positive")
    return "twice"


def test_backends_are_listed_with_reasons() -> None:
    listed = backends()
    assert list(listed) == ["cuda", "triton", "native", "reference"]
    assert listed["reference"] is None
    if not torch.cuda.is_available():
        assert listed["cuda"] is not None
        assert listed["triton"] == "torch sees no CUDA device"


def test_the_reason_for_a_missing_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        def __init__(self, cuda: bool, reason: str) -> None:
            self.build_info, self.cuda_info = lambda: {"cuda": cuda}, lambda: {"reason": reason}

    def reason(module: Module) -> str | None:
        dispatch._why_not_cuda.cache_clear()
        monkeypatch.setattr(dispatch, "native_module", lambda: module)
        return backends()["cuda"]

    monkeypatch.setattr(dispatch, "_why_not_native", lambda: None)
    monkeypatch.setattr(dispatch, "left_out", lambda: None)
    assert reason(Module(False, "")) == "the compiled module was built without CUDA"
    monkeypatch.setattr(dispatch, "left_out", lambda: "built without CUDA: there is no nvcc on PATH")
    assert reason(Module(False, "")) == "the compiled module was built without CUDA: there is no nvcc on PATH"
    assert reason(Module(True, "no CUDA driver is installed")) == "no CUDA driver is installed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert reason(Module(True, "")) == "torch sees no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert reason(Module(True, "")) is None
    dispatch._why_not_cuda.cache_clear()
    monkeypatch.setattr(dispatch, "_why_not_native", lambda: "no compiler was found")
    assert backends()["cuda"] == "no compiler was found"
    dispatch._why_not_cuda.cache_clear()


def test_triton_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(dispatch, "_why_not_triton", lambda: "triton is not installed")
    assert backends()["triton"] == "triton is not installed"
    monkeypatch.setattr(dispatch, "_why_not_triton", lambda: None)
    assert backends()["triton"] is None


def test_every_op_has_a_reference() -> None:
    table = ops.kernel_table()
    assert {"bias_act", "coord_linear", "fmm_weights", "linear_act", "upfirdn2d"} <= set(table)
    assert all(names[-1] == "reference" for names in table.values())


def test_the_first_backend_that_supports_the_call_runs(fake_op: str) -> None:
    assert dispatch.call(fake_op, 3) == ("native", 6)


def test_an_unsupported_call_uses_the_reference_and_is_logged_once(
    fake_op: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "digan_fast"):
        assert dispatch.call(fake_op, -3) == ("reference", -6)
        dispatch.call(fake_op, -4)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["twice: backend native passed over: x is not positive"]


def test_a_requested_backend_raises_its_reason(fake_op: str) -> None:
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match=r"'native'.*x is not positive"):
        dispatch.call(fake_op, -3)
    with use_backend("cuda"), pytest.raises(dispatch.BackendUnavailable, match="it has no kernel for twice"):
        dispatch.call(fake_op, 3)
    with use_backend("reference"):
        assert dispatch.call(fake_op, 3) == ("reference", 6)


def test_float64_uses_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    with use_backend("native"):
        assert dispatch.select("bias_act", x, None, 1, "linear", 1.0, None)[0] == "reference"


def test_use_backend_nests_and_recovers_from_errors() -> None:
    assert dispatch.requested() is None
    with use_backend("reference"):
        with pytest.raises(RuntimeError, match="stop"), use_backend("native"):
            raise RuntimeError("stop")
        assert dispatch.requested() == "reference"
    assert dispatch.requested() is None


def test_the_block_entered_last_decides_whatever_the_order_of_exits() -> None:
    first, second = use_backend("reference"), use_backend("native")
    first.__enter__()
    second.__enter__()
    assert dispatch.requested() == "native"
    first.__exit__(None, None, None)
    assert dispatch.requested() == "native"
    second.__exit__(None, None, None)
    assert dispatch.requested() is None


@pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")
def test_a_backward_without_a_kernel_uses_the_reference() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    with use_backend("native"):
        functional.bias_act(x, activation="tanh").sum().backward()
    torch.testing.assert_close(x.grad, 1 - x.detach().tanh().square())


def test_the_reason_for_an_unusable_compiled_module(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("libgomp.so.1: no such file")

    monkeypatch.setattr(dispatch, "native_module", broken)
    dispatch._why_not_native.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "digan_fast"):
            assert backends()["native"] == "the compiled module cannot be used: libgomp.so.1: no such file"
        assert "libgomp" in caplog.text
        assert dispatch.select("bias_act", torch.zeros(1, 1), None, 1, "linear", 1.0, None)[0] == "reference"
    finally:
        dispatch._why_not_native.cache_clear()


def test_unknown_names_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="use_backend: unknown backend 'tpu'"), use_backend("tpu"):
        pass
    monkeypatch.setenv("DIGAN_FAST_BACKEND", "tpu")
    with pytest.raises(ValueError, match="DIGAN_FAST_BACKEND: unknown backend 'tpu'"):
        functional.bias_act(torch.zeros(1, 1))


def test_the_environment_variable_selects_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGAN_FAST_BACKEND", "reference")
    assert dispatch.select("bias_act", torch.zeros(1, 1), None, 1, "linear", 1.0, None)[0] == "reference"
    with use_backend("native"):
        assert dispatch.requested() == "native"


def test_importing_is_light() -> None:
    """Importing loads no kernel, device or optional library, and torch only at the first use."""
    heavy = ["av", "PIL", "yaml", "tyro", "safetensors", "triton", "matplotlib"]
    script = f"import sys, digan_fast; print([name for name in {[*heavy, 'torch', 'numpy']} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    script = (
        "import sys, torch; from digan_fast import Generator, VideoINR, load;"
        f"print([name for name in {[*heavy, 'digan_fast._C', 'digan_fast.kernels']} if name in sys.modules],"
        " torch.cuda.is_initialized())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] False"
