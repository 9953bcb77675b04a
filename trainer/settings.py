"""Every constant of the methods, with its default, its rule and its source.

The settings are plain frozen dataclasses, so that the trainer needs no package but torch. A rule such as `Range(gt=0)` is part of
the annotation: the dataclass checks it in `__post_init__`, and pydantic (which the grid file uses) reads the same object
for its error messages and for the JSON Schema. This module imports neither torch nor numpy.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_type_hints


@dataclass(frozen=True)
class Range:
    """A closed or open interval that a number must lie in."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def broken_rule(self, value: float) -> str | None:
        """Return the rule that `value` breaks, in words, or None."""
        if not math.isfinite(value):
            return "a finite number"
        rules = (
            (self.ge, value >= (self.ge or 0), ">="),
            (self.gt, value > (self.gt or 0), ">"),
            (self.le, value <= (self.le or 0), "<="),
            (self.lt, value < (self.lt or 0), "<"),
        )
        return next((f"a number {sign} {bound}" for bound, holds, sign in rules if bound is not None and not holds), None)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Give pydantic the same bounds (its documented protocol; pydantic itself is not imported here)."""
        bounds = {name: bound for name in ("ge", "gt", "le", "lt") if (bound := getattr(self, name)) is not None}
        return handler(source) | bounds | ({"allow_inf_nan": False} if source is float else {})


class Checked:
    """Base of the settings: checks each annotated range when an object is created in Python."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for item in fields(self):  # type: ignore[arg-type]
            for rule in _rules(hints[item.name]):
                given = getattr(self, item.name)
                for value in given if isinstance(given, tuple) else (given,):
                    broken = rule.broken_rule(value) if isinstance(rule, Range) and value is not None else None
                    if broken:
                        raise ValueError(f"{type(self).__name__} expects {item.name} to be {broken}, found {item.name} = {value}")


def _rules(hint: Any) -> tuple[Any, ...]:
    """Return the rules of an annotation, or of the alternatives of `X | None`."""
    return (*getattr(hint, "__metadata__", ()), *(rule for choice in getattr(hint, "__args__", ()) for rule in _rules(choice)))


PAPER_PENALTY = 2.5e-8
"""The paper's mu_0 for MultiMNIST; it makes the penalty vanish, so its Lagrangian is a weighted sum."""

PositiveInt = Annotated[int, Range(ge=1)]
Fraction = Annotated[float, Range(ge=0, le=1)]


@dataclass(frozen=True)
class LagrangianSettings(Checked):
    """The augmented Lagrangian of the Chebyshev problem (multipliers and penalty)."""

    penalty: Annotated[float, Range(gt=0)] | None = None
    """mu_0, the penalty of the first outer iteration; default 1, and the paper's 2.5e-8 for `scalarization: paper`."""
    penalty_growth: Annotated[float, Range(ge=1)] = 2.0
    """rho: factor on the penalty after each outer iteration."""
    penalty_max: Annotated[float, Range(gt=0)] = 64.0
    """mu_max: the penalty never grows beyond it."""
    mean_decay: Annotated[float, Range(ge=0, lt=1)] = 0.95
    """Decay of the running mean of the weighted values that the step's weights are computed from."""

    def start_penalty(self, scalarization: str) -> float:
        """Return mu_0, or its default where it is None."""
        return self.penalty if self.penalty is not None else PAPER_PENALTY if scalarization == "paper" else 1.0


@dataclass(frozen=True)
class SparsifySettings(Checked):
    """Phase 1: sparsify."""

    outer_iterations: PositiveInt = 3
    """M1: multiplier updates in phase 1."""
    epochs: PositiveInt = 3
    """s: epochs in each outer iteration."""


@dataclass(frozen=True)
class RetrainSettings(Checked):
    """Phase 2: retrain with fixed masks and tied rows."""

    outer_iterations: Annotated[int, Range(ge=0)] = 10
    """M2: multiplier updates in phase 2; 0 omits phase 2 and the tying."""
    epochs: PositiveInt = 3
    """s: epochs in each outer iteration."""
    objectives: Literal["tasks", "all"] = "tasks"
    """`tasks`: the preference renormalised over the tasks; `all` keeps the sparsity objective (its multiplier then runs to 1)."""


