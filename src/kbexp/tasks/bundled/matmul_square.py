import torch
import torch.nn as nn


class Model(nn.Module):
    """The product of two square matrices."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Multiply a (n, n) by b (n, n)."""
        return torch.matmul(a, b)


n = 1024

SIZES = {
    "cpu": {"n": 1024},
    "gpu": {"n": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    a = torch.randn(n, n)
    b = torch.randn(n, n) / n**0.5
    return [a, b]


def get_init_inputs() -> list[int]:
    return []
