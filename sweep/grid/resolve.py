"""Resolution of the studies of a grid file: defaults, inheritance, order, candidates, and the rules between sections."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from sweep.grid.models import GridConfig, SweepConfig
from sweep.grid.preferences import Front, PreferenceError, Preferences, PreferenceSource, Vector, preference_vectors
from sweep.grid.source.mistakes import Mistake, Path, did_you_mean, shown
from sweep.grid.study import Placing, Study
from sweep.store.errors import StoreError
from sweep.store.remote.address import Address, is_address
from trainer.catalog import METHODS, MODELS, PROBLEMS, MethodEntry
from trainer.problems.custom.factory import OwnProblem, is_own
from trainer.problems.custom.source import BatchError, ProblemError
from trainer.problems.facts import SPARSITY, ProblemFacts
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from sweep.store.manifest import StatedBox

KeyPath = tuple[str, ...]


def with_candidates(ordered: Sequence[Study], candidates: Mapping[str, Sequence[TrainingSettings]]) -> tuple[Study, ...]:
    """Replace each search by its candidates, named `<search>.1`, `<search>.2`, ...

    Args:
        ordered: the studies, each after those that it waits for.
        candidates: maps the name of a search to the complete training settings of each candidate.

    Returns:
        The studies in the same order. A study waits for at most one search; `candidate_mistakes` refuses others.
    """
    expanded: list[Study] = []
    for study in ordered:
        searches = [name for name in study.after if name in candidates]
        after = tuple(part for name in study.after for part in (_parts(name, candidates) if name in candidates else (name,)))
        settled: dict[str, Any] = {"after": after}
        if searches:
            own = next(other for other in ordered if other.name == searches[0])
            settled |= {"tuned_by": searches[0], "searched": searched(own.training, candidates[searches[0]])}
        if study.name not in candidates:
            expanded.append(replace(study, **settled))
            continue
        for name, training in zip(_parts(study.name, candidates), candidates[study.name], strict=True):
            expanded.append(replace(study, **settled, name=name, training=training, candidate_of=study.name))
    return tuple(expanded)


def candidate_mistakes(studies: Sequence[Study], candidates: Mapping[str, Sequence[TrainingSettings]]) -> list[Mistake]:
    """Return the broken rules between searches and the other studies, which are given in the order of the file."""
    owners = {part: name for name in candidates for part in _parts(name, candidates)}
    mistakes = []
    for index, study in enumerate(studies):
        for number, candidate in enumerate(candidates.get(study.name, ())):
            if candidate.warm_start != study.training.warm_start:  # a trial's id contains the dense trial it starts from
                rule = (
                    f"the value of the search's own `training` expected ({study.training.warm_start}): `warm_start` cannot be searched for"
                )
                path = ("studies", index, "candidates", number, "warm_start")
                mistakes.append(Mistake(path, rule, candidate.warm_start, "write it under `training`"))
        searches = [name for name in study.after if name in candidates]
        if len(searches) > 1:
            rule = "at most one search expected (`candidates`)"
            mistakes.append(Mistake(("studies", index, "after"), rule, ", ".join(searches), "combine them into one search"))
        if study.name in owners:
            rule = f"another name expected (`{study.name}` is a candidate of the search {owners[study.name]})"
            mistakes.append(Mistake(("studies", index, "name"), rule, study.name, "rename it"))
    return mistakes


def searched(training: TrainingSettings, candidates: Sequence[TrainingSettings]) -> tuple[KeyPath, ...]:
    """Return the paths of the settings in which any candidate differs from the search's own training."""
    own = dict(_leaves(asdict(training)))
    differing = {path: None for candidate in candidates for path, value in _leaves(asdict(candidate)) if value != own[path]}
    return tuple(differing)


def with_values_of(training: TrainingSettings, best: TrainingSettings, paths: Sequence[KeyPath]) -> TrainingSettings:
    """Return the training settings with the best candidate's values at the given paths."""
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


ONLY_STUDY = "main"
ANCHOR_STUDY = "anchor-runs"
"""The name of the study that `reference_point: auto` adds, with one dense trial for each task that has all weight on it."""
_MAX_NAMED = 4


