import torch
import torch.nn as nn


class Model(nn.Module):
    """The product of a diagonal matrix, given by its diagonal, and a dense one."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Scale row i of b (n, m) by a[i], where a (n,) is the diagonal."""
        return torch.diag(a) @ b


n = 768
m = 1536

SIZES = {
    "cpu": {"n": 768, "m": 1536},
    "gpu": {"n": 4096, "m": 8192},
}


def get_inputs() -> list[torch.Tensor]:
    a = torch.randn(n)
    b = torch.randn(n, m)
    return [a, b]


def get_init_inputs() -> list[int]:
    return []
