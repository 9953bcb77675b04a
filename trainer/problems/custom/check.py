"""Checks before any training whether a problem can be trained: on two samples, and on batches of the sizes that will occur."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainer.pack.device_errors import is_device_error
from trainer.pack.kernels.conv_pool import fuse
from trainer.pack.loop import KernelPack, Pack
from trainer.problems.custom.source import BatchError, ProblemError
from trainer.problems.custom.task_names import check_task_names
from trainer.problems.data import first_share
from trainer.problems.facts import ProblemFacts
from trainer.problems.problem import Part, Problem, Split, uses_cross_entropy

_N_SAMPLES = 2


def check_problem(problem: Problem, model: str) -> list[str]:
    """Try a problem and one of its networks on two samples.

    Args:
        problem: data, tasks, networks.
        model: name of the network.

    Returns:
        Notes that are not errors, on layers that GrOWL cannot prune and that are therefore left out.

    Raises:
        ProblemError: the problem cannot be trained; the message names the part, the rule and the value.
        OSError, MemoryError, RuntimeError: a transient error, such as a lack of memory or a lost device.
    """
    _check_tasks(problem)
    for name, part in _parts(problem).items():
        _check_part(part, f"the {name} data", len(problem.tasks))
    if model not in problem.networks:
        raise ProblemError(f"a network of the problem expected (it has {', '.join(problem.networks) or 'none'}), found {model}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _called(f"network {model}", problem.networks[model])
        if not isinstance(network, nn.Module):
            raise ProblemError(f"network {model}: a torch.nn.Module expected, found {type(network).__name__}")
        _check_is_plain(network, model)
        _check_weights(network, model)
        notes = _notes_on_layers(network, model)
        for is_training in (True, False):
            _check_pass(problem, network.train(is_training), f"network {model} in {'training' if is_training else 'evaluation'}")
    return notes


def check_batches(problem: Problem, model: str, batch_size: int, data_share: float = 1.0, *, trains: bool = True) -> None:
    """Try a network on batches of the sizes that will occur: the first and the last batch of an epoch in training mode, and the last one of
    each part of the data in evaluation mode.

    The batches consist of the first samples of their part, so that the result depends on the number of samples alone.

    Args:
        problem: a problem that `check_problem` accepts.
        model: name of the network.
        batch_size: number of samples in a training step.
        data_share: share of the training data that is used, from the first sample, in (0, 1].
        trains: whether the method takes steps on minibatches; otherwise only the evaluation is tried.

    Raises:
        BatchError: the network, a loss or a metric fails on a batch, or a loss is not finite.
        OSError, MemoryError, RuntimeError: a transient error, such as a lack of memory or a lost device.
    """
    n_all = len(problem.train)
    problem = replace(problem, train=first_share(problem.train, data_share))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = problem.networks[model]()
        evaluated = [Pack.evaluation_batch] + ([KernelPack.evaluation_batch] if fuse(copy.deepcopy(network)) else [])
        sizes = [("training", batch_size, True)] if trains else []
        sizes += [(part, size, False) for part in _parts(problem) for size in evaluated]
        tried = set()
        for part, size, is_training in sizes:
            n_total = len(_parts(problem)[part])
            of_all = f"{n_total} of {n_all}" if part == "training" and n_total < n_all else f"{n_total}"
            for batch in _batches_of(part, n_total, of_all, size, is_training):
                if (batch.n_samples, is_training) not in tried:
                    _try_batch(problem, network.train(is_training), model, batch)
                tried.add((batch.n_samples, is_training))


@dataclass(frozen=True)
class _Batch:
    """A batch size that will occur."""

    n_samples: int
    part: str
    is_training: bool
    where: str
    """The position of the batch, and the reason for its size."""
    hint: str


def _batches_of(part: str, n_total: int, of_all: str, size: int, is_training: bool) -> Iterator[_Batch]:
    """Yield the last batch of a pass through a part, and also the first one for training."""
    first, last = min(size, n_total), n_total % size or min(size, n_total)
    whole = "an epoch" if is_training else f"the {part} data"
    for name, n in [("first", first)] * is_training + [("last", last)]:
        has = f"{n} sample{'s' if n > 1 else ''}"
        where = f"the {name} batch of {whole} has {has} ({of_all} {part} samples in batches of {size})"
        other = _other_size(n_total, size, n) if is_training else None
        if other is not None:
            hint = f"set training.batch_size to {other}, for example, or change the number of training samples"
        elif is_training:
            hint = "set another training.batch_size, or change the number of training samples"
        else:
            hint = f"in evaluation a network has to process a batch of any size: fix it, or change the number of {part} samples"
        yield _Batch(n, part, is_training, where, hint)


def _other_size(n_total: int, size: int, n_last: int) -> int | None:
    """Return the next smaller batch size whose last batch has more samples than the one that failed; None if there is none."""
    return next((other for other in range(size - 1, n_last, -1) if (n_total % other or other) > n_last), None)


def _try_batch(problem: Problem, network: nn.Module, model: str, batch: _Batch) -> None:
    inputs, targets = _parts(problem)[batch.part].first(batch.n_samples)
    if batch.is_training and problem.augment is not None:
        inputs = problem.augment(inputs, torch.Generator().manual_seed(0))
    mode = "training" if batch.is_training else "evaluation"
    try:
        with torch.set_grad_enabled(batch.is_training):
            outputs = network(inputs)
            for t, task in enumerate(problem.tasks):
                loss = float(task.loss(outputs[t], targets[:, t]).detach())
                if not math.isfinite(loss):
                    raise ProblemError(f"the loss of task {task.name} is {loss}")
                task.metric(outputs[t].detach(), targets[:, t])
    except OSError:
        raise
    except Exception as error:  # the user's code may raise anything
        if is_device_error(error):
            raise
        text = str(error) if isinstance(error, ProblemError) else " ".join(f"it raised {type(error).__name__}: {error}".split())
        raise BatchError(f"{batch.where}, which network {model} cannot process in {mode}: {text}", batch.hint, batch.is_training) from error


def facts_of(problem: Problem) -> tuple[ProblemFacts, list[str]]:
    """Return the facts for planning, and the notes of `check_problem` on all networks.

    Raises:
        ProblemError: a network or the data cannot be trained, see `check_problem`.
    """
    if not problem.networks:
        raise ProblemError("at least one network expected, found networks = {}")
    notes = [note for model in problem.networks for note in check_problem(problem, model)]
    facts = ProblemFacts(
        tasks=tuple(task.name for task in problem.tasks),
        metrics={task.name: task.metric_name for task in problem.tasks},
        guess_losses=tuple(float(task.guess_loss) for task in problem.tasks),
        loss_units=tuple("nats" if uses_cross_entropy(task) else "" for task in problem.tasks),
        n_train=len(problem.train),
        has_sparsity=any(_prunable(make()) for make in problem.networks.values()),
        models=tuple(problem.networks),
    )
    return facts, list(dict.fromkeys(notes))


def prunable_only(problem: Problem) -> Problem:
    """Return the problem with `growl_layers` restricted to layers that GrOWL can prune."""

    def restricted(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        def made() -> nn.Module:
            network = make()
            layers = _prunable(network)
            if tuple(layers) != tuple(network.growl_layers):  # type: ignore[arg-type]
                network.growl_layers = layers  # type: ignore[assignment]
            return network

        return made

    return replace(problem, networks={name: restricted(make) for name, make in problem.networks.items()})


def _parts(problem: Problem) -> dict[str, Part]:
    return {"training": problem.train, "validation": problem.validation, "test": problem.test}


def _check_tasks(problem: Problem) -> None:
    check_task_names([task.name for task in problem.tasks])
    for task in problem.tasks:
        guess = float(task.guess_loss)
        if not 0 < guess < float("inf"):
            raise ProblemError(f"task {task.name}: a finite guess_loss > 0 expected, found {guess}")


def _check_part(part: Part, name: str, n_tasks: int) -> None:
    """Check all samples of a `Split`, and the first samples of a `Stream`."""
    if isinstance(part, Split):
        inputs, targets = part.inputs, part.targets
    elif len(part):
        inputs, targets = _called(name, part.first, _N_SAMPLES)
    else:
        raise ProblemError(f"{name}: at least one sample expected")
    for tensor in (inputs, targets):
        if not isinstance(tensor, Tensor):
            raise ProblemError(f"{name}: tensors expected, found {type(tensor).__name__}")
    counts = [len(tensor) if tensor.dim() else 0 for tensor in (inputs, targets)]
    if counts[0] != counts[1]:
        raise ProblemError(f"{name}: as many targets as inputs expected, found {counts[0]} inputs and {counts[1]} targets")
    if not counts[0]:
        raise ProblemError(f"{name}: at least one sample expected")
    if targets.dim() < 2 or targets.shape[1] != n_tasks:
        raise ProblemError(
            f"{name}: targets with one column for each task expected, ({counts[0]}, {n_tasks}), found {tuple(targets.shape)}"
        )
    if not bool(inputs.isfinite().all()):
        first = int((~inputs.isfinite()).reshape(counts[0], -1).any(dim=1).nonzero()[0])
        raise ProblemError(f"{name}: inputs that are finite numbers expected, found NaN or infinity in sample {first}")


def _check_is_plain(network: nn.Module, model: str) -> None:
    """Refuse modules whose weights get their shapes at the first call, and compiled modules with weights.

    A pack calls each network with separate weights (`torch.func.functional_call`), which neither of them supports.
    """
    for name, module in network.named_modules():
        where = f"network {model}: {f'module {name}' if name else 'it'}"
        if isinstance(module, torch.jit.ScriptModule) and next(module.parameters(), None) is not None:
            raise ProblemError(
                f"{where} is compiled by torch.jit ({type(module).__name__}), a plain torch.nn.Module expected",
                "return the module itself, without torch.jit.script and torch.jit.trace",
            )
        lazy = [parameter for parameter, value in module.named_parameters(recurse=False) if nn.parameter.is_lazy(value)]
        if lazy:
            raise ProblemError(
                f"{where} is a {type(module).__name__} whose {lazy[0]} has no shape before its first call, a layer with its sizes expected",
                "write the layer with its number of inputs, for example nn.Linear(64, 10) instead of nn.LazyLinear(10)",
            )


def _check_weights(network: nn.Module, model: str) -> None:
    names = dict(network.named_parameters())
    if not names:
        raise ProblemError(f"network {model}: at least one parameter expected")
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and f"{name}.weight" not in names:
            raise ProblemError(f"network {model}: layer {name} has no weight of its own (it is tied to another layer's, or computed)")


def _growl_layers(network: nn.Module, model: str = "") -> tuple[str, ...]:
    where = f"network {model}: " if model else ""
    names = getattr(network, "growl_layers", None)
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        found = "none" if names is None else repr(names)
        raise ProblemError(f"{where}an attribute growl_layers, a tuple of names of layers, expected; found {found}")
    layers = dict(network.named_modules())
    for name in names:
        if name not in layers:
            raise ProblemError(f"{where}growl_layers names {name}, which is not one of its modules (for example {_example(layers)})")
    return tuple(names)


def _example(layers: dict[str, nn.Module]) -> str:
    return next((name for name, layer in layers.items() if name and _is_known(layer)), "none is an nn.Linear or nn.Conv2d")


def _is_known(layer: nn.Module) -> bool:
    """Return whether GrOWL supports a layer, in which each input unit has one row."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _prunable(network: nn.Module) -> tuple[str, ...]:
    layers = dict(network.named_modules())
    return tuple(dict.fromkeys(name for name in _growl_layers(network) if _is_known(layers[name])))