@dataclass(frozen=True)
class GrowlSettings(Checked):
    """The group ordered weighted l1 penalty and how hard it may prune."""

    pattern: Literal["spike", "linear", "pld"] = "spike"
    """`spike`: the largest row has the weight beta1 + beta2, the others beta2; `linear` (OSCAR): the weights decrease evenly from
    beta1 + beta2 to beta2; `pld` (piecewise linear decay): they decrease over the first `pld_share` of the rows, then stay at beta2."""
    pld_share: Annotated[float, Range(gt=0, le=1)] = 0.5
    """Share of the rows over which the weights of the pattern `pld` decrease."""
    beta1: Annotated[float, Range(ge=0)] = 0.8
    """Weight of the ordered part; unit: loss per unit of row norm."""
    beta2: Annotated[float, Range(ge=0)] = 0.2
    """Weight of every row; unit: loss per unit of row norm."""
    groups: Literal["unit", "channel"] = "unit"
    """One row of a Linear layer that reads flattened channels: a single position (`unit`), or all positions of a channel (`channel`), so
    that whole channels are removed (docs/compress.md)."""
    removal: Literal["prox", "balance"] = "prox"
    """How phase 1 removes rows. `prox`: rows shrink by the proximal operator, and those that reach zero are removed. `balance`: before each
    epoch, the shortest rows of each layer are removed until the weighted sparsity objective is no larger than the largest weighted task
    loss, so that k0 places the trial on the front; `prox`, `step_rule` and `masks` then have no effect (docs/method.md)."""
    prox: Literal["epoch", "step"] = "epoch"
    """When rows are shrunk: at the end of each epoch, or after each optimizer step."""
    step_rule: Literal["layer_rms", "row_rms", "row_rms_root", "plain"] = "layer_rms"
    """How the prox's step follows Adam (trainer/objectives/prox_step.py); with SGD the step is always `plain`, which is exact."""
    masks: Literal["epoch", "phase"] = "epoch"
    """When suppressed rows are fixed at zero: at the end of each epoch, or at the end of phase 1; until then gradients can revive them."""
    layer_sparsity_max: Annotated[float, Range(ge=0, lt=1)] = 0.8
    """s_lmax: the largest share of its rows that a layer may lose in phase 1; in one epoch it loses at most an equal part of that."""
    sparsity_min: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """s_min: phase 1 prefers models whose sparsity rate reaches it."""


@dataclass(frozen=True)
class TyingSettings(Checked):
    """Affinity propagation over the rows that survive phase 1."""

    preference: Annotated[float, Range(ge=-1, le=1)] = 0.7
    """Self-similarity of a row: higher makes more clusters (the paper: 0.7 on MultiMNIST, 0.8 on Cifar10Mnist)."""
    damping: Annotated[float, Range(ge=0.5, lt=1)] = 0.7
    """Damping of the messages; raised once, to 0.95, when a component does not converge."""
    max_iterations: PositiveInt = 500
    """Message rounds before a component counts as not converged."""


@dataclass(frozen=True)
class LsuvSettings(Checked):
    """Layer-sequential unit-variance initialisation (Mishkin and Matas 2016)."""

    tolerance: Annotated[float, Range(gt=0)] = 0.1
    """A layer has converged when the standard deviation of its output is this close to 1."""
    max_tries: PositiveInt = 10
    """Rescalings of one layer."""
    n_samples: PositiveInt = 1000
    """Training samples on which the deviation is measured."""


