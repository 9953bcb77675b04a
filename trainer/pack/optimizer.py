"""Adam or stochastic gradient descent over a pack, whose moments can be read, stored and restored."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.pack.loop import Pack

_ADAM_BETA2 = 0.999


@dataclass(frozen=True)
class ParameterGroup:
    """A group of parameters with a separate learning rate and weight decay."""

    prefix: str
    """The prefix of the parameters' names."""
    learning_rate: float
    """The learning rate of the first step; it decreases by the same factors as that of the other parameters."""
    weight_decay: float


class PackOptimiser:
    """One optimizer for all models of a pack.

    Args:
        kind: `adam` or `sgd`.
        pack: the pack whose parameters are optimized.
        learning_rate: the learning rate of the first step.
        momentum: the momentum of `sgd`.
        group: parameters with a separate learning rate and weight decay, if any.
    """

    def __init__(self, kind: str, pack: Pack, learning_rate: float, momentum: float = 0.0, group: ParameterGroup | None = None) -> None:
        self._pack = pack
        self._learning_rate = learning_rate
        own = [name for name in pack.parameters if group is not None and name.startswith(group.prefix)]
        groups = [{"params": self._tensors([name for name in pack.parameters if name not in own]), "lr": learning_rate}]
        if group is not None and own:
            groups.append({"params": self._tensors(own), "lr": group.learning_rate, "weight_decay": group.weight_decay})
        self._first_rates = [float(one["lr"]) for one in groups]  # type: ignore[arg-type]
        if pack.is_on_gpu:  # a recorded step reads the rate from the device; torch's fused kernels expect it in float32
            device = next(iter(pack.parameters.values())).device
            groups = [one | {"lr": torch.tensor(one["lr"], dtype=torch.float32, device=device)} for one in groups]
        if kind == "adam":
            self._kinds: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
            self._optimiser: torch.optim.Optimizer = torch.optim.Adam(groups, fused=True, capturable=pack.is_on_gpu)
        else:
            self._kinds = ("momentum_buffer",) if momentum else ()
            self._optimiser = torch.optim.SGD(groups, momentum=momentum, fused=True)

    def _tensors(self, names: list[str]) -> list[Tensor]:
        return [tensor for name in names for tensor in self._pack.optimised(name)]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next steps; that of the separate parameter group changes by the same factor."""
        for group, first in zip(self._optimiser.param_groups, self._first_rates, strict=True):
            rate = learning_rate if first == self._learning_rate else first * learning_rate / self._learning_rate
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @property
    def learning_rate(self) -> float | Tensor:
        """The learning rate of the next step: a number on a CPU, and on a GPU always the same tensor, which a recorded step reads."""
        rate: float | Tensor = self._optimiser.param_groups[0]["lr"]
        return rate

    def step(self) -> None:
        """Update the parameters by their gradients."""
        self._optimiser.step()

    @property
    def n_steps(self) -> float:
        """The number of steps of Adam so far; 0 for stochastic gradient descent, which does not count them."""
        return next((float(moments["step"]) for moments in self._optimiser.state.values() if "step" in moments), 0.0)

    @property
    def correction(self) -> float:
        """The bias of Adam's second moments, 1 - beta2^t."""
        return 1 - float(_ADAM_BETA2**self.n_steps)

    def second_moments(self, name: str) -> list[Tensor]:
        """Return Adam's uncorrected second moments of a parameter, one tensor for each model, not copied."""
        moments = [self._optimiser.state[tensor]["exp_avg_sq"] for tensor in self._pack.optimised(name)]
        return list(moments[0].unbind(0)) if self._pack.is_stacked else moments

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Return kind (`exp_avg`, `exp_avg_sq` or `momentum_buffer`) -> name -> stacked moments; without names before the first step."""
        state, has_moved = self._optimiser.state, bool(self._optimiser.state)
        return {
            kind: {
                name: self._pack.stack([state[tensor][kind] for tensor in self._pack.optimised(name)])
                for name in self._pack.parameters
                if has_moved
            }
            for kind in self._kinds
        }

    def load(self, moments: Mapping[str, Mapping[str, Tensor]], n_steps: float) -> None:
        """Restore earlier values of `moments` and `n_steps`."""
        for kind in self._kinds:
            for name, stacked in moments[kind].items():
                for tensor, piece in zip(self._pack.optimised(name), self._pack.pieces(stacked), strict=True):
                    self._optimiser.state[tensor][kind] = torch.empty_like(tensor).copy_(piece)
                    if n_steps:
                        self._optimiser.state[tensor]["step"] = torch.tensor(
                            n_steps, device=tensor.device if self._pack.is_on_gpu else None
                        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of moments that `moments` returns and `load` expects."""
        return self._kinds
