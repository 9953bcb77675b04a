"""Searches over settings: a study with candidates becomes one study a candidate, and studies after it take the best one's values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pydantic import TypeAdapter

from sweep.grid.errors import Mistake
from sweep.grid.study import Study
from trainer.settings import TrainingSettings

KeyPath = tuple[str, ...]


def with_candidates(ordered: Sequence[Study], candidates: Mapping[str, Sequence[TrainingSettings]]) -> tuple[Study, ...]:
    """The studies with each search replaced by its candidates, called `<search>.1`, `<search>.2`, ...

    Args:
        ordered: studies, each behind those it waits for.
        candidates: name of a search -> the whole training of each candidate.

    Returns:
        Each study in the same order, a search as its candidates. Of several searches before a study the first one counts:
        `candidate_mistakes` refuses them.
    """
    found: list[Study] = []
    for study in ordered:
        searches = [name for name in study.after if name in candidates]
        after = tuple(part for name in study.after for part in (_parts(name, candidates) if name in candidates else (name,)))
        settled: dict[str, Any] = {"after": after}
        if searches:
            own = next(other for other in ordered if other.name == searches[0])
            settled |= {"tuned_by": searches[0], "searched": searched(own.training, candidates[searches[0]])}
        if study.name not in candidates:
            found.append(replace(study, **settled))
            continue
        for name, training in zip(_parts(study.name, candidates), candidates[study.name], strict=True):
            found.append(replace(study, **settled, name=name, training=training, candidate_of=study.name))
    return tuple(found)


def candidate_mistakes(studies: Sequence[Study], candidates: Mapping[str, Sequence[TrainingSettings]]) -> list[Mistake]:
    """What is wrong between searches and the other studies of the file, which are given in its order."""
    owners = {part: name for name in candidates for part in _parts(name, candidates)}
    mistakes = []
    for index, study in enumerate(studies):
        for number, candidate in enumerate(candidates.get(study.name, ())):
            if candidate.warm_start != study.training.warm_start:  # ids say which trial gives a network before any is trained
                rule = f"what the search's own `training` has expected ({study.training.warm_start}): a warm start is not searched for"
                path = ("studies", index, "candidates", number, "warm_start")
                mistakes.append(Mistake(path, rule, candidate.warm_start, "write it under `training`"))
        searches = [name for name in study.after if name in candidates]
        if len(searches) > 1:
            rule = "one search at most expected (`candidates`)"
            mistakes.append(Mistake(("studies", index, "after"), rule, ", ".join(searches), "make one search of them"))
        if study.name in owners:
            rule = f"another name expected (`{study.name}` is a candidate of the search {owners[study.name]})"
            mistakes.append(Mistake(("studies", index, "name"), rule, study.name, "rename it"))
    return mistakes


def searched(training: TrainingSettings, candidates: Sequence[TrainingSettings]) -> tuple[KeyPath, ...]:
    """Paths of the settings in which a candidate differs from the search's own training."""
    own = dict(_leaves(asdict(training)))
    differing = {path: None for candidate in candidates for path, value in _leaves(asdict(candidate)) if value != own[path]}
    return tuple(differing)


def with_values_of(training: TrainingSettings, best: TrainingSettings, paths: Sequence[KeyPath]) -> TrainingSettings:
    """The training with the best candidate's values of what was searched."""
    values: dict[str, Any] = asdict(training)
    found = dict(_leaves(asdict(best)))
    for path in paths:
        section = values
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = found[path]
    return TypeAdapter(TrainingSettings).validate_python(values)


def _parts(name: str, candidates: Mapping[str, Sequence[TrainingSettings]]) -> tuple[str, ...]:
    return tuple(f"{name}.{number}" for number in range(1, len(candidates[name]) + 1))


def _leaves(values: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value