@dataclass(frozen=True)
class OnePhaseSettings(Checked):
    """The schedule of the methods that neither sparsify nor tie: stl, mgda, kdmtl, epo, cosmos."""

    epochs: PositiveInt = 100
    """Epochs of the training."""
    decay_every: PositiveInt = 30
    """Epochs between two decays of the learning rate by `learning_rate_decay`."""
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Momentum of stochastic gradient descent; Adam has its own."""


@dataclass(frozen=True)
class DistillationSettings(Checked):
    """Knowledge distillation (method kdmtl): how strongly the shared features are drawn to those of each task's teacher."""

    weights: tuple[Annotated[float, Range(ge=0)], ...] = ()
    """Weights of the squared distances, one for each task, beside the task losses, whose weight is 1; empty: 0.025 for each task."""
    adaptor_learning_rate: Annotated[float, Range(gt=0)] = 1e-4
    """Learning rate of the adaptors, which Adam trains."""
    adaptor_weight_decay: Annotated[float, Range(ge=0)] = 5e-4
    """Weight decay of the adaptors."""


@dataclass(frozen=True)
class CosmosSettings(Checked):
    """One network for all preferences (method cosmos)."""

    concentration: Annotated[float, Range(gt=0)] = 1.2
    """Parameter of the Dirichlet distribution that each minibatch's preference is drawn from; 1 is uniform, more is central."""
    cosine: Annotated[float, Range(ge=0)] = 2.0
    """Weight of the cosine between the losses and the ray on which all weighted losses are equal; it spreads the front."""


@dataclass(frozen=True)
class EvolutionSettings(Checked):
    """Evolution of the weights themselves (method moead)."""

    generations: PositiveInt = 100
    """Generations, each with one new individual for each preference vector."""
    radius: Annotated[float, Range(gt=0)] = 0.5
    """How far a weight may move from its initial value, in standard deviations of its tensor."""
    n_samples: PositiveInt = 2048
    """Training samples on which an individual is measured, the same for all."""


@dataclass(frozen=True)
class TrainingSettings(Checked):
    """All constants of one trial's training. Each method reads some of them (`trainer.catalog.MethodEntry.reads`)."""

    batch_size: PositiveInt = 256
    """Samples in each step."""
    learning_rate: Annotated[float, Range(gt=0)] = 2.5e-3
    """The optimizer's learning rate in the first outer iteration of each phase."""
    learning_rate_decay: Annotated[float, Range(gt=0, le=1)] = 0.5
    """Factor on the learning rate after each outer iteration, or every `one_phase.decay_every` epochs."""
    data_share: Annotated[float, Range(gt=0, le=1)] = 1.0
    """Share of the training data that is used, from the first sample; for a search over settings on a part of the data."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """`adam`, or `sgd` (stochastic gradient descent), with which the prox of each step is exact (no momentum where there is a prox)."""
    scalarization: Literal["chebyshev_al", "weighted_sum", "smooth_chebyshev", "paper"] = "chebyshev_al"
    """How the weighted objectives are combined into one: augmented Lagrangian of the Chebyshev problem, plain mean, softmax, or the
    paper's Lagrangian for equalities with a learned t."""
    augmentation: Annotated[float, Range(ge=0)] = 1e-4
    """e of the modified Chebyshev form; above 0 every minimiser is Pareto optimal, at 0 only weakly."""
    selection: Literal["scalarized", "accuracy"] = "scalarized"
    """The epoch that is kept: the one with the least scalarised validation value (without a preference: the least mean validation loss),
    or with the highest mean validation accuracy (the paper's rule)."""
    warm_start: Literal["none", "neighbour"] = "none"
    """The network that a sparse trial (k0 > 0) starts from: the initial one (`none`), or the trained network of the dense trial (k0 = 0) of
    the same seed with the nearest task weights (`neighbour`), in its own study or in one that it comes after. With a warm start a trial
    prunes more at the same k0, and needs fewer epochs."""
    lagrangian: LagrangianSettings = field(default_factory=LagrangianSettings)
    sparsify: SparsifySettings = field(default_factory=SparsifySettings)
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    growl: GrowlSettings = field(default_factory=GrowlSettings)
    tying: TyingSettings = field(default_factory=TyingSettings)
    lsuv: LsuvSettings = field(default_factory=LsuvSettings)
    one_phase: OnePhaseSettings = field(default_factory=OnePhaseSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    cosmos: CosmosSettings = field(default_factory=CosmosSettings)
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)
