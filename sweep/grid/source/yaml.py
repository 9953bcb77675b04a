"""Reads YAML into nodes that remember file, line and column.

Only YAML 1.2's core schema is supported: there are no tags, no Python objects and no dates (they stay text). A repeated key, a
second document and an alias that grows without bound are mistakes. Nodes are built from the parser's events without recursion, so
that no nesting can exhaust the stack.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from sweep.grid.source.mistakes import ConfigError, Mistake, Position, shown
from sweep.grid.source.mistakes import Path as Keys
from sweep.grid.source.nodes import CONTROL, MAX_DEPTH, Node, resolve_scalar
from sweep.grid.source.text import TextFile, position_of

MAX_NODES = 100_000


def read_yaml(file: TextFile) -> tuple[Node, list[Mistake]]:
    """Parse the text of a grid file into nodes.

    Returns:
        The top node, and the mistakes after which reading could continue (a repeated key, a tag).

    Raises:
        ConfigError: the syntax is broken, or the file is empty.
    """
    return _Builder(file.name).build(file.text)


@dataclass
class _Open:
    """A list or mapping whose end has not been read yet."""

    position: Position
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    values: dict[str, Node] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    """The values that `<<` merges into this mapping."""
    key: tuple[str, Position] | None = None
    """The key whose value has not been read yet."""


class _Builder:
    """Builds nodes from the events of one text."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.anchors: dict[str, Node | None] = {}
        self.stack: list[_Open] = []
        self.top: Node | None = None
        self.n_nodes = 0

    def build(self, text: str) -> tuple[Node, list[Mistake]]:
        n_documents = 0
        for event in self._events(text):
            if isinstance(event, DocumentStartEvent):
                n_documents += 1
                if n_documents > 1:
                    hint = "one grid file is one sweep: remove the line `---` and what follows"
                    self._stop("one YAML document expected, a second one starts here", self._at(event), hint)
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                self._open(event)
            elif isinstance(event, CollectionEndEvent):
                self._close(self.stack.pop())
            elif isinstance(event, AliasEvent):
                self._add(self._alias(event))
            elif isinstance(event, ScalarEvent):
                node = self._scalar(event)
                self._anchor(event.anchor, node)
                self._add(node)
        if self.top is None or (self.top.value is None and not self.top.text):
            self._stop("the file is empty", Position(self.file, 1, 1), "`sweep init` writes a starter grid file")
        return self.top, self.mistakes

    def _events(self, text: str) -> Iterator[Event]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except ReaderError as error:
            hint = "remove it, or write it as an escape in double quotes"
            found = shown(text[error.position : error.position + 1])
            self._stop("a printable character expected", position_of(self.file, text, error.position), hint, found)
        except MarkedYAMLError as error:
            mark, start = error.problem_mark or error.context_mark, error.context_mark
            position = Position(self.file, mark.line + 1, mark.column + 1) if mark else Position(self.file, 1, 1)
            opened = f" (since line {start.line + 1})" if start and start.line + 1 != position.line else ""
            problem = " ".join(str(error.problem or error.context or "unreadable").split())
            hint = "check indentation, colons, quotes and brackets on this line and the one before"
            self._stop(f"broken YAML syntax: {problem}{opened}", position, hint)
        except (YAMLError, ValueError, IndexError, AttributeError, TypeError) as error:
            # The parser itself fails on malformed directives and escapes; the file is at fault, not this program.
            if isinstance(error, ConfigError):
                raise
            problem = " ".join(str(error).split()) or type(error).__name__
            hint = "check quotes, escapes and `%` lines"
            raise ConfigError([*self.mistakes, Mistake((), f"broken YAML syntax: {problem}", hint=hint, file=self.file)]) from None

    def _stop(self, rule: str, position: Position, hint: str, found: str | None = None) -> NoReturn:
        raise ConfigError([*self.mistakes, Mistake(self._path(), rule, found, hint, position)]) from None

    def _note(self, rule: str, position: Position, hint: str, found: str | None = None) -> None:
        self.mistakes.append(Mistake(self._path(), rule, found, hint, position))

    def _at(self, event: Event) -> Position:
        return Position(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _path(self) -> Keys:
        parts: list[str | int] = []
        for frame in self.stack:
            if not frame.is_mapping:
                parts.append(len(frame.items))
            elif frame.key is not None:
                parts.append(frame.key[0])
        return tuple(parts)

    def _no_tag(self, event: Any) -> None:
        if event.ctag is not None:
            self._note("tags are not allowed", self._at(event), "write the plain value", shown(str(event.ctag)).strip('"'))

    def _anchor(self, name: str | None, node: Node | None) -> None:
        if name is not None:
            self.anchors[name] = node

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        position = self._at(event)
        self._no_tag(event)
        is_mapping = isinstance(event, MappingStartEvent)
        if self.stack and self.stack[-1].is_mapping and self.stack[-1].key is None:
            self._stop("a key is text, not a list or mapping", position, "quote it if braces or brackets are meant as text")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(f"at most {MAX_DEPTH} levels of nesting expected", position, "a grid file needs fewer than ten")
        self._anchor(event.anchor, None)
        self.stack.append(_Open(position, event.anchor, is_mapping))

    def _close(self, frame: _Open) -> None:
        value: tuple[Node, ...] | dict[str, Node]
        if frame.is_mapping:
            value = {}
            for source in reversed(frame.merged):
                value |= source.mapping
            value |= frame.values
            nodes = list(value.values())
        else:
            value = tuple(frame.items)
            nodes = frame.items
        depth = 1 + max((node.depth for node in nodes), default=0)
        node = Node(value, frame.position, n_nodes=1 + sum(node.n_nodes for node in nodes), depth=depth)
        self._anchor(frame.anchor, node)
        self._add(node)

    def _alias(self, event: AliasEvent) -> Node:
        name, position = event.anchor, self._at(event)
        if name not in self.anchors:
            self._stop("an alias needs an anchor before it", position, f"write `&{name}` at the value that is meant", f"*{name}")
        node = self.anchors[name]
        if node is None:
            self._stop("an alias inside its own anchor", position, "a value cannot contain itself", f"*{name}")
        if len(self.stack) + node.depth > MAX_DEPTH:
            self._stop(f"at most {MAX_DEPTH} levels of nesting expected", position, "a grid file needs fewer than ten", f"*{name}")
        self._count(node.n_nodes, position)
        return node

    def _count(self, n_nodes: int, position: Position) -> None:
        self.n_nodes += n_nodes
        if self.n_nodes > MAX_NODES:
            hint = "long lists of preferences belong in a CSV file: `preferences: {file: k.csv}`"
            self._stop(f"at most {MAX_NODES} values expected (aliases count in full)", position, hint)

    def _scalar(self, event: ScalarEvent) -> Node:
        position = self._at(event)
        self._no_tag(event)
        self._count(1, position)
        if not event.value.isprintable() and CONTROL.search(event.value):
            self._note("text without control characters expected", position, "only line breaks and tabs are allowed", shown(event.value))
            return Node("", position)
        if not event.implicit[0]:
            return Node(event.value, position)
        value = resolve_scalar(event.value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self._note("a number that fits into 64 bits expected", position, "write a smaller number", shown(event.value).strip('"'))
            value = 0
        return Node(value, position, text=event.value or None)

    def _add(self, node: Node) -> None:
        """Add a finished value to the list or mapping that contains it."""
        if not self.stack:
            self.top = node
            return
        frame = self.stack[-1]
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is not None:
            self._set(frame, frame.key, node)
            frame.key = None
        else:
            name = node.value if isinstance(node.value, str) else node.text
            position = node.position or frame.position
            if name is None or isinstance(node.value, dict | tuple):
                self._stop("a key is text", position, "write `key: value`", node.found())
            frame.key = (name, position)

    def _set(self, frame: _Open, key: tuple[str, Position], node: Node) -> None:
        name, position = key
        if name == "<<":
            sources = node.items or (node,)
            if all(isinstance(source.value, dict) for source in sources):
                frame.merged.extend(sources)
            else:
                self._note("`<<` merges a mapping or a list of mappings", position, "name an anchor: `<<: *defaults`", node.found())
        elif name in frame.values:
            first = frame.values[name].key
            self._note(
                "repeated key", position, f"its first occurrence is in line {first.line if first else '?'}; keep one of them", node.found()
            )
        else:
            # A missing value has no position of its own, and the parser reports the position of the next token.
            is_missing = node.value is None and node.text is None
            frame.values[name] = replace(node, key=position, position=position if is_missing else node.position)
