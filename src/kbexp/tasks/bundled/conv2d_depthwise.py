import torch
import torch.nn as nn


class Model(nn.Module):
    """A depthwise 2D convolution: every channel has a filter of its own."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter x (batch_size, channels, height, width); an odd kernel keeps the shape."""
        y: torch.Tensor = self.conv(x)
        return y


batch_size = 10
channels = 96
height = 64
width = 64
kernel_size = 3

SIZES = {
    "cpu": {"batch_size": 10, "channels": 96, "height": 64, "width": 64},
    "gpu": {"batch_size": 32, "channels": 128, "height": 128, "width": 128},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs() -> list[int]:
    return [channels, kernel_size]
