"""The neural random field: an energy over an image and layers of latents.

    E(s) = sum_l [ |s_l|^2 / 2 - <b_l, s_l> - <s_l, f_l({rho(s_j)})> / 2 ]

`f_l` is a small network of the layers that `l` reads and `rho` clips to the box. Nothing is
symmetric: the energy is what makes the dynamics conservative.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bioviz_core.bridge.torch import TorchModel
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Refusal
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.parametrizations import weight_norm

from bioviz_nrf.architecture import ArchConfig, FieldConfig, architectures, load_architecture
from bioviz_nrf.errors import ShapeError
from bioviz_nrf.gradients.autograd import from_energy
from bioviz_nrf.sampling.bounds import Bounds
from bioviz_nrf.sampling.kernels import Clamp, SamplerConfig
from bioviz_nrf.sampling.sample import advance

HIDDEN = 64
"""Units between the fully connected sources and a layer."""


class NRF(TorchModel):
    """A field by the name of its architecture, its TOML file, or the same as a mapping.

    Calling it answers images with the latents at the end of a noiseless descent of `relax_steps`
    from zero, the image held. `data_range` is the range of the images given, which are mapped to
    the box of the architecture; an image outside of it is an error.
    """

    def __init__(
        self,
        architecture: str | Path | Mapping[str, Any] | ArchConfig = "digits-2l",
        *,
        data_range: tuple[float, float] = (0.0, 1.0),
        relax_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        config = (
            architecture
            if isinstance(architecture, ArchConfig)
            else load_architecture(architecture)
        )
        self.config, self.data_range, self.relax_steps = config, data_range, relax_steps
        self.names = ("image", *(f"latent{index}" for index in range(1, len(config.layers))))
        self.domain: Bounds | None = config.domain
        # torch's initializers know only the global generator: it is as before afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fields = nn.ModuleList(
                FieldNetwork(config, index) for index in range(len(config.layers))
            )
        self.biases = nn.ParameterList(torch.zeros(shape) for shape in config.layers)

    def states(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """The images in the box, and latents of zero (its nearest point)."""
        shape = self.config.layers[0]
        if inputs.dim() != 4 or tuple(inputs.shape[1:]) != shape:
            raise ShapeError(f"images must be (chains, *{shape}), got {tuple(inputs.shape)}")
        low, high = self.data_range
        if not bool(((inputs >= low) & (inputs <= high)).all()):
            raise ShapeError(
                f"images must lie in data_range {self.data_range}, got "
                f"[{float(inputs.min()):.4g}, {float(inputs.max()):.4g}]"
            )
        found = {"image": self.to_domain(inputs)}
        zero = min(max(0.0, self.config.low), self.config.high)
        for name, shape in zip(self.names[1:], self.config.layers[1:], strict=True):
            found[name] = inputs.new_full((len(inputs), *shape), zero)
        return found

    def to_domain(self, images: Tensor) -> Tensor:
        """Images of `data_range` as states of the box."""
        low, high = self.data_range
        width = self.config.high - self.config.low
        return self.config.low + (images - low) / (high - low) * width

    def to_images(self, states: Tensor) -> Tensor:
        """States of the box as images of `data_range`: the inverse of `to_domain`."""
        low, high = self.data_range
        width = self.config.high - self.config.low
        return low + (states - self.config.low) / width * (high - low)

    def energy(self, states: Mapping[str, Tensor], /) -> Tensor:
        """One number per chain."""
        parts = self.layer_energies(states).values()
        return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)

    def layer_energies(self, states: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """What each unit adds to the energy: `s^2 / 2 - b s - s f / 2`."""
        if tuple(states) != self.names:
            raise ShapeError(f"states must be {self.names}, got {tuple(states)}")
        every = [states[name] for name in self.names]
        rates = [self._rate(state) for state in every]
        found = {}
        for name, state, bias, field in zip(
            self.names, every, self.biases, self.fields, strict=True
        ):
            found[name] = state.square() / 2 - bias * state - state * field(rates) / 2
        return found

    def _rate(self, state: Tensor) -> Tensor:
        """`rho`: the state in the box. Its slope is 1 on the walls too, where clamp's is 0."""
        low, high = self.config.low, self.config.high
        inside = (state >= low) & (state <= high)
        return torch.where(inside, state, state.detach().clamp(low, high))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Latents by name, after the descent."""
        settings = SamplerConfig(self.relax_steps, temperature=0.0, scheme="sgld")
        kernel = settings.kernel(
            from_energy(self.energy), bounds=self.domain, clamp=Clamp(("image",))
        )
        generator = torch.Generator(images.device)
        state = kernel.init(self.states(images), generator=generator)
        state, _ = advance(kernel, state, steps=settings.steps)
        return {name: state.position[name] for name in self.names[1:]}

    def activations(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """The latents, from the image upwards."""
        return {name: value.clone() for name, value in self(inputs).items()}


class FieldNetwork(nn.Module):
    """`f_l`: what the other layers say to one; the sum of a convolutional and a connected part.

    Convolutional: per source a convolution to `base_channels`, resized to the layer and activated;
    concatenated, then `1 x 1` and `main_kernel` convolutions with nothing in between. Connected:
    the sources flattened, through 64 units, to every unit of the layer.
    """

    def __init__(self, config: ArchConfig, index: int) -> None:
        super().__init__()
        field: FieldConfig = config.fields[index]
        self.shape = config.layers[index]
        self.convolved, self.connected = field.convolved, field.connected
        self.activation = _ACTIVATIONS[config.activation]()
        normed = weight_norm if config.weight_norm else _as_it_is
        base = config.base_channels
        self.bases = nn.ModuleDict()
        for j in field.convolved:
            convolution = nn.Conv2d(config.layers[j][0], base, field.sources[j], padding="same")
            self.bases[str(j)] = normed(convolution)
        if field.convolved:
            assert field.main_kernel is not None  # as the architecture made sure
            self.mix = nn.Conv2d(base * len(field.convolved), base, 1)
            self.main = nn.Conv2d(base, self.shape[0], field.main_kernel, padding="same")
        if field.connected:
            sizes = [_size(config.layers[j]) for j in field.connected]
            self.hidden = normed(nn.Linear(sum(sizes), HIDDEN))
            self.spread = nn.Linear(HIDDEN, _size(self.shape))

    def forward(self, rates: list[Tensor]) -> Tensor:
        """`(chains, *shape)` from the rates of all layers."""
        parts = []
        if self.convolved:
            maps = []
            for j in self.convolved:
                read = self.bases[str(j)](rates[j])
                if read.shape[-2:] != self.shape[-2:]:
                    read = interpolate(read, size=self.shape[-2:], mode="nearest")
                maps.append(self.activation(read))
            parts.append(self.main(self.mix(torch.cat(maps, dim=1))))
        if self.connected:
            flat = torch.cat([rates[j].flatten(1) for j in self.connected], dim=1)
            told = self.spread(self.activation(self.hidden(flat)))
            parts.append(told.unflatten(1, self.shape))
        return torch.stack(parts).sum(0)


def for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """The first architecture for images of this shape, and their range."""
    images = fields["inputs"]
    known = {load_architecture(name).layers[0]: name for name in reversed(architectures())}
    if images.shape not in known:
        why = f"there are architectures for images of {[*known]}, inputs are {images.shape}"
        raise IncompatibleError([Refusal("data", "inputs", why)])
    limits = (images.low, images.high)
    return {"architecture": known[images.shape], "data_range": None if None in limits else limits}


_ACTIVATIONS = {"silu": nn.SiLU, "leaky_relu": nn.LeakyReLU, "relu": nn.ReLU}


def _as_it_is(module: nn.Module) -> nn.Module:
    return module


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
