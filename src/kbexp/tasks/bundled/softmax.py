import torch
import torch.nn as nn


class Model(nn.Module):
    """Softmax over the last dimension."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the softmax of every row of x (rows, cols), in the same shape."""
        return torch.softmax(x, dim=-1)


rows = 32768
cols = 128
# Wide logits make peaked rows: with a spread of 1 every output would be about 1 / cols.
spread = 4.0

SIZES = {
    "cpu": {"rows": 32768, "cols": 128},
    "gpu": {"rows": 65536, "cols": 2048},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(rows, cols) * spread]


def get_init_inputs() -> list[int]:
    return []
