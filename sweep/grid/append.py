"""Adds preference vectors to a grid file without changing any other character, including comments."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from sweep.grid.load import GridFile, SweepConfig, read_grid
from sweep.grid.preferences import Vector
from sweep.grid.source.mistakes import ConfigError, Mistake
from sweep.grid.source.text import read_text

_DECIMALS = 12


def append_preferences(path: Path, vectors: Sequence[Vector], study: str | None = None) -> int:
    """Add vectors to the `preferences` of a grid file, as a list of vectors. The file is replaced atomically.

    Args:
        path: the grid file.
        vectors: shape (n_vectors, n_objectives); vectors that the file already contains are skipped.
        study: the study whose preferences are extended. If it is None or the study has no preferences of its own, those of the file
            are extended.

    Returns:
        The number of added vectors.

    Raises:
        ConfigError: the file cannot be read, used or replaced, it has no such study, or the vectors do not fit its problem. The file is
            then unchanged.
    """
    grid = read_grid(path)
    if grid.file.is_stream:
        hint = "name a grid file; that of a run is stored as `grid_file` in plans/<n>.json of its results folder"
        raise ConfigError([Mistake((), "a file that can be replaced expected", hint=hint, file=grid.file.name)])
    before = grid.configs()
    known = {_rounded(vector) for config in before for vector in _vectors(config, study, path)}
    new = [vector for vector in dict.fromkeys(map(_rounded, vectors)) if vector not in known]
    if not new:
        return 0
    changed = with_vectors(grid.file.text, new, study)
    _check(replace(grid, file=replace(grid.file, text=changed)), path, before, new, study)
    target = path.resolve()
    aside = target.with_name(f".{target.name}.tmp.yaml")
    try:
        aside.write_text(changed, encoding="utf-8-sig" if grid.file.has_bom else "utf-8", newline="")
        with contextlib.suppress(OSError):
            aside.chmod(target.stat().st_mode)
        if read_text(path) != grid.file.text:
            hint = "run the command again"
            raise ConfigError([Mistake((), "the file was changed in the meantime, so it has not been replaced", hint=hint, file=str(path))])
        os.replace(aside, target)
    except OSError as error:
        hint = "name a file in a writable folder"
        raise ConfigError([Mistake((), f"cannot be written: {error.strerror or error}", hint=hint, file=str(path))]) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return len(new)


def with_vectors(text: str, vectors: Sequence[Vector], study: str | None = None) -> str:
    """Return the text of a grid file with vectors added to its `preferences`, without checking the result.

    Args:
        text: the text of the grid file.
        vectors: shape (n_vectors, n_objectives).
        study: as for `append_preferences`.
    """
    top = YAML(typ="safe", pure=True).compose(text)
    owner = _owner(top, study)
    newline = "\r\n" if "\r\n" in text else "\n"
    found = _value(owner, "preferences")
    if found is None:
        end = text.rstrip()
        inside = f",{newline}".join(f"  {_shown(vector)}" for vector in vectors)
        return f"{end}{newline}preferences: [paper, {{list: [{newline}{inside}]}}]{newline}"
    key, value = found
    holder = _list_in(value)
    indent = " " * (key.start_mark.column + 2)
    if holder is not None and holder.value:
        return _into_list(text, holder, vectors, newline)
    listed = f"{{list: [{newline}" + f",{newline}".join(f"{indent}{_shown(vector)}" for vector in vectors) + "]}"
    start, end_of = value.start_mark.index, _end(value)
    if isinstance(value, SequenceNode):
        if value.flow_style:
            last = _end(value.value[-1])
            return f"{text[:last]}, {listed}{text[last:]}"
        place = _end_of_line(text, end_of)
        return f"{text[:place]}{newline}{' ' * value.start_mark.column}- {listed}{text[place:]}"
    if isinstance(value, ScalarNode) or (isinstance(value, CollectionNode) and value.flow_style):
        return f"{text[:start]}[{text[start:end_of]}, {listed}]{text[end_of:]}"
    # A block mapping becomes the first item of a list, two columns further to the right.
    place = _end_of_line(text, end_of)
    first, *rest = text[start:place].split("\n")
    moved = "\n".join([f"- {first}", *(f"  {line}" if line.strip() else line for line in rest)])
    return f"{text[:start]}{moved}{newline}{' ' * value.start_mark.column}- {listed}{text[place:]}"


def _check(changed: GridFile, path: Path, before: Sequence[SweepConfig], new: Sequence[Vector], study: str | None) -> None:
    """Check that the new text has exactly the old vectors and the new ones, in any order."""
    try:
        after = changed.configs()
        for old, config in zip(before, after, strict=True):
            if set(map(_rounded, _vectors(config, study, path))) != {*map(_rounded, _vectors(old, study, path)), *new}:
                raise ValueError
    except ValueError as error:
        reason = f": {error.mistakes[0].rule}" if isinstance(error, ConfigError) else ""
        shown = ", ".join(_shown(vector) for vector in new)
        raise ConfigError(
            [Mistake(("preferences",), f"the vectors cannot be added here{reason}", hint=f"add them by hand: {shown}", file=str(path))]
        ) from error


def _vectors(config: SweepConfig, study: str | None, path: Path) -> tuple[Vector, ...]:
    studies = [one for one in config.resolved_studies if one.preferences != (None,)]
    chosen = [one for one in studies if study is None or one.name == study or len(config.resolved_studies) == 1]
    if not chosen:
        names = ", ".join(one.name for one in studies)
        hint = f"the studies with preferences are {names}" if names else "no method in this file uses preferences"
        raise ConfigError([Mistake(("studies",), "a study with preferences expected", study, hint, file=str(path))])
    if any(one.placing is not None for one in chosen):
        hint = "raise `n`: the product places further vectors where the front has gaps; or give a second study the vectors"
        raise ConfigError([Mistake(("preferences", "front"), "a grid expected, to which vectors can be added", hint=hint, file=str(path))])
    skip = (
        0 if config.problem.facts.has_sparsity else 1
    )  # without sparsity, a trial's vector still begins with k0, but a grid file's does not
    return tuple(dict.fromkeys(vector[skip:] for one in chosen for vector in one.preferences if vector is not None))


def _owner(top: Node, study: str | None) -> Node:
    """Return the mapping whose `preferences` are extended: the study's entry if it has its own, otherwise the top of the file."""
    studies = _value(top, "studies")
    for entry in studies[1].value if studies is not None and isinstance(studies[1], SequenceNode) else ():
        name = _value(entry, "name")
        if study is not None and name is not None and name[1].value == study and _value(entry, "preferences") is not None:
            owner: Node = entry
            return owner
    return top