def resolve(config: GridConfig) -> tuple[SweepConfig | None, list[Mistake]]:
    """Fill in what each study inherits, put the studies in order, and check the rules between sections.

    Names, settings and options of the problem are each valid by themselves already. Studies are ordered by what they wait
    for; of those that are ready, the one that comes first in the file. With `reference_point: auto` the anchor runs come
    first, and every study that waits for nothing else waits for them.

    Args:
        config: the content of the grid file.

    Returns:
        The sweep (None if a rule is broken), and every broken rule.
    """
    mistakes = _output_mistakes(config.output)
    problem = config.problem.name
    if not is_own(problem) and problem not in PROBLEMS:
        hint = "use one of them, or `my_module:factory` for a problem of your own (docs/own-problem.md)"
        mistakes.append(_unavailable(("problem", "name"), problem, PROBLEMS, hint))
    models = _models_of(config)
    studies = []
    training_paths: list[Path] = []
    facts = _facts_of(config)
    grids = _Grids(facts)
    for index, given in enumerate(config.studies or (None,)):
        values: dict[str, Any] = {}
        paths: dict[str, Path] = {}
        for key in ("model", "method", "preferences", "seeds"):
            own = getattr(given, key, None)
            values[key] = getattr(config, key) if own is None else own
            paths[key] = (key,) if own is None else ("studies", index, key)
        training = given.training if given and given.training else config.training
        training_paths.append(("studies", index, "training") if given and given.training else ("training",))
        mistakes += _seed_mistakes(paths["seeds"], values["seeds"])
        method = METHODS[values["method"]]
        if given is not None and given.model is None and method.model is not None:
            values["model"] = method.model  # the method trains only this model
        if values["model"] is not None:
            mistakes += _name_mistakes(paths["model"], values["model"], problem, models)
            mistakes += _method_mistakes(method, paths, values)
        front = _front_of(values["preferences"])
        if front is not None and (method.has_preferences or given is None or given.preferences is not None):
            mistakes += _front_mistakes(
                front, values["method"], paths["preferences"], facts, has_candidates=bool(given and given.candidates)
            )
            values |= _first_round(front, method, facts)
        elif method.has_preferences:
            values["preferences"] = grids.vectors(values["preferences"], paths["preferences"], mistakes)
            mistakes += _pruning_mistakes(method, paths, values)
        else:
            values["preferences"] = (None,)
        after = given.after_names if given else ()
        studies.append(Study(name=given.name if given else ONLY_STUDY, training=training, after=after, **values))
    if facts is not None:
        mistakes += _length_mistakes(config, facts)
    ordered, order_mistakes = _ordered(studies)
    mistakes += order_mistakes
    candidates = {given.name: given.candidates for given in config.studies or () if given.candidates}
    mistakes += candidate_mistakes(studies, candidates)
    if not order_mistakes:
        mistakes += _inheritance_mistakes(studies)
        mistakes += _warm_start_mistakes(studies, training_paths, candidates)
    if facts is not None and models is not None:
        mistakes += _batch_mistakes(config, studies, training_paths, candidates, models)
    if mistakes or facts is None:
        return None, mistakes
    ordered = with_candidates(ordered, candidates)
    if config.has_auto_reference:
        ordered = _after_anchor_runs(ordered, studies[0], len(facts.tasks))
    return SweepConfig.model_construct(config.model_fields_set, **dict(config), resolved_studies=ordered), []


def _after_anchor_runs(ordered: Sequence[Study], first: Study, n_tasks: int) -> tuple[Study, ...]:
    """Return the study of the anchor runs, with the settings of the file's first study, followed by the other studies."""
    alone = tuple((0.0, *(float(task == other) for other in range(n_tasks))) for task in range(n_tasks))
    # Dense trials start from the initial network, whatever the sparse trials of the study do.
    training = replace(first.training, warm_start="none")
    anchors = Study(ANCHOR_STUDY, first.model, "wcal_growl", alone, training, first.seeds[:1])
    return (anchors, *(study if study.after else replace(study, after=(ANCHOR_STUDY,)) for study in ordered))


