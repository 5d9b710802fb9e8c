import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """SwiGLU: one half of the features gates the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (rows, 2 * hidden), gate before value, to (rows, hidden)."""
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up


rows = 3072
hidden = 1024

SIZES = {
    "cpu": {"rows": 3072, "hidden": 1024},
    "gpu": {"rows": 16384, "hidden": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(rows, 2 * hidden) * 2.0]


def get_init_inputs() -> list[int]:
    return []
