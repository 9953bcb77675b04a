"""Notes for the reader of a row: observations that are not errors, but explain an unusual result."""

from collections.abc import Mapping

from torch import Tensor

from trainer.problems.problem import Problem, Split


def data_notes(problem: Problem) -> tuple[str, ...]:
    """Return notes on unusual data: constant inputs, and classes that are absent from a part of the data.

    A part that is streamed from disk is not inspected, because that would require a full pass over it.
    """
    parts = {"training": problem.train, "validation": problem.validation, "test": problem.test}
    resident = {name: part for name, part in parts.items() if isinstance(part, Split)}
    notes = []
    if "training" in resident and not problem.is_small:
        inputs = resident["training"].inputs
        if len(inputs) > 1 and inputs.numel() and bool((inputs == inputs[:1]).all()):
            notes.append("every training input is the same: nothing can be learned from it")
    for t, task in enumerate(problem.tasks):
        if task.metric_name != "accuracy":
            continue
        classes = {name: set(part.targets[:, t].unique().tolist()) for name, part in resident.items()}
        everywhere = set[float]().union(*classes.values())
        for name, present in classes.items():
            missing = sorted(int(label) for label in everywhere - present)
            if missing:
                which = f"class {missing[0]}" if len(missing) == 1 else f"classes {', '.join(map(str, missing))}"
                notes.append(f"task {task.name}: {which} missing from the {name} data")
    return tuple(notes)


def model_notes(problem: Problem, layer_sparsity: Mapping[str, float], output_ranges: Tensor) -> list[str]:
    """Return notes on an unusual network: layers without any row left, and outputs that do not depend on the input.

    Args:
        problem: the problem, which supplies the names of the tasks.
        layer_sparsity: weight name -> share of zero rows.
        output_ranges: shape (n_tasks,); largest minus smallest output over the first validation samples, 0 where they
            are equal up to rounding.
    """
    empty = [name.removesuffix(".weight") for name, share in layer_sparsity.items() if share == 1]
    if empty and len(empty) == len(layer_sparsity):
        notes = ["every weight of the network is zero"]
    else:
        notes = [f"layer {name} is all zero" for name in empty]
    constant = [task.name for task, spread in zip(problem.tasks, output_ranges.tolist(), strict=True) if spread == 0]
    if not problem.is_small:
        notes += [f"task {name}: the output is the same for every validation input (a dead layer?)" for name in constant]
    return notes
