"""Forward-mode derivatives and the transforms of torch.func, for every op, rendering, and the networks."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap

from digan_fast import Discriminator, Generator, dispatch, functional, use_backend
from digan_fast.networks.config import coordinate_config

CFG = coordinate_config(8, 4, 2, None, 16)
Function = Callable[[Tensor], Tensor]


def generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    options = {"channel_base": 64, "channel_max": 8}
    G = Generator(z_dim=8, w_dim=8, img_resolution=16, synthesis_kwargs=options, cfg=CFG)
    return G.eval().requires_grad_(False)


def cases() -> dict[str, tuple[Function, Tensor]]:
    """Functions of one tensor and where to differentiate them; each works in the tensor's type."""
    torch.manual_seed(0)
    x, W, M = torch.randn(1, 5, 3), torch.randn(1, 4, 3), torch.randn(4, 3)
    R, F, C, taps = torch.randn(1, 2, 3), torch.randn(1, 3, 2), torch.randn(1, 4, 6), torch.ones(4, 4) / 16
    base, last = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 1, 4)
    D = Discriminator(img_resolution=16, channel_base=64, channel_max=8).requires_grad_(False)
    Gs = {torch.float32: generator(), torch.float64: generator().double()}
    Ds = {torch.float32: D, torch.float64: copy.deepcopy(D).double()}
    G = Gs[torch.float32]
    z, motion, ws = torch.randn(1, 8), torch.randn(1, 8), torch.randn(1, G.num_ws, 8)
    times = torch.tensor([0.25, 0.5])

    return {
        "linear_act": (lambda t: functional.linear_act(t, W.to(t), None, "lrelu", clamp=2.0), x),
        "linear_act by weight": (lambda t: functional.linear_act(x.to(t), t, torch.ones(4).to(t), "sine"), W),
        "bias_act": (lambda t: functional.bias_act(t, torch.ones(5).to(t), 1, "swish"), x),
        "bias_act by bias": (lambda t: functional.bias_act(x.to(t), t, 1, "softplus"), torch.randn(5)),
        "fmm_weights": (lambda t: functional.fmm_weights(M.to(t), t, R.to(t)), torch.randn(1, 4, 2)),
        "upfirdn2d": (lambda t: functional.upfirdn2d(t, taps.to(t), 2, 1, (2, 1, 2, 1)), torch.randn(1, 2, 8, 8)),
        "coord_linear": (
            lambda t: functional.coord_linear(base.to(t), F.to(t), t, C.to(t), None, (8, 0, 0, 8, 8), "lrelu"),
            torch.randn(1, 2, 3),
        ),
        "coord_linear by frequency": (
            lambda t: functional.coord_linear(
                None, t, motion[:, :6].view(1, 2, 3).to(t), C.to(t), None, (8, 1, 0, 3, 8)
            ),
            F,
        ),
        "coord_mlp": (lambda t: functional.coord_mlp(t, functional.mlp_layers([W.to(t) * 3, last.to(t)])), x),
        "mapping": (lambda t: Gs[t.dtype].mapping(t, None, 0.7, 3), z),
        "render by times": (lambda t: Gs[t.dtype].synthesis.inr(ws.to(t), motion.to(t)).render(t), times),
        "render by ws": (lambda t: Gs[t.dtype].synthesis.inr(t, motion.to(t)).render(times, checkpoint=True), ws),
        "synthesis": (lambda t: Gs[t.dtype].synthesis(t, times.to(t).view(2, 1, 1, 1), motion.to(t)), ws),
        "discriminator": (lambda t: Ds[t.dtype].videoD(t, None), torch.randn(1, 7, 16, 16)),
    }


CASES = cases()


def numeric(f: Function, at: Tensor, v: Tensor) -> Tensor:
    """The directional derivative by central differences, in float64."""
    at, v, step = at.double(), v.double(), 1e-6
    return (f(at + step * v) - f(at - step * v)) / (2 * step)


def close(found: Tensor, wanted: Tensor, bound: float = 1e-4) -> bool:
    return float((found.double() - wanted).norm()) <= bound * float(wanted.norm())


def direction(at: Tensor) -> Tensor:
    return torch.randn(at.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CASES)
def test_forward_mode(name: str) -> None:
    f, at = CASES[name]
    v = direction(at)
    wanted = numeric(f, at, v)
    value, tangent = jvp(f, (at,), (v,))
    assert close(value, f(at.double()), 1e-5)
    assert close(tangent, wanted)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(f(forward_ad.make_dual(at, v))).tangent
        assert dual is not None
        assert close(dual, wanted)
    with forward_ad.dual_level(), torch.no_grad():
        dual = forward_ad.unpack_dual(f(forward_ad.make_dual(at, v))).tangent
        assert dual is not None, "forward-mode derivatives are independent of no_grad"
        assert close(dual, wanted)


@pytest.mark.parametrize("name", CASES)
def test_reverse_mode_of_torch_func(name: str) -> None:
    f, at = CASES[name]
    f(at)
    probe = torch.randn(f(at).shape, generator=torch.Generator().manual_seed(2))
    required = at.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((f(required) * probe).sum(), required)
    assert close(grad(lambda t: (f(t) * probe).sum())(at), wanted.double())
    rows = jacrev(lambda t: (f(t) * probe).sum().unsqueeze(0))(at)
    assert close(rows[0], wanted.double())


@pytest.mark.parametrize("name", CASES)
def test_vmap(name: str) -> None:
    f, at = CASES[name]
    batch = torch.stack([at, direction(at), at - 1])
    wanted = torch.stack([f(each) for each in batch])
    assert close(vmap(f)(batch), wanted.double(), 1e-5)


