"""Small sizes of the bundled tasks, and a way to run a kernel's text on them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Odd on purpose: no vector, block or tile divides them, and every axis has a tail.
SMALL = {
    "softmax": {"rows": 19, "cols": 203},
    "layernorm": {"rows": 19, "dim": 203},
    "rmsnorm": {"rows": 19, "dim": 203},
    "cross_entropy": {"rows": 19, "classes": 203},
    "reduce_variance": {"batch_size": 3, "length": 21, "features": 107},
    "cumsum": {"rows": 19, "cols": 203},
    "maxpool2d": {"batch_size": 2, "channels": 3, "height": 13, "width": 22},
    "conv2d_depthwise": {"batch_size": 2, "channels": 3, "height": 13, "width": 22},
    "swiglu": {"rows": 19, "hidden": 203},
    "rope": {"batch_size": 2, "num_heads": 3, "seq_len": 19, "head_dim": 44},
    "matmul_diagonal": {"n": 37, "m": 107},
    "embedding_bag": {"num_embeddings": 91, "dim": 43, "batch_size": 17, "bag_size": 7},
    "matmul_square": {"n": 107},
    "matmul_tall_skinny": {"m": 203, "k": 13, "n": 43},
    "matmul_bias_gelu": {"batch_size": 37, "in_features": 53, "out_features": 107},
    "attention": {"batch_size": 1, "num_heads": 3, "seq_len": 77, "head_dim": 24},
}


def task_source(name: str) -> str:
    """Return a bundled task's text."""
    return (files("kbexp.tasks") / "bundled" / f"{name}.py").read_text(encoding="utf-8")


def load(source: str, path: Path) -> SimpleNamespace:
    """Run a module's text, written to a file first as Triton wants to read it."""
    path.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(ast.parse(source), str(path), "exec"), names)
    return SimpleNamespace(globals=names, **{k: v for k, v in names.items() if k[0] != "_"})


class Bench:
    """Runs kernels on small sizes of a task and compares them with the reference."""

    def __init__(self, folder: Path, task: str, device: str = "cpu") -> None:
        import torch

        self.torch, self.folder, self.device, self.count = torch, folder, device, 0
        module = load(task_source(task), folder / f"task_{task}.py")
        module.globals.update(SMALL[task])
        torch.manual_seed(7)
        self.init_inputs = module.get_init_inputs()
        self.inputs = [value.to(device) for value in module.get_inputs()]
        self.second = [value.to(device) for value in module.get_inputs()]
        reference = self.made(module.Model)
        self.expected = [reference(*self.inputs), reference(*self.second)]

    def made(self, model: Any) -> Any:
        """Construct a model under the seed that all models of this bench get."""
        self.torch.manual_seed(42)
        return model(*self.init_inputs).to(self.device)

    def load(self, source: str) -> Any:
        """Return the kernel's `ModelNew`, constructed; raises what its text raises."""
        self.count += 1
        return self.made(load(source, self.folder / f"kernel_{self.count}.py").ModelNew)

    def correct(self, source: str) -> bool:
        """Return whether a kernel gives the reference's answers, twice with other values."""
        kernel, torch = self.load(source), self.torch
        for values, expected in zip((self.inputs, self.second), self.expected, strict=True):
            kept = [value.clone() for value in values]
            got = kernel(*values)
            same = got.shape == expected.shape and got.dtype == expected.dtype
            if not same or not torch.allclose(got, expected, rtol=1e-4, atol=1e-4):
                return False
            assert all(torch.equal(a, b) for a, b in zip(kept, values, strict=True))
        return True


@pytest.fixture(scope="session")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give load_inline a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        yield


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    """Return the bench of a task on the CPU, made once."""
    return _benches(tmp_path_factory, "cpu")


@pytest.fixture(scope="session")
def gpu_bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    """Return the bench of a task on the GPU, made once."""
    return _benches(tmp_path_factory, "cuda")


def _benches(factory: pytest.TempPathFactory, device: str) -> Callable[[str], Bench]:
    made: dict[str, Bench] = {}

    def bench_of(task: str) -> Bench:
        if task not in made:
            made[task] = Bench(factory.mktemp(task), task, device)
        return made[task]

    return bench_of
