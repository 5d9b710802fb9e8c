import torch
import torch.nn as nn


class Model(nn.Module):
    """The product of a tall, skinny matrix and a small one."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Multiply a (m, k) by b (k, n), where m is far larger than k and n."""
        return torch.matmul(a, b)


m = 65536
k = 48
n = 64

SIZES = {
    "cpu": {"m": 65536, "k": 48, "n": 64},
    "gpu": {"m": 2097152, "k": 48, "n": 64},
}


def get_inputs() -> list[torch.Tensor]:
    a = torch.randn(m, k)
    b = torch.randn(k, n) / k**0.5
    return [a, b]


def get_init_inputs() -> list[int]:
    return []
