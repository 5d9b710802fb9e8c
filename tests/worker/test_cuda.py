"""The evaluator on a CUDA device: every way to write a kernel, and every way to break a device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import TASK, kernel, quick

from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Status
from kbexp.worker.worker import Worker

pytestmark = pytest.mark.gpu

GOOD = "return torch.softmax(x * self.weight, dim=-1)"

HEAD = """
import ctypes, torch

class Base(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(cols) + 0.5)
"""

NVRTC = (
    HEAD
    + '''
SOURCE = r"""
extern "C" __global__ void rows(const float *x, const float *w, float *y, int m) {
  const float *a = x + (size_t)blockIdx.x * m;
  float top = -3e38f, sum = 0;
  for (int j = 0; j < m; j++) top = fmaxf(top, a[j] * w[j]);
  for (int j = 0; j < m; j++) sum += expf(a[j] * w[j] - top);
  for (int j = threadIdx.x; j < m; j += blockDim.x) {
    y[(size_t)blockIdx.x * m + j] = expf(a[j] * w[j] - top) / sum;  // STORE
  }
}
"""

class ModelNew(Base):
    def __init__(self, cols):
        super().__init__(cols)
        self.rows = torch.cuda._compile_kernel(SOURCE, "rows")

    def forward(self, x):
        y = torch.empty_like(x)
        self.rows((x.shape[0], 1, 1), (128, 1, 1), (x, self.weight, y, x.shape[1]))
        return y
'''
)

TRITON = (
    HEAD
    + """
import triton
import triton.language as tl

@triton.jit
def rows(x, w, y, m, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    a = tl.load(x + row * m + at, mask=at < m, other=0.0) * tl.load(w + at, mask=at < m, other=0.0)
    a = tl.where(at < m, a, -float("inf"))
    e = tl.exp(a - tl.max(a, 0))
    tl.store(y + row * m + at, e / tl.sum(e, 0), mask=at < m)

class ModelNew(Base):
    def forward(self, x):
        y = torch.empty_like(x)
        rows[(x.shape[0],)](x, self.weight, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
        return y
"""
)

INLINE = (
    HEAD
    + '''
from torch.utils.cpp_extension import load_inline
SOURCE = r"""
#include <cuda_runtime.h>
__global__ void scale(const float *x, const float *w, float *y, long n, long m) {
  long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * w[i % m];
}
extern "C" void run(const float *x, const float *w, float *y, long n, long m, void *stream) {
  scale<<<(n + 255) / 256, 256, 0, (cudaStream_t)stream>>>(x, w, y, n, m);
}
"""
LIB = ctypes.CDLL(load_inline("scale", cpp_sources=[""], cuda_sources=[SOURCE],
                              is_python_module=False, no_implicit_headers=True))

class ModelNew(Base):
    def forward(self, x):
        y = torch.empty_like(x)
        address = ctypes.c_void_p
        LIB.run(address(x.data_ptr()), address(self.weight.data_ptr()), address(y.data_ptr()),
                ctypes.c_long(x.numel()), ctypes.c_long(x.shape[1]),
                address(torch.cuda.current_stream().cuda_stream))
        return torch.softmax(y, dim=-1)
'''
)


@pytest.fixture(scope="module", params=["auto", "process"])
def cuda(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    settings = quick(isolation=request.param, cache_dir=str(tmp_path_factory.mktemp("builds")))
    worker = Worker("cuda:0", settings)
    worker.start()
    yield worker
    worker.close()


@pytest.mark.parametrize("source", [NVRTC, TRITON, INLINE], ids=["nvrtc", "triton", "inline"])
def test_every_language_is_judged(cuda: Worker, source: str) -> None:
    verdict = cuda.evaluate(Task("small", TASK), Kernel(source))
    assert verdict.status is Status.CORRECT, (verdict.reasons, verdict.log)
    assert verdict.environment["transport"] == "cuda_ipc"
    assert verdict.device == verdict.environment["device_name"] != "cuda:0"


def test_torch_is_judged(cuda: Worker) -> None:
    verdict = cuda.evaluate(Task("small", TASK), kernel(GOOD))
    assert verdict.status is Status.CORRECT, (verdict.reasons, verdict.log)


BROKEN = {
    "illegal access": (
        Kernel(NVRTC.replace("y[(size_t)blockIdx.x * m + j]", "y[j + (1ull << 42)]")),
        "illegal memory access",
    ),
    "device assert": (
        kernel(f"bad = x[torch.full((64,), 10**6, device=x.device)]\n{GOOD} + bad"),
        "device-side assert",
    ),
    "device hang": (
        Kernel(NVRTC.replace("// STORE", "; while (*(volatile float *)x != 123.0f);")),
        "did not finish within 5 s",
    ),
    "out of memory": (
        kernel("kept = []\nwhile True: kept.append(torch.ones(2**30, device='cuda'))"),
        "",
    ),
    "wrong": (kernel(f"{GOOD} * 1.01"), "wrong in"),
    "on the cpu": (kernel(f"{GOOD}.cpu()"), "on cpu"),
    "crash": (kernel("ctypes.string_at(0)"), "SIGSEGV"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_device_is_mended_for_the_next(cuda: Worker, name: str) -> None:
    broken, said = BROKEN[name]
    verdict = cuda.evaluate(Task("small", TASK), broken, quick(run_timeout_s=5.0))
    assert verdict.status in (Status.RUNTIME_ERROR, Status.TIMEOUT, Status.INCORRECT), verdict
    assert said in verdict.reasons[0] + verdict.log
    following = cuda.evaluate(Task("small", TASK), kernel(GOOD))
    assert following.status is Status.CORRECT, (following.reasons, following.log)
