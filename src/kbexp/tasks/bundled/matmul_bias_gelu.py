import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """A linear layer with a bias, then GELU, then a scale."""

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (batch_size, in_features) to (batch_size, out_features)."""
        x = self.linear(x)
        x = F.gelu(x)
        return x * self.scale


batch_size = 1024
in_features = 768
out_features = 1024
scale = 1.7

SIZES = {
    "cpu": {"batch_size": 1024, "in_features": 768, "out_features": 1024},
    "gpu": {"batch_size": 8192, "in_features": 4096, "out_features": 4096},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(batch_size, in_features)]


def get_init_inputs() -> list[int | float]:
    return [in_features, out_features, scale]
