import torch
import torch.nn as nn


class Model(nn.Module):
    """Causal scaled dot-product attention over several heads."""

    def __init__(self, seq_len: int, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**-0.5
        future = torch.ones(seq_len, seq_len, dtype=torch.bool).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend; q, k, v and the result are (batch_size, num_heads, seq_len, head_dim)."""
        scores = torch.matmul(q, k.transpose(-2, -1)) * self.scale
        scores = scores.masked_fill(self.get_buffer("future"), float("-inf"))
        return torch.matmul(torch.softmax(scores, dim=-1), v)


batch_size = 4
num_heads = 8
seq_len = 256
head_dim = 64

SIZES = {
    "cpu": {"batch_size": 4, "num_heads": 8, "seq_len": 256, "head_dim": 64},
    "gpu": {"batch_size": 8, "num_heads": 16, "seq_len": 2048, "head_dim": 64},
}


def get_inputs() -> list[torch.Tensor]:
    q = torch.randn(batch_size, num_heads, seq_len, head_dim)
    k = torch.randn(batch_size, num_heads, seq_len, head_dim)
    v = torch.randn(batch_size, num_heads, seq_len, head_dim)
    return [q, k, v]


def get_init_inputs() -> list[int]:
    return [seq_len, head_dim]