def _value(node: Node, key: str) -> tuple[Node, Node] | None:
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next(((name, value) for name, value in pairs if name.value == key), None)


def _list_in(value: Node) -> SequenceNode | None:
    """Return the last list of vectors in the value of `preferences`, or None."""
    parts = value.value if isinstance(value, SequenceNode) else [value]
    lists = [found[1] for part in parts if (found := _value(part, "list")) is not None and isinstance(found[1], SequenceNode)]
    return lists[-1] if lists else None


def _into_list(text: str, holder: SequenceNode, vectors: Sequence[Vector], newline: str) -> str:
    last = holder.value[-1]
    end = _end(last)
    if holder.flow_style:
        indent = " " * last.start_mark.column
        return text[:end] + "".join(f",{newline}{indent}{_shown(vector)}" for vector in vectors) + text[end:]
    place = _end_of_line(text, end)
    indent = " " * holder.start_mark.column
    return text[:place] + "".join(f"{newline}{indent}- {_shown(vector)}" for vector in vectors) + text[place:]


def _end(node: Node) -> int:
    """Return the index at which the text of a node ends. A block ends with its last value; the parser's mark includes what follows."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _rounded(vector: Vector) -> Vector:
    return tuple(round(float(share), _DECIMALS) for share in vector)


def _shown(vector: Vector) -> str:
    return f"[{', '.join(f'{share:.12g}' for share in vector)}]"