def _front_of(preferences: Preferences) -> Front | None:
    return preferences.front if isinstance(preferences, PreferenceSource) else None


def _placed_objectives(method: MethodEntry, facts: ProblemFacts) -> tuple[str, ...]:
    """Return the objectives between which vectors are placed: without sparsity for a method that does not prune."""
    return facts.objectives if method.prunes else facts.tasks


def _front_mistakes(front: Front, name: str, path: Path, facts: ProblemFacts | None, *, has_candidates: bool) -> list[Mistake]:
    """Return the reasons why vectors cannot be placed in rounds for a study of the method `name`."""
    from analysis.pareto.placing import MAX_OBJECTIVES, end_vectors  # imports numpy, which no other grid file needs

    method, above = METHODS[name], (*path, "front")
    if not method.has_preferences:
        rule = f"a method with preferences expected ({name} has none, so there is nothing to place)"
        return [Mistake(above, rule, hint="remove `front`: the method trains one network for each seed")]
    if method.shares_network or method.depends_on_grid:
        rule = f"a method whose trials are independent expected ({name} trains one network or one population for all vectors)"
        return [
            Mistake(above, rule, hint="give this study a grid of its own, for example `preferences: {simplex: {divisions: 12, k0: [0]}}`")
        ]
    if has_candidates:
        rule = "no `candidates` expected, because every candidate would be trained for other vectors"
        return [Mistake(above, rule, hint="give the search a grid of its own, and place the vectors of a study after it")]
    if facts is None:
        return []
    objectives = _placed_objectives(method, facts)
    if not 2 <= len(objectives) <= MAX_OBJECTIVES:
        rule = f"2 to {MAX_OBJECTIVES} objectives expected (they are {len(objectives)}: {', '.join(objectives)})"
        return [Mistake(above, rule, hint="use another grid, for example `preferences: {simplex: {divisions: 6}}`")]
    ends = end_vectors(objectives, objectives[0] == SPARSITY)
    if front.n < len(ends):
        rule = f"a whole number >= {len(ends)} expected, the number of ends of this front, which are trained first"
        return [Mistake((*above, "n"), rule, str(front.n), f"the ends: {'; '.join(end.reason for end in ends)}")]
    return []


def _first_round(front: Front, method: MethodEntry, facts: ProblemFacts | None) -> dict[str, Any]:
    """Return the fields of a study whose vectors are placed in rounds, of which only the first is known."""
    from analysis.pareto.placing import MAX_OBJECTIVES, end_vectors

    if facts is None or not method.has_preferences:
        return {"preferences": ()}
    objectives = _placed_objectives(method, facts)
    if not 2 <= len(objectives) <= MAX_OBJECTIVES:
        return {"preferences": ()}
    has_sparsity = objectives[0] == SPARSITY
    ends = [end.preference if has_sparsity else (0.0, *end.preference) for end in end_vectors(objectives, has_sparsity)]
    placing = Placing(front.n, None if front.until is None else front.until.gain, objectives, (1,) * len(ends))
    return {"preferences": tuple(ends), "placing": placing}


class _Grids:
    """The vectors of each grid. Studies often share a grid, so each grid is computed only once."""

    def __init__(self, facts: ProblemFacts | None) -> None:
        self._facts = facts
        self._known: dict[Any, tuple[Vector, ...]] = {}

    def vectors(self, preferences: Preferences, path: Path, mistakes: list[Mistake]) -> tuple[Vector, ...]:
        if self._facts is None:
            return ()
        if preferences not in self._known:
            try:
                found = preference_vectors(preferences, self._facts.objectives)
                self._known[preferences] = found if self._facts.has_sparsity else tuple((0.0, *vector) for vector in found)
            except PreferenceError as error:
                self._known[preferences] = ()
                mistakes += [Mistake((*path, *m.path), m.rule, m.found, m.hint, m.position) for m in error.mistakes]
        return self._known[preferences]


def _facts_of(config: GridConfig) -> ProblemFacts | None:
    """Return the problem's facts; None if the problem is unknown or its options are wrong, which is reported elsewhere."""
    try:
        return config.problem.facts
    except (KeyError, TypeError, ValueError):
        return None


