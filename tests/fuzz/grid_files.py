"""Mutated grid files: every file of configs/, changed as a tree, as text, or as bytes."""

import contextlib
import json
import random
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.fuzz.hostile import TEXTS, any_value, changed_bytes, changed_tree

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("configs", "configs/overrides") for path in (REPOSITORY / folder).glob("*.yaml"))
_PLANNED = [
    REPOSITORY / "configs" / name for name in ("quickstart.yaml", "theory.yaml", "multidigits-paper.yaml", "table1-multidigits.yaml")
]
_KEYS = ("problem", "model", "method", "preferences", "seeds", "training", "resources", "output", "studies", "after", "scaling")
_SNIPPETS = (
    "!!python/object/apply:os.system ['touch pwned']\n",
    "problem: !!python/name:os.system\n",
    "x: &a [*a]\n",
    "? [a, b]\n: c\n",
    "---\nname: second\n",
    "%YAML 9.9\n",
    "%TAG ! tag:x,2000:\n---\n",
    "<<: {seeds: [0]}\n",
    "<<: 3\n",
    "name: |\n  a\n  b\n",
    "\tname: x\n",
    "seeds: [0, 1, 2\n",
    "seeds: 0o777\n",
    "name: 'unclosed\n",
    'name: "\\x1b[2J\\ud800"\n',
    "- a list\n",
    "...\n",
    "# \x1b]0;x\x07\n",
    "name: \u2028x\n",
    "output: !!binary aGVsbG8=\n",
    "preferences: {file: /dev/zero}\n",
    "preferences: {file: ../outside/canary.txt}\n",
    "preferences: {simplex: {divisions: 100000000}}\n",
    "preferences: {simplex: {divisions: 3, k0: [1e-300, 1e300, -0.0]}}\n",
    "seeds: [0, 0, 0]\n",
)


def mutated(rng: random.Random, number: int) -> bytes:
    """Return the bytes of one mutated grid file."""
    # Half of them from files whose problems need no original data, so that they reach the planning.
    source = rng.choice(_PLANNED) if number % 2 else SOURCES[number // 2 % len(SOURCES)]
    data = source.read_bytes()
    kind = rng.random()
    if kind < 0.60:
        tree = changed_tree(_plain(data), rng, rng.choice((1, 1, 1, 2, 3, 8)))
        return _dumped(tree, rng)
    if kind < 0.85:
        return _changed_text(data.decode(), rng).encode("utf-8", "surrogatepass")
    return changed_bytes(data, rng)


def _plain(source: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(source.decode())


def _dumped(tree: Any, rng: random.Random) -> bytes:
    """Return a value as YAML, or as JSON (which is valid YAML) if the dumper cannot write it."""
    is_json, is_flow, is_ascii = rng.random() < 0.5, rng.random() < 0.3, rng.random() < 0.5
    stream = StringIO()
    if not is_json:
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = is_flow
        with contextlib.suppress(YAMLError, ValueError, TypeError, AttributeError):  # what the dumper cannot write goes out as JSON
            yaml.dump(tree, stream)
            return stream.getvalue().encode("utf-8", "surrogatepass")
    return json.dumps(tree, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")


def _changed_text(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines) + 1)
        match rng.randrange(8):
            case 0:
                lines.insert(at, rng.choice(_SNIPPETS))
            case 1:
                lines.insert(at, f"{rng.choice(_KEYS)}: {json.dumps(any_value(rng))[:2_000]}\n")
            case 2:
                lines[at : at + 1] = [line * 2 for line in lines[at : at + 1]]  # a key twice
            case 3:
                lines[at : at + 1] = []
            case 4:
                lines[at : at + 1] = [rng.choice(("  ", "    ", "- ", "\t")) + line for line in lines[at : at + 1]]
            case 5:
                lines.insert(at, _bomb(rng))
            case 6:
                at = rng.randrange(len(lines)) if lines else 0
                key, colon, _ = lines[at].partition(":") if lines else ("", "", "")
                lines[at : at + 1] = [f"{key}{colon} {rng.choice(TEXTS)}\n"]
            case 7:
                lines = list(
                    "".join(lines).replace(rng.choice((":", ",", "{", "]", "0", "\n")), rng.choice((":", "", "}", "&x ", "*x ")), 2)
                )
    return "".join(lines)


def _bomb(rng: random.Random) -> str:
    """Return a text that is costly to read: aliases that grow tenfold in each line, one long line, or deeply nested brackets."""
    match rng.randrange(3):
        case 0:
            lines = ["b0: &b0 [x, x, x, x, x, x, x, x, x, x]"]
            lines += [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]" for i in range(1, rng.choice((3, 9)))]
            return "\n".join(lines) + "\n"
        case 1:
            return f"name: {'a' * rng.choice((1_000, 200_000))}\n"
        case _:
            return "deep: " + rng.choice(("[", "{a: ", "- ", "? ")) * rng.choice((30, 2_000)) + "\n"
