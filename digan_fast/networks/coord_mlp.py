"""``CoordMLP``: the parameters of coordinate MLPs, one or many, evaluated by ``functional.coord_mlp``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from digan_fast import functional
from digan_fast.mlp_options import checked_activation, checked_omega, checked_precision


class _Linear(nn.Module):
    """The parameters of ``torch.nn.Linear``, or of one for each weight set."""

    def __init__(self, sets: int | None, inputs: int, outputs: int) -> None:
        super().__init__()
        leading = () if sets is None else (sets,)
        self.weight = nn.Parameter(torch.empty(*leading, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(*leading, outputs))

    def extra_repr(self) -> str:
        return f"weight={list(self.weight.shape)}, bias={list(self.bias.shape)}"


class CoordMLP(nn.Module):
    """A coordinate MLP of D inputs and O outputs with ``hidden`` layers of ``width``; with ``sets`` as many at once.

    The state dict has the names of ``torch.nn.Linear`` modules in a list, ``layers.0.weight`` [O, I], ``layers.0.bias``
    [O] and so on, with ``sets`` [B, O, I] and [B, O], as ``torch.func.stack_module_state`` gives them.  ``frequency``
    [K, D], in radians per unit, puts Fourier features before the layers: a parameter if it is one, else a buffer, a
    copy unless it requires a gradient.  Layers in ``skips`` also read the network's input.

    Initial weights of sines are those of SIREN (arXiv 2006.09661, section 3.2): uniform within 1/I of the coordinates,
    √(6/I)/ω after; of other activations within √(6/I).  ``precision`` is an attribute, as for ``coord_mlp``.
    """

    def __init__(
        self,
        dimensions: int,
        outputs: int,
        width: int = 256,
        hidden: int = 3,
        *,
        sets: int | None = None,
        activation: str = "sine",
        omega: float | None = None,
        frequency: Tensor | None = None,
        skips: Iterable[int] = (),
        precision: str = "float32",
    ) -> None:
        """omega: of every hidden layer; 30 for sines by default, else 1.

        Raises ValueError, naming the argument, for an extent below 1, a skip to no layer after the first, and an
        activation, omega, frequency or precision that ``coord_mlp`` does not take.
        """
        super().__init__()
        extents = {"dimensions": dimensions, "outputs": outputs, "width": width, "hidden": hidden}
        for name, extent in (extents | ({} if sets is None else {"sets": sets})).items():
            if extent < 1:
                raise ValueError(f"{name}: {extent}, expected 1 or more")
        skips = list(skips)
        if bad := [layer for layer in skips if layer not in range(1, hidden + 1)]:
            raise ValueError(f"skips: {bad[0]}, expected layers from 1 to {hidden}")
        self.activation, self.skips = checked_activation(activation), frozenset(map(int, skips))
        self.precision = checked_precision(precision)
        self.omega = checked_omega((30.0 if activation == "sine" else 1.0) if omega is None else omega)
        if self.omega == 0:
            raise ValueError("omega: 0, expected another number")
        if frequency is not None and (frequency.ndim != 2 or frequency.shape[1] != dimensions):
            raise ValueError(f"frequency: shape {tuple(frequency.shape)}, expected [K, {dimensions}]")
        if isinstance(frequency, nn.Parameter):
            self.frequency = frequency
        else:
            if frequency is not None and not frequency.requires_grad:
                frequency = frequency.clone()
            self.register_buffer("frequency", frequency)
        features = dimensions if frequency is None else 2 * len(frequency)
        widths = [features, *[width] * hidden]
        self.layers = nn.ModuleList(
            _Linear(sets, inputs + (features if i in self.skips else 0), outputs if i == hidden else width)
            for i, inputs in enumerate(widths)
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        for i, layer in enumerate(self._linears()):
            inputs = layer.weight.shape[-1]
            bound = math.sqrt(6 / inputs)
            if self.activation == "sine":
                bound = 1 / inputs if i == 0 and self.frequency is None else bound / abs(self.omega)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)

    def _linears(self) -> list[_Linear]:
        return cast("list[_Linear]", list(self.layers))

    def forward(self, coordinates: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """[B, N, O] at coordinates [N, D] or [B, N, D]; without ``sets`` [N, O] at [N, D], if nothing has a B.

        ``scale`` and ``shift`` [B, hidden, width] modulate the hidden layers: act(ω·(γ∘(W·u + b) + β)).
        """
        linears = self._linears()
        hidden = len(linears) - 1
        for name, modulation in (("scale", scale), ("shift", shift)):
            if modulation is not None and (modulation.ndim != 3 or modulation.shape[1] != hidden):
                shape = tuple(modulation.shape)
                raise ValueError(f"{name}: shape {shape}, expected [B, {hidden}, {linears[0].weight.shape[-2]}]")
        layers = [
            functional.MLPLayer(
                layer.weight,
                layer.bias,
                self.activation if i < hidden else "linear",
                self.omega if i < hidden else 1.0,
                None if scale is None or i == hidden else scale[:, i],
                None if shift is None or i == hidden else shift[:, i],
                skip=i in self.skips,
            )
            for i, layer in enumerate(linears)
        ]
        frequency: Tensor | None = self.frequency
        out = functional.coord_mlp(coordinates, layers, frequency, precision=self.precision)
        single = coordinates.ndim == 2 and linears[0].weight.ndim == 2 and scale is None and shift is None
        return out[0] if single else out
