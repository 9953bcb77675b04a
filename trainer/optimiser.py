"""Adam or stochastic gradient descent over a pack, with moments that can be read, stored and taken up again."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.pack import Pack

_ADAM_BETA2 = 0.999


class PackOptimiser:
    """One optimiser for all models of a pack.

    Args:
        kind: `adam` or `sgd`.
        pack: whose parameters it moves.
        learning_rate: of the first step.
    """

    def __init__(self, kind: str, pack: Pack, learning_rate: float) -> None:
        self._pack = pack
        parameters = [tensor for name in pack.parameters for tensor in pack.optimised(name)]
        chosen = torch.optim.Adam if kind == "adam" else torch.optim.SGD
        self._optimiser: torch.optim.Optimizer = chosen(parameters, lr=learning_rate, fused=True)

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self._optimiser.param_groups[0]["lr"] = learning_rate

    def step(self) -> None:
        """Move the parameters by their gradients."""
        self._optimiser.step()

    @property
    def n_steps(self) -> float:
        """Adam's steps so far; 0 for stochastic gradient descent, which has no state."""
        return next((float(moments["step"]) for moments in self._optimiser.state.values() if "step" in moments), 0.0)

    @property
    def correction(self) -> float:
        """Bias of Adam's second moments, 1 - beta2^t."""
        return 1 - float(_ADAM_BETA2**self.n_steps)

    def second_moments(self, name: str) -> list[Tensor]:
        """Adam's raw second moments of a parameter, one tensor a model, not copied."""
        moments = [self._optimiser.state[tensor]["exp_avg_sq"] for tensor in self._pack.optimised(name)]
        return list(moments[0].unbind(0)) if self._pack.is_stacked else moments

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """`exp_avg` and `exp_avg_sq`, each stacked like the parameters; empty without a step of Adam."""
        state, names = self._optimiser.state, self._pack.parameters if self.n_steps else ()
        return {
            kind: {name: self._pack.stack([state[tensor][kind] for tensor in self._pack.optimised(name)]) for name in names}
            for kind in ("exp_avg", "exp_avg_sq")
        }

    def load(self, moments: Mapping[str, Mapping[str, Tensor]], n_steps: float) -> None:
        """Take over what `moments` and `n_steps` were."""
        for name, stacked in moments["exp_avg"].items():
            pieces = self._pack.pieces(stacked), self._pack.pieces(moments["exp_avg_sq"][name])
            for tensor, exp_avg, exp_avg_sq in zip(self._pack.optimised(name), *pieces, strict=True):
                self._optimiser.state[tensor] = {
                    "step": torch.tensor(n_steps),
                    "exp_avg": torch.empty_like(tensor).copy_(exp_avg),
                    "exp_avg_sq": torch.empty_like(tensor).copy_(exp_avg_sq),
                }
