import torch
import torch.nn as nn


class Model(nn.Module):
    """Mean and variance over the middle dimension."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (batch_size, length, features) to (2, batch_size, features), the mean first.

        The variance is that of the population: divided by length.
        """
        mean = torch.mean(x, dim=1)
        variance = torch.var(x, dim=1, correction=0)
        return torch.stack((mean, variance))


batch_size = 16
length = 512
features = 512

SIZES = {
    "cpu": {"batch_size": 16, "length": 512, "features": 512},
    "gpu": {"batch_size": 64, "length": 2048, "features": 1024},
}


def get_inputs() -> list[torch.Tensor]:
    # Every column has a mean and a spread of its own.
    shift = torch.randn(batch_size, 1, features)
    spread = torch.rand(batch_size, 1, features) + 0.5
    return [torch.randn(batch_size, length, features) * spread + shift]


def get_init_inputs() -> list[int]:
    return []
