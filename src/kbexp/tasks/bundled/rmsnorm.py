import torch
import torch.nn as nn


class Model(nn.Module):
    """Root-mean-square normalisation over the last dimension, with a weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(dim) + 0.5)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise every row of x (rows, dim), in the same shape."""
        rms = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + self.eps)
        return x / rms * self.weight


rows = 4096
dim = 1024
eps = 1e-5

SIZES = {
    "cpu": {"rows": 4096, "dim": 1024},
    "gpu": {"rows": 32768, "dim": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    # Every row has a spread of its own.
    return [torch.randn(rows, dim) * (torch.rand(rows, 1) * 2.0 + 0.5)]


def get_init_inputs() -> list[int | float]:
    return [dim, eps]