def _models_of(config: GridConfig) -> tuple[str, ...] | None:
    """Return the names of the problem's networks; None if the problem is unknown or its options are wrong."""
    try:
        return config.problem.entry.models_of(config.problem.options)
    except (KeyError, TypeError, ValueError):
        return None


def _unavailable(path: Path, name: str, available: Iterable[str], otherwise: str = "use one of them") -> Mistake:
    known = list(available)
    near = did_you_mean(name, known)
    use = f"use {' or '.join(f'`{one}`' for one in known)}" if len(known) <= _MAX_NAMED else otherwise
    hint = f"did you mean `{near}`?" if near else use
    return Mistake(path, f"not available in this version (available: {', '.join(known)})", shown(name).strip('"'), hint)


def _name_mistakes(path: Path, model: str, problem: str, models: Sequence[str] | None) -> list[Mistake]:
    if model in (MODELS if models is None else models) or (models is None and is_own(problem)):
        return []
    if models is not None and (model in MODELS or is_own(problem)):
        rule = f"a model of the problem {problem} expected (it has {', '.join(models)})"
        near = did_you_mean(model, models)
        return [Mistake(path, rule, model, f"did you mean `{near}`?" if near else "choose one of them, or another problem")]
    return [_unavailable(path, model, MODELS if models is None else models)]


def _method_mistakes(method: MethodEntry, paths: Mapping[str, Path], values: Mapping[str, Any]) -> list[Mistake]:
    """Return the missing packages of a method, and methods and models that do not fit together."""
    if method.needs is not None and find_spec(method.needs[0]) is None:
        rule = f"a method whose packages are installed expected, {values['method']} needs {method.needs[0]}"
        return [Mistake(paths["method"], rule, values["method"], f"pip install 'pareto-sweep[{method.needs[1]}]', or leave the study out")]
    owner = next((name for name, entry in METHODS.items() if entry.owns_model and entry.model == values["model"]), None)
    if method.model not in (None, values["model"]):
        rule = f"the model {method.model} expected for the method {values['method']}"
        return [Mistake(paths["model"], rule, values["model"], f"write `model: {method.model}`")]
    if owner is not None and owner != values["method"]:
        rule = f"the method {owner} expected for the model {values['model']}"
        return [Mistake(paths["method"], rule, values["method"], f"write `method: {owner}`")]
    return []


def _pruning_mistakes(method: MethodEntry, paths: Mapping[str, Path], values: Mapping[str, Any]) -> list[Mistake]:
    pruning = [vector for vector in values["preferences"] if vector[0] > 0]
    if method.prunes or not pruning:
        return []
    rule = f"k0 = 0 expected, since the method {values['method']} does not prune"
    return [Mistake(paths["preferences"], rule, shown(list(pruning[0])), "for example `preferences: {simplex: {divisions: 10, k0: [0]}}`")]


def studies_to_start_from(study: Study, studies: Mapping[str, Study]) -> tuple[Study, ...]:
    """Return the studies from whose dense trials the sparse trials of a study with a warm start may start.

    This is the study itself. If it has no vector with k0 = 0, these are the studies in its `after` that have the same model and all
    of its seeds, except the candidates of a search and the anchor runs.

    Args:
        study: a study whose method prunes.
        studies: all studies by name.
    """
    others = [studies[name] for name in study.after if name in studies and name != ANCHOR_STUDY]
    fitting = [
        other
        for other in others
        if METHODS[other.method].prunes and other.model == study.model and set(study.seeds) <= set(other.seeds) and not other.candidate_of
    ]
    return (study,) if _has_dense(study) else tuple(other for other in fitting if _has_dense(other))


def _has_dense(study: Study) -> bool:
    return any(vector is not None and vector[0] == 0 for vector in study.preferences)


