import torch
import torch.nn as nn


class Model(nn.Module):
    """The running sum along the last dimension."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the inclusive cumulative sum of every row of x (rows, cols)."""
        return torch.cumsum(x, dim=-1)


rows = 4096
cols = 1024

SIZES = {
    "cpu": {"rows": 4096, "cols": 1024},
    "gpu": {"rows": 32768, "cols": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    # A small step keeps the rounding of a plain fp32 loop well inside the tolerance.
    return [torch.randn(rows, cols) * 0.25]


def get_init_inputs() -> list[int]:
    return []
