import torch
import torch.nn as nn


class Model(nn.Module):
    """Max pooling over windows that overlap."""

    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size, stride=stride, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool x (batch_size, channels, height, width) over its last two dimensions."""
        y: torch.Tensor = self.pool(x)
        return y


batch_size = 8
channels = 32
height = 128
width = 128
kernel_size = 3
stride = 2
padding = 1

SIZES = {
    "cpu": {"batch_size": 8, "channels": 32, "height": 128, "width": 128},
    "gpu": {"batch_size": 32, "channels": 64, "height": 256, "width": 256},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs() -> list[int]:
    return [kernel_size, stride, padding]
