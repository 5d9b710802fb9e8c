import torch
import torch.nn as nn


class Model(nn.Module):
    """Rows of a table looked up by index and summed over every bag."""

    def __init__(self, num_embeddings: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_embeddings, dim)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Map indices (batch_size, bag_size), int64, to sums (batch_size, dim)."""
        rows: torch.Tensor = self.table(indices)
        return rows.sum(dim=1)


num_embeddings = 50000
dim = 64
batch_size = 4096
bag_size = 32

SIZES = {
    "cpu": {"num_embeddings": 50000, "dim": 64, "batch_size": 4096, "bag_size": 32},
    "gpu": {"num_embeddings": 1000000, "dim": 128, "batch_size": 65536, "bag_size": 32},
}


def get_inputs() -> list[torch.Tensor]:
    return [torch.randint(0, num_embeddings, (batch_size, bag_size))]


def get_init_inputs() -> list[int]:
    return [num_embeddings, dim]
