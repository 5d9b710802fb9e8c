import torch
import torch.nn as nn


class Model(nn.Module):
    """Layer normalisation over the last dimension, with weight and bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        # The default, ones and zeros, would let a kernel leave both out.
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise every row of x (rows, dim), in the same shape."""
        y: torch.Tensor = self.norm(x)
        return y


rows = 65536
dim = 64

SIZES = {
    "cpu": {"rows": 65536, "dim": 64},
    "gpu": {"rows": 32768, "dim": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    # Every row has a mean and a spread of its own.
    x = torch.randn(rows, dim) * (torch.rand(rows, 1) + 1.0) + torch.randn(rows, 1)
    return [x]


def get_init_inputs() -> list[int]:
    return [dim]
