"""Hostile values, and random changes of plain trees (dicts, lists, scalars) and of bytes."""

import random
from copy import deepcopy
from typing import Any

MARK = "fuzzmark"
"""Part of every text that must never become markup."""
TEXTS = (
    "",
    " ",
    "..",
    "../../outside/canary.txt",
    "/etc/passwd",
    "~root/.ssh",
    "a/b",
    "a\\b",
    ".hidden",
    "CON",
    "-rf",
    "x" * 300,
    "x" * 5_000,
    f"</script><script>{MARK}()</script>",
    f'"><img src=x onerror={MARK}()>',
    f"<b onmouseover={MARK}()>",
    f"javascript:{MARK}()",
    f"{{{{ {MARK} }}}}{{% raw %}}",
    "{0.__class__}",
    "%s%n%(x)s",
    "=cmd|' /C calc'!A0",
    "|a|b|\n|--|--|",
    "\\input{/etc/passwd}",
    "$(touch x) `touch x`; touch x",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "\x00",
    "a\nError: b",
    "\r\nError: x",
    "\u202egnp.exe",
    "\u2028\u2029",
    "\ud800",
    "\ufeff",
    "é" * 40,
    "𝕏",
    "ı İ ß",
    "null",
    "NaN",
    "1e-3",
    "0x10",
    "yes",
    "2026-01-31",
    "__proto__",
    "__class__",
    "mean",
    "sparsity",
    "loss.validation.left",
    "objective.sparsity",
    "json:loads",
    "trainer.api:start",
    "no_such_module:factory",
    "analytic/../zdt1",
    "auto",
)
NUMBERS: tuple[Any, ...] = (
    0,
    -0.0,
    1,
    -1,
    2,
    0.5,
    1e-320,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**31 - 1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**64,
    10**30,
    10**400,
    True,
    False,
    None,
)


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a scalar or, occasionally, a list or mapping of scalars."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(TEXTS)
    if kind < 0.75 or depth > 3:
        return rng.choice(NUMBERS)
    if kind < 0.8:
        return nested(rng.choice((5, 30, 100)), rng.random() < 0.5)
    if kind < 0.9:
        return [any_value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3, 40)))]
    return {rng.choice(TEXTS): any_value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3)))}


def nested(depth: int, is_list: bool) -> Any:
    """Return a value nested in the given number of lists or mappings."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if is_list else {"a": value}
    return value


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value in a tree, except the tree itself."""
    found = []
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


def changed_tree(tree: Any, rng: random.Random, n_changes: int) -> Any:
    """Return a copy in which values were replaced, removed, added, renamed, exchanged, repeated or wrapped."""
    tree = deepcopy(tree)
    for _ in range(n_changes):
        found = places(tree) if isinstance(tree, dict | list) else []
        if not found or rng.random() < 0.02:
            return any_value(rng)
        container, key = rng.choice(found)
        _change(container, key, found, rng)
    return tree


def _change(container: Any, key: Any, found: list[tuple[Any, Any]], rng: random.Random) -> None:
    match rng.randrange(13):
        case 0 | 1 | 2:
            container[key] = any_value(rng)
        case 3:
            del container[key]
        case 4:
            if isinstance(container, dict):
                container[rng.choice(TEXTS)] = any_value(rng)
            else:
                container.insert(rng.randrange(len(container) + 1), any_value(rng))
        case 5:
            if isinstance(container, dict):
                container[rng.choice((*TEXTS, key + "s", key[:-1], key.upper()))] = container.pop(key)
            else:
                container.extend(deepcopy(container[:50]))
        case 6:
            other, name = rng.choice(found)
            container[key] = deepcopy(other[name])
        case 7:
            container[key] = rng.choice(([container[key]], {"a": container[key]}, str(container[key])[:5_000]))
        case _:
            container[key] = _nudged(container[key], rng)


def _nudged(value: Any, rng: random.Random) -> Any:
    """Return nearly the same value."""
    if isinstance(value, bool) or value is None:
        return rng.choice(NUMBERS)
    if isinstance(value, int | float):
        return rng.choice((value + 1, -value, value * 1000, value // 3, value * 0.3 if abs(value) < 1e300 else 0.1))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice(TEXTS)[:20] + value[at + rng.randrange(2) :]
    return any_value(rng)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return flipped, truncated, doubled, shifted, overwritten or random bytes."""
    data = bytearray(data)
    at = rng.randrange(len(data)) if data else 0
    match rng.randrange(8):
        case 0 | 1:
            for _ in range(rng.choice((1, 1, 2, 20))):
                if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            del data[at:]
        case 3:
            del data[at : at + rng.choice((1, 4, 100))]
        case 4:
            data[at:at] = data[at : at + rng.choice((1, 50, 5_000))]
        case 5:
            data[at:at] = rng.randbytes(rng.choice((1, 3, 100)))
        case 6:
            data[at : at + 8] = rng.choice((b"\0" * 8, b"\xff" * 8, rng.randbytes(8)))
        case 7:
            data = bytearray(rng.choice((b"", b"\0", b"\xff\xfe\x00", rng.randbytes(200), b"[" * 100_000, b"PAR1PAR1PAR1")))
    return bytes(data)
