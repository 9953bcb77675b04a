"""The second study: the architecture of an earlier sparse network, retrained from scratch in one phase."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trainer.objectives.growl import row_matrix
from trainer.pack.device import Place
from trainer.problems.problem import Problem
from trainer.training.checkpoint import State
from trainer.training.trial import TrialSpec
from trainer.training.two_phase import TwoPhase


class FixedArchitecture(TwoPhase):
    """WC-AL over the tasks that starts from the initial network and keeps the suppressed rows of another network at zero; nothing is tied.

    Args:
        specs, problem, place, state: as for `TwoPhase`; k0 = 0.
        given: parameters of the sparse network; its zero rows are the masks.

    Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, appendix B.
    """

    def __init__(
        self, specs: Sequence[TrialSpec], problem: Problem, place: Place, state: State | None, given: Mapping[str, Tensor]
    ) -> None:
        super().__init__(specs, problem, place)
        masks = {}
        for name, layer in self.structure.layers.items():
            if given[name].shape != layer.weight.shape[1:]:
                raise ValueError(f"{name}: shape {tuple(layer.weight.shape[1:])} expected of the sparse network, found {given[name].shape}")
            mask = (row_matrix(given[name][None])[0] != 0).any(dim=1).to(self._device)
            masks[name] = mask.expand(len(specs), -1)
        self.structure.load(masks)
        self.structure.enforce()
        self._begin(0)  # until an epoch is better, the initial sparse model is kept
        if state is not None:
            self._load(state)

    @classmethod
    def _sizes_of_groups(cls, network: nn.Module, spec: TrialSpec, problem: Problem) -> Mapping[str, int]:
        """Return no groups, since the rows of the sparse network determine the masks."""
        return {}