def _warm_start_mistakes(studies: Sequence[Study], paths: Sequence[Path], searches: Iterable[str]) -> list[Mistake]:
    """Return mistakes for sparse trials with a warm start but no dense trial to start from."""
    by_name = {study.name: study for study in studies if study.name not in set(searches)}
    mistakes = []
    for study, path in zip(studies, paths, strict=True):
        is_warm = METHODS[study.method].prunes and study.training.warm_start == "neighbour"
        has_sparse = any(vector is not None and vector[0] > 0 for vector in study.preferences)
        is_unknown = any(not by_name[name].preferences for name in study.after if name in by_name)  # this mistake has already been reported
        if is_warm and has_sparse and not is_unknown and not studies_to_start_from(study, by_name):
            rule = "preferences with k0 = 0 expected, from whose networks the others start"
            hint = "add them to this study, or name a study in `after` that has them, with the same model and seeds"
            mistakes.append(Mistake((*path, "warm_start"), rule, study.training.warm_start, hint))
    return mistakes


def _inheritance_mistakes(studies: Sequence[Study]) -> list[Mistake]:
    """Return mistakes for methods that inherit a network but do not come after exactly one study to inherit it from."""
    by_name = {study.name: study for study in studies}
    mistakes = []
    for index, study in enumerate(studies):
        method = METHODS[study.method]
        sources = [by_name[name] for name in study.after if by_name[name].method == method.inherits_from]
        path: Path = ("studies", index, "after")
        if method.inherits is not None and len(sources) != 1:
            what = _INHERITED[method.inherits]
            rule = f"one study of the method {method.inherits_from} expected, whose {what} the method {study.method} inherits"
            found = ", ".join(source.name for source in sources) or "none"
            mistakes.append(Mistake(path if len(studies) > 1 or study.after else ("method",), rule, found, "name it in `after`"))
        elif sources and method.inherits != "teachers" and sources[0].model != study.model:
            rule = f"a study of the same model expected ({study.model})"
            mistakes.append(Mistake(path, rule, f"{sources[0].name} with {sources[0].model}", "both studies need the same model"))
    return mistakes


_INHERITED = {"teachers": "networks", "architecture": "sparse network", "start": "weights"}


def _seed_mistakes(path: Path, seeds: Sequence[int]) -> list[Mistake]:
    return [
        Mistake((*path, index), f"each seed once expected (it is seeds[{seeds.index(seed)}] already)", str(seed), "remove one of them")
        for index, seed in enumerate(seeds)
        if seeds.index(seed) < index
    ]


def _output_mistakes(output: str) -> list[Mistake]:
    if not is_address(output):
        return []
    try:
        Address.parse(output)
    except StoreError as error:
        return [Mistake(("output",), error.problem, str(error.where), error.hint)]
    return []


def _batch_mistakes(
    config: GridConfig,
    studies: Sequence[Study],
    training_paths: Sequence[Path],
    candidates: Mapping[str, Sequence[TrainingSettings]],
    models: Sequence[str],
) -> list[Mistake]:
    """Return the batch sizes of training or evaluation that a custom network cannot process; each is reported once."""
    entry = config.problem.entry
    if not isinstance(entry, OwnProblem):
        return []
    mistakes: dict[str, Mistake] = {}
    for study, path in zip(studies, training_paths, strict=True):
        for training, own_path in _trainings(study, path, studies, candidates) if study.model in models else ():
            try:
                entry.check_batches(config.problem.options, study.model, training, trains=METHODS[study.method].takes_steps)
            except BatchError as error:
                where, found = (
                    ((*own_path, "batch_size"), str(training.batch_size)) if error.is_of_training else (("problem", "name"), None)
                )
                mistakes.setdefault(str(error), Mistake(where, str(error), found, error.hint))
            except ProblemError as error:
                mistakes.setdefault(str(error), Mistake(("problem", "name"), str(error), hint=error.hint))
    return list(mistakes.values())


def _trainings(
    study: Study, path: Path, studies: Sequence[Study], candidates: Mapping[str, Sequence[TrainingSettings]]
) -> list[tuple[TrainingSettings, Path]]:
    """Return all settings with which a study may be trained, with their paths.

    For a search these are its candidates; for a study after a search they are its own settings with the values of each candidate.
    """
    if study.name in candidates:
        return [(own, (*path[:2], "candidates", number)) for number, own in enumerate(candidates[study.name])]
    search = next((other for other in studies if other.name in study.after and other.name in candidates), None)
    if search is None:
        return [(study.training, path)]
    found = candidates[search.name]
    return [(with_values_of(study.training, best, searched(search.training, found)), path) for best in found]