@pytest.mark.parametrize(
    "name", ["linear_act by weight", "bias_act", "fmm_weights", "coord_linear", "coord_mlp", "mapping"]
)
def test_second_derivatives(name: str) -> None:
    f, at = CASES[name]
    at = at.double()

    def scalar(t: Tensor) -> Tensor:
        return f(t).sin().sum()

    wanted = torch.autograd.functional.hessian(scalar, at)
    assert wanted.norm() > 0
    assert close(hessian(scalar)(at), wanted)
    assert close(jacfwd(grad(scalar))(at), wanted)
    assert close(torch.autograd.functional.hessian(scalar, at, vectorize=True), wanted)
    assert close(jacfwd(jacfwd(scalar))(at), wanted)


def test_an_ensemble_of_generators() -> None:
    generators = [generator(seed) for seed in range(3)]
    parameters, buffers = stack_module_state(generators)  # type: ignore[arg-type]
    z, motion, times = torch.randn(1, 8), torch.randn(1, 8), torch.linspace(0, 1, 4).view(-1, 1, 1, 1)

    class Whole(torch.nn.Module):
        def __init__(self, G: Generator) -> None:
            super().__init__()
            self.G = G

        def forward(self, z: Tensor) -> Tensor:
            return self.G.synthesis(self.G.mapping(z, None), times, motion)

    named = [{f"G.{key}": value.detach() for key, value in part.items()} for part in (parameters, buffers)]
    found = vmap(lambda p, b: functional_call(Whole(generators[0]), (p, b), (z,)))(*named)
    wanted = torch.stack([Whole(G)(z) for G in generators])
    assert close(found, wanted.double(), 1e-5)


def test_a_requested_backend_is_an_error() -> None:
    f, at = CASES["linear_act"]
    with use_backend("native"):
        with pytest.raises(dispatch.BackendUnavailable, match=r"linear_act.*native.*torch\.func"):
            jvp(f, (at,), (at,))
        with forward_ad.dual_level(), pytest.raises(dispatch.BackendUnavailable, match="forward-mode"):
            f(forward_ad.make_dual(at, at))
        assert close(jvp(f, (at.double(),), (at.double(),))[1], numeric(f, at, at)), "float64 takes the reference"
    with use_backend("reference"):
        assert close(jvp(f, (at,), (at,))[1], numeric(f, at, at))


def test_batched_gradients_of_a_graph_of_ops() -> None:
    f, at = CASES["coord_mlp"]
    at = at.clone().requires_grad_()
    out = f(at)
    probes = torch.randn(3, *out.shape)
    (found,) = torch.autograd.grad(out, at, probes, is_grads_batched=True)
    wanted = torch.stack([torch.autograd.grad(f(at), at, probe)[0] for probe in probes])
    assert close(found, wanted.double(), 1e-5)


def test_streams_and_int8_have_no_derivatives() -> None:
    inr = generator().inr(torch.randn(1, 8), None, torch.randn(1, 8))
    times = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="frames"):
        jvp(lambda t: next(inr.frames(t)), (times,), (times,))
    with pytest.raises(ValueError, match="int8"):
        jvp(lambda t: inr.render(t, precision="int8"), (times,), (times,))


@pytest.mark.parametrize("name", ["linear_act by weight", "coord_mlp", "render by times"])
def test_inside_a_compiled_function(name: str) -> None:
    """The traced graph contains the formulas: our ops in it would have zero tangents and gradients."""
    f, at = CASES[name]
    v = direction(at)

    def scalar(t: Tensor) -> Tensor:
        return f(t).sin().sum()

    def all_of_them(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return jvp(f, (t,), (v,))[1], grad(scalar)(t), vmap(f)(torch.stack([t, v]))

    torch._dynamo.reset()
    found = torch.compile(all_of_them, backend="aot_eager", fullgraph=True)(at)
    for one, wanted in zip(found, all_of_them(at), strict=True):
        assert close(one, wanted.double())
    assert close(found[0], numeric(f, at, v))


def test_transforms_of_a_compiled_function() -> None:
    f, at = CASES["linear_act by weight"]
    v = direction(at)
    torch._dynamo.reset()
    compiled = torch.compile(f, backend="aot_eager")
    assert close(jvp(compiled, (at,), (v,))[1], numeric(f, at, v))
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match="native"):
        jvp(torch.compile(f, backend="aot_eager"), (at,), (v,))


def test_ops_without_forward_mode_raise() -> None:
    x = torch.randn(2, 3)

    def op(t: Tensor) -> Tensor:
        return torch.ops.digan_fast.bias_act.default(t, None, 1, "lrelu", 1.0, None)

    with pytest.raises(RuntimeError, match="bias_act has no forward-mode derivative"):
        jvp(op, (x,), (x,))
    with forward_ad.dual_level():
        with pytest.raises(RuntimeError, match="bias_act has no forward-mode derivative"):
            op(forward_ad.make_dual(x, x))
        assert op(x).isfinite().all()


def test_unsupported_transforms_raise() -> None:
    G, z = generator().train(), torch.randn(2, 8)
    for transformed in (vmap(lambda t: G.mapping(t[None], None)), grad(lambda t: G.mapping(t, None).sum())):
        with pytest.raises(RuntimeError, match=r"skip_w_avg_update: .*evaluation mode"):
            transformed(z)
    assert jacrev(lambda t: G.mapping(t, None, skip_w_avg_update=True).sum())(z).norm() > 0
    G.eval()
    with pytest.raises(RuntimeError, match=r"timesteps: 2, .*G\.synthesis"):
        grad(lambda t: G(t, None, timesteps=2)[0].sum())(z)
    assert grad(lambda t: G(t, None, timesteps=4)[0].sum())(z).norm() > 0