def _notes_on_layers(network: nn.Module, model: str) -> list[str]:
    layers = dict(network.named_modules())
    notes = []
    for name in _growl_layers(network, model):
        layer = layers[name]
        if not _is_known(layer):
            kind = f"{type(layer).__name__} with groups = {layer.groups}" if isinstance(layer, nn.Conv2d) else type(layer).__name__
            notes.append(f"network {model}: layer {name} is a {kind}, which GrOWL cannot prune; it is left out")
    if not _prunable(network):
        notes.append(f"network {model}: no layer is pruned, so k0 has no effect")
    return notes


def _check_pass(problem: Problem, network: nn.Module, where: str) -> None:
    inputs, targets = problem.train.first(_N_SAMPLES)
    if network.training and problem.augment is not None:
        augmented = _called("augment", problem.augment, inputs, torch.Generator().manual_seed(0))
        if not isinstance(augmented, Tensor) or augmented.shape != inputs.shape:
            raise ProblemError(f"augment: inputs of the same shape {tuple(inputs.shape)} expected, found {_kind(augmented)}")
        inputs = augmented
    outputs = _called(where, network, inputs)
    if not isinstance(outputs, Sequence) or isinstance(outputs, str):
        raise ProblemError(f"{where}: a list of one output for each task expected, found {_kind(outputs)}")
    if len(outputs) != len(problem.tasks):
        names = ", ".join(task.name for task in problem.tasks)
        raise ProblemError(f"{where}: one output for each task expected ({len(problem.tasks)} = {names}), found {len(outputs)}")
    for t, task in enumerate(problem.tasks):
        output, target = outputs[t], targets[:, t]
        if not isinstance(output, Tensor):
            raise ProblemError(f"{where}: tensors expected, found {_kind(output)} for task {task.name}")
        if uses_cross_entropy(task):
            _check_classes(problem, t, output)
        loss = _called(f"{where}: the loss of task {task.name}", task.loss, output, target)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            raise ProblemError(f"{where}: the loss of task {task.name} is a scalar tensor, found {_kind(loss)}")
        if not bool(loss.isfinite()):
            raise ProblemError(f"{where}: a finite loss of task {task.name} expected on two samples, found {float(loss.detach())}")
        if not loss.requires_grad:
            raise ProblemError(f"{where}: the loss of task {task.name} depends on no parameter, so that nothing can be learned")
        metric = _called(f"{where}: the metric of task {task.name}", task.metric, output.detach(), target)
        if not isinstance(metric, Tensor) or metric.shape != (len(inputs),):
            raise ProblemError(
                f"{where}: the metric of task {task.name} is one value for each sample, ({len(inputs)},), found {_kind(metric)}"
            )


def _check_classes(problem: Problem, t: int, output: Tensor) -> None:
    """Check every target: on some devices, cross-entropy aborts the process if a class is out of range."""
    n_classes = output.shape[1] if output.dim() > 1 else 0
    for name, part in _parts(problem).items():
        column = (part.targets if isinstance(part, Split) else part.first(_N_SAMPLES)[1])[:, t]
        wrong = column[~((column >= 0) & (column < n_classes))]
        if len(wrong):
            found = f"{wrong.flatten()[0].item():g}"
            rule = f"classes 0 to {n_classes - 1} expected (the output has {n_classes})"
            raise ProblemError(f"task {problem.tasks[t].name}: {rule}, found {found} in the {name} data")


def _called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's code, and convert its errors to a ProblemError that names the part."""
    try:
        return function(*arguments)
    except (ProblemError, OSError):
        raise
    except Exception as error:  # the user's code may raise anything
        if is_device_error(error):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ProblemError(f"{what} raised {text}") from error


def _kind(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
