"""Which input units of a Linear layer are positions of the same channel."""

from torch import Tensor, nn

from trainer.compression.program import INPUT, Step, Stored, Value, inputs_of
from trainer.compression.rules import Flattened, Paired, Unitwise, rule_of
from trainer.compression.trace import fold, trace
from trainer.compression.units import Units


def positions_of_channels(network: nn.Module, sample: Tensor) -> dict[str, int]:
    """Count the positions of the channels that each Linear layer reads, if no operator between the flattening and the layer mixes units.

    Args:
        network: as for `trace`.
        sample: shape (n, *input_shape), n >= 2.

    Returns:
        Weight name -> height x width of the channels, for layers that read flattened channels of more than one position.

    Raises:
        NotTraceableError: the network's steps cannot be listed.
    """
    program = fold(trace(network, sample))
    units = {INPUT: Units.free(program.input_shape)} if program.input_shape else {}
    positions: dict[str, int] = {}
    of_weights: dict[str, int] = {}
    for step in program.steps:
        rule, known = rule_of(step, units, program.tensors)
        if known is not None:
            units[step.name] = known
        sources = inputs_of(step)
        if isinstance(rule, Flattened) and units[sources[0]].n_places > 1:
            positions[step.name] = units[sources[0]].n_places
        elif isinstance(rule, Flattened | Unitwise | Paired) and len({positions.get(source) for source in sources} - {None}) == 1:
            positions[step.name] = next(positions[source] for source in sources if source in positions)
        elif (weight := _linear_weight(step)) is not None and sources[0] in positions:
            of_weights[weight] = positions[sources[0]]
    return of_weights


def _linear_weight(step: Step) -> str | None:
    is_linear = step.op == "aten.linear.default" and isinstance(step.args[0], Value)
    return step.args[1].name if is_linear and isinstance(step.args[1], Stored) else None
