"""A model card for people, in Markdown."""

from collections.abc import Mapping
from typing import Any

_SIZES = {
    "parameters": "parameters",
    "macs": "multiply-adds a sample",
    "weight_bytes": "bytes of the weights",
    "bytes": "bytes of the file",
}


def card_text(card: Mapping[str, Any]) -> str:
    """The card of an exported network (`Exported.card`) as a Markdown page."""
    lines = [
        f"# {card['model']} for {card['problem']}, trial {card['trial_id']}",
        "",
        f"Made by {card['product']} from the sweep {card['sweep']}: method {card['method']}, study {card['study']}, seed {card['seed']}, "
        f"k = {_vector(card['k'])}.",
        "",
        f"Input: a batch of shape ({', '.join(str(n) for n in card['inputs'])}). Outputs: {', '.join(card['tasks'])}, in this order.",
        "",
        "| | before | after | |",
        "|---|---|---|---|",
        *(_sizes(title, card[name]) for name, title in _SIZES.items() if name in card),
        *(_times(f"ms, {batch}", pair) for batch, pair in card["latency_ms"].items()),
        "",
        f"Times: medians on {card['latency_of']}.",
        "",
        f"SR {_share(card['sparsity_rate'])}, CR {_ratio(card['compression_rate'])}, PS {_ratio(card['parameter_sharing'])}.",
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in card["measured"].items()),
        *(f"| objective {name} | {value:.6g} |" for name, value in card["objectives"].items() if value is not None),
        "",
        f"On all {card['verified']['test_samples']:,} test samples its outputs are those of the trained network within "
        f"{card['verified']['largest_difference']:.1g} (limit {card['verified']['tolerance']:g}).",
        *(["", "Not removed:", "", *(f"- {note}" for note in card["not_removed"])] if card["not_removed"] else []),
        "",
        f"Weights before: SHA-256 {card['weights_sha256']}. Problem: {card['problem_fingerprint']}. "
        f"Trained with {', '.join(f'{name} {number}' for name, number in card['versions'].items())}.",
        "",
    ]
    return "\n".join(lines)


def _sizes(title: str, pair: Mapping[str, int]) -> str:
    share = f"{100 * pair['after'] / pair['before']:.1f} %" if pair["before"] else ""
    return f"| {title} | {pair['before']:,} | {pair['after']:,} | {share} |"


def _times(title: str, pair: Mapping[str, float]) -> str:
    return f"| {title} | {pair['before']:.3g} | {pair['after']:.3g} | {pair['before'] / pair['after']:.2f} times as fast |"


def _vector(k: Any) -> str:
    return "none" if k is None else f"({', '.join(f'{value:.4g}' for value in k)})"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
