import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """Cross entropy of logits and integer targets, one loss a row."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Map logits (rows, classes) and targets (rows,), int64, to losses (rows,)."""
        return F.cross_entropy(logits, targets, reduction="none")


rows = 1280
classes = 4096

SIZES = {
    "cpu": {"rows": 1280, "classes": 4096},
    "gpu": {"rows": 8192, "classes": 32768},
}


def get_inputs() -> list[torch.Tensor]:
    logits = torch.randn(rows, classes) * 2.0
    targets = torch.randint(0, classes, (rows,))
    return [logits, targets]


def get_init_inputs() -> list[int]:
    return []
