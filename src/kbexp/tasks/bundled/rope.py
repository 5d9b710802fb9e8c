import torch
import torch.nn as nn


class Model(nn.Module):
    """Rotary position embedding, halves rotated against each other (GPT-NeoX layout)."""

    def __init__(self, seq_len: int, head_dim: int, base: float) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        positions = torch.arange(seq_len, dtype=torch.float32)
        angles = torch.outer(positions, base**-exponents)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        """Rotate q (batch_size, num_heads, seq_len, head_dim) by position, in the same shape."""
        first, second = q.chunk(2, dim=-1)
        rotated = torch.cat((-second, first), dim=-1)
        return q * self.get_buffer("cos") + rotated * self.get_buffer("sin")


batch_size = 4
num_heads = 16
seq_len = 512
head_dim = 128
base = 10000.0

SIZES = {
    "cpu": {"batch_size": 4, "num_heads": 16, "seq_len": 512, "head_dim": 128},
    "gpu": {"batch_size": 16, "num_heads": 32, "seq_len": 2048, "head_dim": 128},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(batch_size, num_heads, seq_len, head_dim)]


def get_init_inputs() -> list[int | float]:
    return [seq_len, head_dim, base]