def _length_mistakes(config: GridConfig, facts: ProblemFacts) -> list[Mistake]:
    names = facts.objectives
    mistakes = []
    points = {
        "reference_point": config.given_reference,
        "hypervolume_reference": config.hypervolume_reference,
        "hypervolume_ideal": config.hypervolume_ideal,
    }
    for key, point in points.items():
        if point is not None and len(point) != len(names):
            rule = f"one number per objective expected ({len(names)} = {', '.join(names)})"
            mistakes.append(Mistake((key,), rule, shown(list(point)), f"this list has {len(point)}"))
    given = [key for key in ("hypervolume_reference", "hypervolume_ideal") if points[key] is not None]
    if given and not mistakes:
        try:
            hypervolume_box(config, facts)
        except ValueError as error:
            found = shown(list(points[given[0]] or ()))
            mistakes.append(Mistake((given[0],), str(error), found, "give `hypervolume_ideal`, too, if losses can be below 0"))
    return mistakes


def objective_entries(facts: ProblemFacts) -> list[dict[str, str]]:
    """Return the objectives of a problem as the manifest stores them."""
    sparsity = [{"name": SPARSITY, "column": "objective.sparsity", "sense": "min", "unit": "GrOWL norm"}] if facts.has_sparsity else []
    losses = [
        {"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": unit}
        for task, unit in zip(facts.tasks, facts.loss_units, strict=True)
    ]
    return [*sparsity, *losses]


def hypervolume_box(config: GridConfig, facts: ProblemFacts) -> "StatedBox":
    """Return the box of a sweep's hypervolumes: what the grid file gives, and otherwise what follows from the problem alone.

    Raises:
        ValueError: the nadir is not worse than the ideal in some objective.
    """
    from sweep.store.manifest import box_by_rule  # not above: it imports numpy and pyarrow

    front = facts.front_corners or (facts.true_front() if facts.true_front else None)
    return box_by_rule(
        objective_entries(facts),
        facts.guess_losses,
        front,
        ideal=config.hypervolume_ideal,
        nadir=config.hypervolume_reference,
        sparsity=config.hypervolume_sparsity,
    )


def _ordered(studies: Sequence[Study]) -> tuple[tuple[Study, ...], list[Mistake]]:
    """Return the studies, each after those that it waits for, and the mistakes in their names and in `after`."""
    mistakes: list[Mistake] = []
    names = [study.name for study in studies]
    for index, study in enumerate(studies):
        path: Path = ("studies", index)
        if study.name == ANCHOR_STUDY:
            rule = f"another name expected (`{ANCHOR_STUDY}` is reserved for `reference_point: auto`)"
            mistakes.append(Mistake((*path, "name"), rule, study.name, "rename it"))
        if names.index(study.name) < index:
            rule = f"a unique name expected (studies[{names.index(study.name)}] has the same)"
            mistakes.append(Mistake((*path, "name"), rule, study.name, "rename one of them"))
        for name in study.after:
            if name not in names:
                near = did_you_mean(name, names)
                hint = f"did you mean `{near}`?" if near else f"the studies are {', '.join(names)}"
                mistakes.append(Mistake((*path, "after"), "the name of another study expected", name, hint))
    first = {name: names.index(name) for name in names}  # a repeated name has already been reported
    sorter = TopologicalSorter({index: [first[name] for name in study.after if name in first] for index, study in enumerate(studies)})
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib lists each study before the one that waits for it, and repeats the first one at the end.
        circle = error.args[1][:0:-1]
        start = circle.index(min(circle))
        circle = [*circle[start:], *circle[:start]]
        rule = f"an order without circles expected ({' after '.join(names[index] for index in [*circle, circle[0]])})"
        mistakes.append(Mistake(("studies", circle[0], "after"), rule, ", ".join(studies[circle[0]].after), "remove one `after`"))
        return (), mistakes
    ordered: list[Study] = []
    ready: list[int] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heappush(ready, index)
        index = heappop(ready)
        ordered.append(studies[index])
        sorter.done(index)
    return tuple(ordered), mistakes
