"""A module with a small problem of one's own, for tests."""

from pathlib import Path
from typing import Any

MODULE = """\
import torch
from torch import nn
from trainer.api import Problem, Split, classification, regression
from {helper} import N_FEATURES

class Net(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(N_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList([nn.Linear(width, 2), nn.Linear(width, 1)])
        self.growl_layers = layers
    def forward(self, inputs):
        shared = self.norm(self.body(inputs))
        return [head(shared) for head in self.heads]

def tiny(width: int = 8, n_train: int = 32):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n_train + 16, N_FEATURES, generator=generator)
    targets = torch.stack([inputs[:, 0] > 0, inputs[:, 1]], dim=1)
    parts = [Split(inputs[a:b], targets[a:b]) for a, b in ((0, n_train), (n_train, n_train + 8), (n_train + 8, None))]
    tasks = (classification("sign", 2), regression("value", 1.0))
    networks = {{"net": lambda: Net(width, ("body.2",)), "odd": lambda: Net(width, ("body.2", "norm"))}}
    return Problem("tiny", tasks, networks, *parts)
"""
FACTS = """
def facts(options):
    from trainer.problems.facts import ProblemFacts
    metrics = {"sign": "accuracy", "value": "absolute error"}
    return ProblemFacts(("sign", "value"), metrics, (0.69, 1.0), ("nats", ""), options["n_train"], models=("net", "odd"))
tiny.facts = facts
"""
TRAINING: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 1e-2,
    "sparsify": {"outer_iterations": 1, "epochs": 2},
    "retrain": {"outer_iterations": 1, "epochs": 2},
    "growl": {"sparsity_min": 0.1},
    "lsuv": {"n_samples": 16},
}


def write_module(folder: Path, extra: str = "", module: str = "own_tiny", helper: str = "own_sizes") -> Path:
    """The module and one that it imports, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(MODULE.format(helper=helper) + extra)
    (folder / f"{helper}.py").write_text("N_FEATURES = 4\n")
    return folder
