"""Changes to a grid file's nodes before validation: short forms are expanded, paths are made absolute, and studies are filled in."""

import os
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

from sweep.grid.source.mistakes import Path
from sweep.grid.source.nodes import Node, merge
from trainer.catalog import METHODS
from trainer.problems.custom.factory import is_own
from trainer.settings import TrainingSettings


def _section_names(settings: Any) -> frozenset[str]:
    hints = get_type_hints(settings)
    return frozenset(item.name for item in fields(settings) if is_dataclass(hints[item.name]))


_SECTIONS = _section_names(TrainingSettings)


def normalise(top: Node, folder: str) -> Node:
    """Expand the short forms of one file.

    A section whose lines are all commented out (`training:` and nothing below) is empty, not null. `problem: x` becomes `{name: x}`,
    also in a list. A file of preferences and the module of a custom problem are relative to the file that names them.

    Args:
        top: the top-level mapping of the file.
        folder: the absolute folder to which paths in the file are relative.
    """
    changed = {}
    for name, node in top.mapping.items():
        if name in ("training", "resources", "costs"):
            changed[name] = _section(node)
        elif name == "problem":
            changed[name] = (
                replace(node, value=tuple(_problem(item, folder) for item in node.items)) if node.items else _problem(node, folder)
            )
        elif name == "preferences":
            changed[name] = _anchored(node, folder)
        elif name == "output" and isinstance(node.value, str):
            changed[name] = replace(node, value=os.path.expanduser(node.value))
        elif name == "studies":
            changed[name] = replace(node, value=tuple(_study(item, folder) for item in node.items)) if node.items else node
        elif name == "name" and node.value is None:
            continue
        else:
            changed[name] = node
    return replace(top, value=changed)


def _problem(node: Node, folder: str) -> Node:
    """Return a problem with its name expanded; `text` marks the short form, so that messages name `problem` and not `problem.name`."""
    spelled = replace(node, value={"name": node}, text=node.value) if isinstance(node.value, str) else node
    name = spelled.child("name")
    if name is None or not isinstance(name.value, str) or not is_own(name.value):
        return spelled
    given = spelled.child("import_from")
    if given is None:
        return spelled.with_items(import_from=Node(tuple(map(Node, dict.fromkeys((folder, os.getcwd()))))))
    items = given.items or (given,)
    if not all(isinstance(item.value, str) and item.value for item in items):
        return spelled
    return spelled.with_items(
        import_from=replace(given, value=tuple(replace(item, value=_absolute(item, folder)) for item in items), text=None)
    )


def _absolute(node: Node, folder: str) -> str:
    """Return a path made absolute, relative to the folder."""
    return os.path.abspath(os.path.join(folder, os.path.expanduser(str(node.value))))


def _section(node: Node) -> Node:
    if node.value is None:
        return replace(node, value={})
    return node.with_items(**{name: _section(below) for name, below in node.mapping.items() if name in _SECTIONS}) if node.mapping else node


def _study(node: Node, folder: str) -> Node:
    changed = {name: _section(below) for name, below in node.mapping.items() if name == "training"}
    candidates = node.child("candidates")
    if candidates is not None and candidates.items:
        changed["candidates"] = replace(candidates, value=tuple(map(_section, candidates.items)))
    changed |= {name: _anchored(below, folder) for name, below in node.mapping.items() if name == "preferences"}
    return node.with_items(**changed) if changed else node


def _anchored(node: Node, folder: str) -> Node:
    """Return preferences with an absolute `file`, so that a copy of the settings elsewhere still names the same file."""
    if node.items:
        return replace(node, value=tuple(_anchored(item, folder) for item in node.items))
    file = node.child("file")
    if file is None or not isinstance(file.value, str) or not file.value:
        return node
    return node.with_items(file=replace(file, value=_absolute(file, folder)))


def fill_in(top: Node, *, default_name: str, out: str | None) -> Node:
    """Return the mapping with name and output filled in, and each study's training merged over the top level's."""
    name = top.child("name") or Node(default_name)
    output = Node(os.path.expanduser(out)) if out is not None else top.child("output") or Node(f"results/{name.value}")
    filled = top.with_items(name=name, output=output)
    training, studies = top.child("training") or Node({}), top.child("studies")
    if studies is None:
        return filled
    inherited = tuple(_inheriting(study, training) if isinstance(study.value, dict) else study for study in studies.items)
    return filled.with_items(studies=replace(studies, value=inherited)) if inherited else filled


def _inheriting(study: Node, training: Node) -> Node:
    """Return a study with its training merged over the top level's, and each candidate merged over that."""
    own = merge(training, study.mapping.get("training", Node({})))
    candidates = study.child("candidates")
    if candidates is None or not candidates.items:
        return study.with_items(training=own)
    merged = tuple(merge(own, candidate) if isinstance(candidate.value, dict) else candidate for candidate in candidates.items)
    return study.with_items(training=own, candidates=replace(candidates, value=merged))


def with_model(top: Node, models: Sequence[str]) -> Node:
    """Return the mapping of one sweep with its model: the one in the file, else that of the method, else the first of the problem."""
    given, method = top.child("model"), top.child("method")
    if not models or (given is not None and given.value is not None):
        return top
    entry = METHODS.get(method.value) if method is not None and isinstance(method.value, str) else None
    own = entry.model if entry is not None and entry.model in models else None
    return top.with_items(model=Node(own or models[0]))


def without(top: Node, paths: list[Path]) -> Node:
    """Return the mapping without the values at these paths (and without studies, if one of them has no valid name)."""
    if () in paths:
        return Node({})  # the mistake has no particular position, so the rest cannot be checked
    values: dict[str, Node] = dict(top.mapping)
    values.setdefault("problem", Node({"name": Node("")}))
    studies = [dict(study.mapping) for study in values["studies"].items] if "studies" in values else []
    for path in paths:
        if path[0] == "problem":
            # Wrong options are replaced by their defaults, so that preferences can be checked.
            options = {} if path[1:] in ((), ("name",)) else dict(values["problem"].mapping)
            options.pop(str(path[1]) if path[1:] else "", None)
            values["problem"] = Node({"name": Node("")} | options)
        elif path[0] != "studies":
            values.pop(str(path[0]), None)
        elif len(path) > 2 and path[2] != "name":
            studies[int(path[1])].pop(str(path[2]), None)
        else:
            values.pop("studies", None)
    if studies and "studies" in values:
        values["studies"] = Node(tuple(Node(study) for study in studies))
    return Node(values)
