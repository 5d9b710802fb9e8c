"""A small task, kernels for it, and settings that make tests quick."""

from __future__ import annotations

from kbexp.config import EvaluatorConfig
from kbexp.kernel import Kernel

TASK = """
import torch

rows = 64
cols = 256

class Model(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(cols) + 0.5)

    def forward(self, x):
        return torch.softmax(x * self.weight, dim=-1)

def get_inputs():
    return [torch.randn(rows, cols) * 3]

def get_init_inputs():
    return [cols]
"""

KERNEL = TASK.replace("class Model(", "class ModelNew(")

FORWARD = """
import os, sys, ctypes, time, torch

class ModelNew(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(cols) + 0.5)

    def forward(self, x):
        {body}
"""


def kernel(body: str) -> Kernel:
    """Return a kernel whose forward runs `body`."""
    lines = body.strip("\n").splitlines()
    return Kernel(FORWARD.format(body="\n        ".join(lines)))


def quick(**changes: object) -> EvaluatorConfig:
    """Return settings for tests: few calls, short limits."""
    values: dict[str, object] = {
        "name": "test", "correctness_trials": 2, "min_pairs": 6, "max_pairs": 6, "block_ms": 1.0,
        "max_calls": 5, "timing_s": 1.0, "run_timeout_s": 20.0, "build_timeout_s": 60.0,
        "memory_bytes": 3 * 2**30,
    }  # fmt: skip
    return EvaluatorConfig(**{**values, **changes})  # type: ignore[arg-type]


COMPILES_SOON = {
    "TORCHINDUCTOR_VEC_ISA_OK": "1",
    "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
}
"""Variables under which torch.compile does on a CPU in 5 s what takes it 20 s: it does not try out
the compiler with every set of instructions, and precompiles no headers for a single kernel."""

SOFTMAX_C = r"""
#include <math.h>
extern "C" void run(const float *x, const float *w, float *y, long n, long m) {
  for (long i = 0; i < n; i++) {
    float top = -INFINITY, sum = 0;
    for (long j = 0; j < m; j++) top = fmaxf(top, x[i * m + j] * w[j]);
    for (long j = 0; j < m; j++) sum += y[i * m + j] = expf(x[i * m + j] * w[j] - top);
    for (long j = 0; j < m; j++) y[i * m + j] /= sum;
  }
}
"""


def compiled_kernel(code: str = SOFTMAX_C, name: str = "small") -> Kernel:
    """Return a kernel with an extension of a few lines of C, which compiles in about a second."""
    source = kernel(
        "y = torch.empty_like(x)\n"
        "LIB.run(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(self.weight.data_ptr()),\n"
        "        ctypes.c_void_p(y.data_ptr()), ctypes.c_long(x.shape[0]),\n"
        "        ctypes.c_long(x.shape[1]))\n"
        "return y"
    ).source
    prelude = (
        "import ctypes\nfrom torch.utils.cpp_extension import load_inline\n"
        f"LIB = ctypes.CDLL(load_inline({name!r}, cpp_sources=[{code!r}], "
        "is_python_module=False, no_implicit_headers=True))\n"
    )
    return Kernel(prelude + source)
