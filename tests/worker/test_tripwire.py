"""What is found in kernels' texts: operators however they are called, and no more than there is."""

from __future__ import annotations

import ast
import re
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbexp.config import Policy
from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Variant
from kbexp.proposals.offline.playbook.render import render
from kbexp.worker.policy import breaches, facts
from kbexp.worker.tripwire import Findings, find, look

TEMPLATE = """
import torch
import torch.nn as nn
import torch.nn.functional as F
{top}

class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        {init}

    def forward(self, x, y):
        {body}
"""


def source(body: str, top: str = "", init: str = "pass") -> str:
    """Return a kernel whose forward runs `body`."""

    def indented(text: str) -> str:
        return "\n        ".join(text.strip("\n").splitlines())

    return TEMPLATE.format(top=top, init=indented(init), body=indented(body))


def seen(text: str) -> Findings:
    """Look at a text; what goes wrong inside is raised, not swallowed."""
    return find(ast.parse(text), text)


CALLS = {
    "plainly": ("return torch.matmul(x, y)", "", "torch.matmul"),
    "as an operator": ("return x @ y", "", "operator @"),
    "as a method": ("return x.softmax(-1)", "", "Tensor.softmax"),
    "in place": ("x.exp_()\nreturn x", "", "Tensor.exp"),
    "as a dunder": ("return x.__matmul__(y)", "", "Tensor.matmul"),
    "through an import": ("return f(x, y)", "from torch import mm as f", "torch.mm"),
    "through a renamed module": ("return t.bmm(x, y)", "import torch as t", "torch.bmm"),
    "through functional": ("return F.gelu(x)", "", "torch.nn.functional.gelu"),
    "starred": ("return logsumexp(x, 0)", "from torch import *", "torch.logsumexp"),
    "by a module": ("return self.fc(x)", "", "torch.nn.Linear"),
    "by a module in a list": (
        "for layer in self.layers:\n    x = layer(x)\nreturn x", "", "torch.nn.Conv2d",
    ),
    "by a sequence of modules": ("return self.both(x)", "", "torch.nn.ReLU"),
    "by way of a name": ("g = torch.einsum\nh = g\nreturn h('ij,jk', x, y)", "", "torch.einsum"),
    "by a walrus": ("return (g := torch.mm)(x, y)", "", "torch.mm"),
    "by a lambda": ("return (lambda a, b: torch.mm(a, b))(x, y)", "", "torch.mm"),
    "by a lambda that is kept": (
        "return GO(x, y)", "GO = lambda a, b: a @ b", "operator @",
    ),
    "through getattr": ('return getattr(torch, "mat" + "mul")(x, y)', "", "torch.matmul"),
    "through getattr of a method": ('return getattr(x, "soft" "max")(-1)', "", "Tensor.softmax"),
    "through getattr backwards": (
        'return getattr(torch, "lumtam"[::-1])(x, y)', "", "torch.matmul",
    ),
    "through getattr of joined letters": (
        'return getattr(torch, "".join(["m", "m"]))(x, y)', "", "torch.mm",
    ),
    "through getattr of numbers": (
        "return getattr(torch, chr(109) + chr(109))(x, y)", "", "torch.mm",
    ),
    "through getattr of a name": (
        "return getattr(torch, WHICH)(x, y)", 'WHICH = "m" + "m"', "torch.mm",
    ),
    "through getattr of a format": (
        'return getattr(torch, "{}{}".format("m", "m"))(x, y)', "", "torch.mm",
    ),
    "through a dictionary of the module": (
        'return torch.__dict__["mm"](x, y)', "", "torch.mm",
    ),
    "through vars": ('return vars(torch)["mm"](x, y)', "", "torch.mm"),
    "through globals": ('return globals()["torch"].mm(x, y)', "", "torch.mm"),
    "through an import by name": ('return __import__("tor" + "ch").mm(x, y)', "", "torch.mm"),
    "through importlib": (
        'return importlib.import_module("torch.nn.functional").relu(x)',
        "import importlib", "torch.nn.functional.relu",
    ),
    "by partial application": (
        "return functools.partial(torch.mm, x)(y)", "import functools", "torch.mm",
    ),
    "by reduction": ("return functools.reduce(torch.mm, [x, y])", "import functools", "torch.mm"),
    "by map": ("return list(map(torch.exp, [x]))[0]", "", "torch.exp"),
    "through a table": ('return OPS["a"](x, y)', 'OPS = {"a": torch.mm}', "torch.mm"),
    "through an attribute": ("return self.op(x, y)", "", "torch.baddbmm"),
    "through a class": ("return Tools.go(x, y)", "class Tools:\n    go = torch.mm", "torch.mm"),
    "by a function": ("return work(x, y)", "def work(a, b):\n    return a @ b", "operator @"),
    "by a function that is given it": (
        "return work(torch.mm, x, y)", "def work(f, a, b):\n    return f(a, b)", "torch.mm",
    ),
    "by a function that returns it": (
        "return choose()(x, y)", "def choose():\n    return torch.mm", "torch.mm",
    ),
    "by a default": ("return work(x, y)", "def work(a, b, f=torch.mm):\n    return f(a, b)",
                     "torch.mm"),
    "by a decorated function": (
        "return work(x)", "@torch.inference_mode()\ndef work(a):\n    return torch.tanh(a)",
        "torch.tanh",
    ),
    "in an autograd function": (
        "return Fn.apply(x)",
        "class Fn(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, a):\n        return a.sigmoid()",
        "Tensor.sigmoid",
    ),
    "in a module of its own": (
        "return self.inner(x)",
        "class Inner(nn.Module):\n    def forward(self, a):\n        return torch.cumsum(a, 0)",
        "torch.cumsum",
    ),
    "through torch.ops": ("return torch.ops.aten.mm(x, y)", "", "torch.ops.aten.mm"),
    "through torch.ops by name": (
        "return torch.ops.aten._softmax.default(x, 0, False)", "",
        "torch.ops.aten._softmax.default",
    ),
    "through the C module": ("return torch._C._VariableFunctions.mm(x, y)", "", "torch.mm"),
    "through the class of tensors": ("return torch.Tensor.mm(x, y)", "", "torch.Tensor.mm"),
    "through linalg": ("return torch.linalg.vector_norm(x)", "", "torch.linalg.vector_norm"),
    "in layers that a function makes": (
        "return self.blocks(x)",
        "def block(n):\n    return nn.Sequential(nn.Conv2d(n, n, 1), nn.GELU())", "torch.nn.GELU",
    ),
    "in blocks of a class that is handed over": (
        "return self.made(x)",
        "class Block(nn.Module):\n    def forward(self, a):\n        return torch.relu(a)\n"
        "def make(kind, count):\n    layers = []\n    for _ in range(count):\n"
        "        layers.append(kind())\n    return nn.Sequential(*layers)",
        "torch.relu",
    ),
    "by a model of another package": (
        "return self.model(x)", "from transformers import AutoModel",
        "transformers.AutoModel.from_pretrained",
    ),
    "in arithmetic of arguments": ("return x + y", "", "operator +"),
    "in arithmetic": ("z = torch.empty_like(x)\nreturn z * y.contiguous()", "", "operator *"),
    "in arithmetic in place": ("z = x.contiguous()\nz += y\nreturn z", "", "operator +"),
    "by numpy": ("return torch.from_numpy(np.exp(x.numpy()))", "import numpy as np", "numpy.exp"),
    "by another package": (
        "return flash_attn.flash_attn_func(x, y, y)", "import flash_attn",
        "flash_attn.flash_attn_func",
    ),
    "by a registered operator in Python": (
        "return torch.ops.mine.go(x)",
        '@torch.library.custom_op("mine::go", mutates_args=())\n'
        "def go(a: torch.Tensor) -> torch.Tensor:\n    return torch.softmax(a, 0)",
        "torch.softmax",
    ),
    "in a text that is run": (
        'exec("def go(a, b):\\n    return torch.mm(a, b)", globals())\nreturn go(x, y)', "",
        "torch.mm",
    ),
    "in a text that is run in place": (
        'box = {"x": x, "torch": torch}\nexec("z = torch.tanh(x)", box)\nreturn box["z"]', "",
        "torch.tanh",
    ),
    "in a text that is evaluated": ('return eval("torch.mm(x, y)")', "", "torch.mm"),
    "in a text that evaluates to it": ('return eval("torch" + ".mm")(x, y)', "", "torch.mm"),
}  # fmt: skip
INITS = (
    "self.op = torch.baddbmm\n"
    "self.layers = nn.ModuleList([nn.Conv2d(1, 1, 1)])\n"
    "self.both = nn.Sequential(nn.Flatten(), nn.ReLU())"
)


@pytest.mark.parametrize("how", CALLS)
def test_an_operator_is_found_however_it_is_called(how: str) -> None:
    body, top, operator = CALLS[how]
    init = INITS + "".join(
        f"\n{line}"
        for word, line in {
            "class Inner": "self.inner = Inner()",
            "def block": "self.blocks = nn.Sequential(*[block(4) for _ in range(3)])",
            "def make": "self.made = make(Block, 2)",
            "AutoModel": "self.model = AutoModel.from_pretrained('a')",
        }.items()
        if word in top
    )
    found = seen(source(body, top, init))
    assert operator in found.operators, found
    assert any(operator in reason for reason in breaches(found, Policy.no_library))
    assert not breaches(found, Policy.any)


NATIVE = '''
import ctypes
from torch.utils.cpp_extension import load_inline
SOURCE = r"""
#include <cuda_runtime.h>
{code}
extern "C" int run(const float* x, float* y, long n) {{ {body} return 0; }}
"""
LIB = ctypes.CDLL(load_inline("k", cpp_sources=[], cuda_sources=[SOURCE], is_python_module=False))

def pointer(t):
    return ctypes.c_void_p(t.data_ptr())
'''
LAUNCH = "out = torch.empty_like(x)\nLIB.run(pointer(x), pointer(out), ctypes.c_long(x.numel()))"
TRITON = """
import triton
import triton.language as tl

@triton.autotune(configs=[triton.Config({"B": 64})], key=["n"])
@triton.jit
def k(x_ptr, y_ptr, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(x_ptr + i, mask=i < n)
    tl.store(y_ptr + i, tl.exp(x) / tl.sum(tl.exp(x), axis=0), mask=i < n)
"""
GRID = "k[(triton.cdiv(x.numel(), 64),)](x, out, x.numel())"


def native(code: str = "", body: str = "") -> str:
    """Return the top of a kernel with C text in it."""
    return NATIVE.format(code=code, body=body)


HONEST = {
    "C": (LAUNCH + "\nreturn out", native(), "pass"),
    "views": (LAUNCH + "\nreturn out.view(4, -1).t().contiguous()", native(), "pass"),
    "sizes": (
        "n, m = x.shape\nk = x.numel() // m * 2 + len(x.shape) - x.stride(0)\n" + LAUNCH
        + "\nif k % 2 == 0 and n > 3:\n    m = -m\nreturn out.reshape(n, m)", native(), "pass",
    ),
    "conversion": ("x = x.float().contiguous()\n" + LAUNCH + "\nreturn out.to(y.dtype)",
                   native(), "pass"),
    "a buffer": (
        "if self.out is None or self.out.shape != x.shape:\n    self.out = torch.empty_like(x)\n"
        "LIB.run(pointer(x), pointer(self.out))\nreturn self.out", native(), "self.out = None",
    ),
    "prepared weights": (
        "LIB.run(pointer(self.packed), pointer(x))\nreturn x", native(),
        "self.packed = (self.fc.weight.detach() * 2).t().contiguous()",
    ),
    "weights of a layer": (
        "out = x.new_empty(x.shape)\nlayer = self.fc\n"
        "LIB.run(pointer(layer.weight), pointer(self.fc.bias), pointer(out))\nreturn out",
        native(), "pass",
    ),
    "a status": (
        LAUNCH.replace("LIB.run", "status = LIB.run")
        + "\nif status != 0:\n    raise RuntimeError(f'CUDA error {status}')\nreturn out",
        native(), "pass",
    ),
    "Triton": ("out = torch.empty_like(x)\n" + GRID + "\nreturn out", TRITON, "pass"),
    "Triton from a method": (
        "return self.go(x.contiguous())", TRITON,
        "self.go = lambda x: launch(x)\n\ndef launch_(): pass".replace(
            "\n\ndef launch_(): pass", ""
        ),
    ),
    "NVRTC": (
        "out = torch.empty_like(x)\nself.k(grid=(1, 1, 1), block=(64, 1, 1), args=[x, out])\n"
        "return out", "", 'self.k = torch.cuda._compile_kernel("__global__ void f() {}", "f")',
    ),
    "arguments in a list": (
        "out = torch.empty_like(x)\nargs = [x, out]\nargs += [x.numel()]\n"
        "self.k(grid=(1, 1, 1), block=(64, 1, 1), args=args)\nreturn out", "",
        'self.k = torch.cuda._compile_kernel("__global__ void f() {}", "f")',
    ),
    "its own operator": (
        "return torch.ops.mine.go(x)",
        'from torch.utils.cpp_extension import load_inline\n'
        'load_inline("m", cpp_sources=["TORCH_LIBRARY(mine, m) { m.def(\\"go\\", &go); }"])',
        "pass",
    ),
    "its own module": (
        "return EXT.softmax(x)",
        "from torch.utils import cpp_extension\n"
        'EXT = cpp_extension.load_inline("m", cpp_sources=["at::Tensor softmax(at::Tensor x) '
        '{ auto y = at::empty_like(x); return y; }"], functions=["softmax"])', "pass",
    ),
    "a kernel in blocks of a class that is handed over": (
        "return self.made(x.contiguous())",
        "from torch.utils.cpp_extension import load_inline\n"
        'EXT = load_inline("m", cpp_sources=["..."], functions=["go"])\n'
        "class Block(nn.Module):\n    def forward(self, a):\n        return EXT.go(a)\n"
        "def make(kind, count):\n    layers = [kind() for _ in range(count)]\n"
        "    return nn.Sequential(*layers)",
        "self.made = make(Block, 2)",
    ),
    "joined streams": (
        "s = torch.cuda.Stream()\ns.wait_stream(torch.cuda.current_stream())\n"
        "with torch.cuda.stream(s):\n    out = EXT.go(x)\n"
        "torch.cuda.current_stream().wait_stream(s)\nreturn out",
        "from torch.utils.cpp_extension import load_inline\n"
        'EXT = load_inline("m", cpp_sources=["..."], functions=["go"])', "pass",
    ),
    "aligned addresses": (
        "assert x.data_ptr() % 16 == 0\n" + LAUNCH + "\nreturn out", native(), "pass",
    ),
    "an early return": (
        "if x.numel() == 0:\n    return x\n" + LAUNCH + "\nreturn out", native(), "pass",
    ),
    "one way for each type": (
        "if x.dtype == torch.float32:\n    out = torch.empty_like(x)\n"
        "    LIB.run(pointer(x), pointer(out))\n    return out\n"
        "out = x.new_empty(x.shape)\nLIB.run64(pointer(x), pointer(out))\nreturn out",
        native(), "pass",
    ),
    "two buffers in turn": (
        "self.turn = 1 - self.turn\nout = self.outs[self.turn]\n"
        "LIB.run(pointer(x), pointer(out))\nreturn out",
        native(), "self.turn = 0\nself.outs = [torch.empty(4, 4) for _ in range(2)]",
    ),
    "a table by shape": (
        "key = (tuple(x.shape), x.dtype)\nif key not in self.tables:\n"
        "    self.tables[key] = torch.empty(4)\n"
        "LIB.run(pointer(x), pointer(self.tables[key]))\nreturn self.tables[key]",
        native(), "self.tables = {}",
    ),
    "an optional import": (
        LAUNCH + "\nreturn out",
        "try:\n    import triton\nexcept ImportError:\n    triton = None\n" + native(), "pass",
    ),
    "settings of the build": (
        LAUNCH + "\nreturn out",
        'import os\nos.environ.setdefault("MAX_JOBS", "2")\n'
        'os.environ["TORCH_CUDA_ARCH_LIST"] = "9.0a"\n'
        "torch.backends.cudnn.benchmark = True\n" + native(), "pass",
    ),
    "argument types": (
        LAUNCH + "\nreturn out",
        native() + "LIB.run.argtypes = [ctypes.c_void_p] * 2\nLIB.run.restype = ctypes.c_int\n",
        "pass",
    ),
    "comments about operators": (
        '"""Computes torch.softmax(x) @ y without exec, eval or /proc/self/maps."""\n'
        "# torch.matmul(x, y)\n" + LAUNCH + "\nreturn out",
        native("// at::matmul(x, y); dlsym(0, 0); pthread_create\n/* fork(); */"), "pass",
    ),
    "names like others": (
        LAUNCH + "\nreturn out",
        native("static float softmax(float v) { float half = v / 2, signal = half, clone = signal;"
               " return half + signal + clone; }"), "pass",
    ),
    "pasted names of its own": (
        LAUNCH + "\nreturn out",
        native("#define CASE(n) case n: step_##n(x, y); break;\n"
               "static void step_4(const float*, float*) {}"), "pass",
    ),
    "threads that are joined": (
        LAUNCH + "\nreturn out",
        native("#include <thread>\nvoid go() { std::thread t([] {}); t.join(); }"), "pass",
    ),
    "streams that are joined in C": (
        LAUNCH + "\nreturn out",
        native("", "cudaStream_t s; cudaStreamCreate(&s); cudaStreamSynchronize(s);"), "pass",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_kernel_passes_every_policy(what: str) -> None:
    body, top, init = HONEST[what]
    if "launch(x)" in init:
        top += "\ndef launch(x):\n    out = torch.empty_like(x)\n    " + GRID + "\n    return out\n"
    found = seen(source(body, top, init))
    assert found.operators == (), found
    assert found.own_kernel_used, found
    assert found.suspicions == (), found
    for policy, device in product(Policy, ("cpu", "cuda")):
        assert breaches(found, policy, device) == ()


def variants() -> list[tuple[str, Variant]]:
    return [(entry.task, variant) for entry in ENTRIES.values() for variant in entry.variants]


@pytest.mark.parametrize(("task", "variant"), variants(), ids=lambda v: getattr(v, "name", v))
def test_the_playbook_is_seen_as_what_it_is(task: str, variant: Variant) -> None:
    device = "cuda" if variant.device == "cuda" else "cpu"
    for language, end in product(variant.languages, (0, -1)):
        values = {tunable.name: tunable.values[end] for tunable in variant.tunables}
        found = seen(render(task, variant, values, None, language))
        rejected = breaches(found, Policy.no_library, device)
        assert found.suspicions == ()
        assert not breaches(found, Policy.any, device)
        if variant.native or "triton" in variant.languages:
            assert rejected == ()
            assert found.own_kernel_used
        else:
            assert "operators of the library" in rejected[0]
            assert not found.own_kernels


@pytest.mark.parametrize("language", ["c", "cpp", "cuda_inline", "nvrtc", "triton"])
def test_what_models_are_shown_passes(language: str) -> None:
    page = (files("kbexp.proposals") / "prompts" / f"{language}.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    for policy in Policy:
        assert breaches(seen(code), policy) == ()


FALLBACKS = {
    "another rank": ("if x.dim() != 2 or y.dim() != 2:\n    return torch.mm(x, y)", "form"),
    "another type": ("if not x.dtype == torch.float32:\n    return torch.mm(x, y)", "form"),
    "another size": ("if x.shape[1] != 512:\n    return torch.mm(x, y)", "form"),
    "not aligned": ("if x.data_ptr() % 16 != 0:\n    return torch.mm(x, y)", "form"),
    "no device": ("if not x.is_cuda:\n    return torch.mm(x, y)", "place"),
    "what is left after the right form": (
        "if x.dim() == 2:\n    out = torch.empty_like(x)\n"
        "    LIB.run(pointer(x), pointer(out))\n    return out\nreturn torch.mm(x, y)",
        "form",
    ),
    "after an early return": (
        "if x.numel() == 0:\n    return x\nif x.dim() != 2:\n    return torch.mm(x, y)",
        "form",
    ),
    "a type of device": ("if x.device.type != 'cuda':\n    return torch.mm(x, y)", "place"),
}


@pytest.mark.parametrize("what", FALLBACKS)
def test_a_fallback_is_no_operator_on_the_way(what: str) -> None:
    guard, kind = FALLBACKS[what]
    found = seen(source(f"{guard}\n{LAUNCH}\nreturn out", native()))
    assert [(call.operator, call.guard) for call in found.fallbacks] == [("torch.mm", kind)]
    assert found.operators == ()
    assert not breaches(found, Policy.no_library, "cuda")
    assert "falls back" in breaches(found, Policy.strict, "cuda")[0]
    on_cpu = breaches(found, Policy.no_library, "cpu")
    assert bool(on_cpu) == (kind == "place")


def test_a_fallback_after_what_a_kernel_says_is_one() -> None:
    launch = LAUNCH.replace("LIB.run", "failed = LIB.run")
    found = seen(source(f"{launch}\nif failed:\n    return torch.mm(x, y)\nreturn out", native()))
    assert [call.guard for call in found.fallbacks] == ["status"]


@pytest.mark.parametrize(
    "body",
    [
        f"try:\n    {LAUNCH.splitlines()[0]}\n    {LAUNCH.splitlines()[1]}\n    return out\n"
        "except Exception:\n    return torch.mm(x, y)",
        f"if x.numel() > 4096:\n    return torch.mm(x, y)\n{LAUNCH}\nreturn out",
        f"if x.dim() == 2:\n    return torch.mm(x, y)\n{LAUNCH}\nreturn out",
        f"{LAUNCH}\nif x.dtype != torch.int8:\n    out = torch.mm(x, y)\nreturn out",
        f"if x.shape not in self.known:\n    return torch.mm(x, y)\n{LAUNCH}\nreturn out",
        f"if not self.ready:\n    return torch.mm(x, y)\n{LAUNCH}\nreturn out",
        f"{LAUNCH}\nreturn torch.mm(x, y)",
        f"if self.training:\n    return x.t()\n{LAUNCH}\nreturn torch.mm(x, y)",
        "if x.dim() == 2:\n    return torch.mm(x, y)\nelse:\n    return LIB.run(pointer(x))",
        "if x.dim() != 2:\n    return torch.mm(x, y)\nreturn x",
    ],
    ids=[
        "except",
        "order",
        "right form",
        "goes on",
        "kept",
        "flag",
        "for show",
        "training",
        "right form first",
        "no kernel",
    ],
)
def test_what_only_looks_like_a_fallback_is_the_way(body: str) -> None:
    found = seen(source(body, native(), "self.known, self.ready = {}, False"))
    assert found.operators == ("torch.mm",)
    assert breaches(found, Policy.no_library)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (source("return x"), "no kernel of its own"),
        (source("return x", native()), "does not reach"),
        (source("return x", TRITON), "does not reach"),
        (source(LAUNCH + "\nreturn GO(x)", native() + "GO = torch.compile(lambda a: a)\n"),
         "torch.compile"),
        (source(LAUNCH + "\nreturn out", native()).replace("(nn.Module)", "(Model)"),
         "the reference Model"),
        (source(LAUNCH + "\nreturn self.it(x, y)", native() + "class Model(nn.Module):\n"
                "    def forward(self, a, b):\n        return a\n", "self.it = Model()"),
         "the reference Model"),
        (source(LAUNCH + "\nreturn out", native("", "cublasSgemm(0);")), "cublasSgemm"),
        (source(LAUNCH + "\nreturn out", native("", "at::matmul(x, y);")), "at::matmul"),
        (source(LAUNCH + "\nreturn out",
                native("#define P(a, b) a##b", "P(cublasS, gemm)(0);")), "cublasSgemm"),
        (source("return L.cblas_sgemm(x)",
                "import ctypes\nL = ctypes.CDLL('libmkl_rt.so')"), "libmkl_rt.so.cblas_sgemm"),
        (source(LAUNCH + "\nreturn torch.softmax(x, 0) if self.fc else out", native()),
         "torch.softmax"),
        (source("return x", native() + "\n".join(f"a{i} = [{i}]" for i in range(25_000))),
         "read to its end"),
    ],
)  # fmt: skip
def test_what_is_no_kernel_of_ones_own_is_said(text: str, said: str) -> None:
    found = seen(text)
    assert any(said in reason for reason in breaches(found, Policy.no_library)), found
    assert not breaches(found, Policy.any)


def test_a_forward_that_cannot_be_followed_counts_with_all_functions() -> None:
    text = (
        "import torch\ndef go(self, x):\n    return torch.softmax(x, -1)\n"
        "ModelNew = type('ModelNew', (torch.nn.Module,), {'forward': go})\n"
    )
    assert "torch.softmax" in seen(text).operators


DOWNGRADES = {
    "half": "Tensor.half",
    "x.to(torch.float16)": "torch.float16",
    "x.to(dtype=torch.bfloat16)": "torch.bfloat16",
    "torch.backends.cuda.matmul.allow_tf32 = True": "allow_tf32",
    "torch.set_float32_matmul_precision('high')": "set_float32_matmul_precision",
    "with torch.autocast('cuda'): pass": "autocast",
}


@pytest.mark.parametrize(("code", "said"), DOWNGRADES.items())
def test_fewer_bits_are_a_fact(code: str, said: str) -> None:
    body = "x.half()" if code == "half" else code
    found = seen(source(f"{body}\n{LAUNCH}\nreturn out", native()))
    assert said in [downgrade.text for downgrade in found.downgrades]
    assert not breaches(found, Policy.no_library)
    assert "fewer bits" in breaches(found, Policy.strict)[0]
    task = "def get_inputs():\n    return [torch.rand(4, dtype=torch.float16)]"
    assert not breaches(found, Policy.strict, task_source=task)
    assert breaches(found, Policy.strict, task_source="# half of the rows are float32")


def test_fewer_bits_in_native_text_are_a_fact() -> None:
    code = "#include <cuda_fp16.h>\n__half2 v;\n// __nv_bfloat16 w;"
    found = seen(source(LAUNCH + "\nreturn out", native(code)))
    assert {f.text for f in found.downgrades} == {"cuda_fp16", "__half2"}


TOP_SUSPICIONS = {
    "torch.cuda.synchronize = lambda *a: None": "assigns to torch.cuda.synchronize",
    "T = torch.Tensor\nT.softmax = None": "assigns to torch.Tensor.softmax",
    "from torch import cuda as c\nc.Event.elapsed_time = None": "torch.cuda.Event.elapsed_time",
    "import time as t\nt.perf_counter_ns = lambda: 0": "assigns to time.perf_counter_ns",
    "import builtins\nbuiltins.print = None": "assigns to builtins.print",
    "setattr(torch, 'allclose', None)": "setattr changes torch",
    "torch.__dict__['allclose'] = None": "assigns into torch.__dict__",
    "import gc": "walks the heap",
    "import inspect as i": "looks at its callers",
    "import sys\nf = sys._getframe(1)": "looks at its callers",
    "import sys\nf = getattr(sys, '_get' + 'frame')(1)": "sys._getframe",
    "from sys import _getframe as look": "looks at its callers",
    "def f(e):\n    return e.__traceback__.tb_frame.f_back": "looks at its callers",
    "import threading": "starts threads",
    "from concurrent.futures import ThreadPoolExecutor": "starts threads",
    "import subprocess": "starts processes",
    "import os\nos.fork()": "os.fork starts processes",
    "import os\nrun = os.system": "os.system starts processes",
    "from os import execv": "starts processes",
    "import socket": "uses the network",
    "exec('pass')": "exec runs text",
    "import base64\nexec(base64.b64decode(b'cGFzcw=='))": "decodes text",
    "m = __import__('g' + 'c')": "walks the heap",
    "def f(n):\n    return __import__(n)": "name is computed",
    "def f(n):\n    return getattr(torch, n)": "looks up a computed name of torch",
    "import os\ng = getattr(os, 'fo' + 'rk')": "os.fork",
    "f = open('/proc/self/maps')": "/proc",
    "f = open('notes.txt', 'w')": "works on files",
    "from pathlib import Path\nPath('a').write_text('b')": "works on files",
    "torch.save({}, 'a.pt')": "works on files",
    "import os\nos._exit(0)": "ends its process",
    "import sys\nsys.exit()": "ends its process",
    "import signal": "handles signals",
    "import atexit": "when the process ends",
    "def get_inputs():\n    return []": "the task's",
    "class T(torch.Tensor):\n    pass": "tensor of its own kind",
    "class T:\n    def __torch_dispatch__(cls, *a):\n        pass": "steps between",
    "import ctypes\nlibc = ctypes.CDLL(None)": "process itself",
    "import ctypes\nlibc = ctypes.CDLL('libc.so.6')": "a library of the system",
    "import kbexp.worker.runner": "evaluator's own code",
    "import sys\nm = sys.modules": "loaded modules",
    "torch.manual_seed(0)": "random seed",
    "lib = torch.library.Library('aten', 'IMPL')": "replaces an operator",
    "g = torch.cuda.CUDAGraph()": "CUDA graph",
    "def f(g):\n    return g.__globals__": "function's insides",
}


@pytest.mark.parametrize("code", TOP_SUSPICIONS)
def test_what_is_suspicious_is_said_and_rejects_only_under_strict(code: str) -> None:
    found = seen(source(LAUNCH + "\nreturn out", native() + code))
    said = [str(suspicion) for suspicion in found.suspicions]
    assert any(TOP_SUSPICIONS[code] in text for text in said), said
    assert not breaches(found, Policy.no_library)
    assert "suspicious" in breaches(found, Policy.strict)[0]


BODY_SUSPICIONS = {
    "a key": ("return self.memo[x.data_ptr()]", "by a tensor's address"),
    "a key in a tuple": (
        "key = (x.data_ptr(), x.shape)\nif key in self.memo:\n    return self.memo[key]\nreturn x",
        "address",
    ),
    "a key with a version": (
        "key = x.untyped_storage().data_ptr(), x._version\nreturn self.memo.get(key)", "address",
    ),
    "an id": ("return self.memo.get(id(x))", "address"),
    "the last address": (
        "if x.data_ptr() == self.last:\n    return self.out\nreturn x", "address",
    ),
    "the last input": ("if x is self.last:\n    return self.out\nreturn x", "was kept"),
    "a count": ("self.n += 1\nif self.n > 4:\n    return self.out\nreturn x", "counts its calls"),
    "a count by hand": (
        "self.n = getattr(self, 'n', 0) + 1\nreturn x if self.n < 9 else self.out", "counts",
    ),
    "a global count": (
        "global N\nN = N + 1\nif N > 4:\n    return self.out\nreturn x", "counts its calls",
    ),
    "a count in a table": (
        "STATE['n'] += 1\nif STATE['n'] > 4:\n    return self.out\nreturn x", "counts its calls",
    ),
    "a counter": ("return self.out if next(self.n) > 4 else x", "counts its calls"),
    "a copy of a count": (
        "self.n += 1\nn = self.n\nif n > 3:\n    return self.out\nreturn x", "counts its calls",
    ),
    "a clock": ("import time\nt = time.perf_counter()\nreturn x", "no use for the time"),
    "a stream": (
        "s = torch.cuda.Stream()\ns.wait_stream(torch.cuda.current_stream())\n"
        "with torch.cuda.stream(s):\n    return EXT.go(x)", "nothing waits for",
    ),
    "nothing": ("return torch.empty_like(x)", "never written to"),
    "nothing with a name": ("out = torch.empty(4)\nreturn out", "never written to"),
    "nothing new": ("out = x.new_empty(4)\nreturn out", "never written to"),
    "a kernel for show": (
        LAUNCH + "\nkept = self.answers(x)\nreturn kept", "does not reach what forward returns",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BODY_SUSPICIONS)
def test_what_a_forward_does_that_is_suspicious(what: str) -> None:
    body, said = BODY_SUSPICIONS[what]
    found = seen(source(body, native(), "self.memo, self.n = {}, 0"))
    assert any(said in str(suspicion) for suspicion in found.suspicions), found.suspicions


NATIVE_SUSPICIONS = {
    "ptrace(0, 0, 0, 0);": "other processes",
    'dlsym(0, "cudaEventRecord");': "looks up functions",
    "mprotect(0, 0, 7);": "protection of memory",
    "pthread_create(0, 0, 0, 0);": "starts threads",
    "std::thread([] {}).detach();": "not waited for",
    "if (!fork()) {}": "starts processes",
    "cudaStream_t s; cudaStreamCreate(&s);": "nobody waits for",
    "PASTE(cudaStream, Create)(&s);": "nobody waits for",
    "PASTE(pt, race)(0);": "other processes",
    "attr.accessPolicyWindow.num_bytes = 1;": "L2 cache",
    "cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 1);": "L2 cache",
    'fopen("/proc/self/mem", "r");': "/proc/",
    "clock_gettime(0, 0);": "clock",
    "std::unordered_map<const float*, int> seen;": "by address",
    "_exit(0);": "ends or signals",
    "cudaGraphLaunch(g, s);": "CUDA graph",
}


@pytest.mark.parametrize("code", NATIVE_SUSPICIONS)
def test_native_text_is_looked_at(code: str) -> None:
    found = seen(source(LAUNCH + "\nreturn out", native("#define PASTE(a, b) a##b", code)))
    said = [str(suspicion) for suspicion in found.suspicions]
    assert any(NATIVE_SUSPICIONS[code] in text for text in said), said
    assert not breaches(found, Policy.no_library)


def test_native_text_that_replaces_the_clock_is_named_at_its_line() -> None:
    code = "int clock_gettime(int c, void* t) { return 0; }"
    text = source(LAUNCH + "\nreturn out", native(code))
    (line,) = (n for n, row in enumerate(text.splitlines(), 1) if row == code)
    found = seen(text)
    assert any(s.line == line and "replaces a function" in s.text for s in found.suspicions)


def test_facts_are_plain_and_name_lines() -> None:
    record = facts(seen(source("import gc\nreturn torch.mm(x, y)")))
    assert record["operators"] == ["torch.mm"]
    assert record["own_kernel"] == ""
    assert record["suspicions"] == ["line 14: import of gc: walks the heap"]


HOSTILE = {
    "not Python": "def (",
    "nothing": "",
    "a null": "ModelNew = '\0'",
    "a surrogate": "class ModelNew:\n    def forward(self, x):\n        return '\ud800'",
    "deep brackets": "ModelNew = " + "(" * 5000 + ")" * 5000,
    "deep minus": "ModelNew = " + "-" * 5000 + "1",
    "long sum": "ModelNew = " + "+".join(["'a'"] * 5000),
    "long chain": "ModelNew = x" + ".a" * 2000,
    "long calls": "ModelNew = x" + "()" * 800,
    "many elifs": source("if x.dim() == 1:\n    pass\n" + "elif x.dim() == 2:\n    pass\n" * 800),
    "nested ifs": "class ModelNew:\n  def forward(self, x):\n"
    + "".join(" " * (4 + i) + "if x.dim():\n" for i in range(80)) + " " * 90 + "return x",
    "nested functions": "".join(" " * i + f"def f{i}():\n" for i in range(60)) + " " * 60 + "pass",
    "a cycle": "a = b\nb = a\nModelNew = a",
    "a class that is its base": "class ModelNew(ModelNew):\n    forward = ModelNew.forward",
    "calls in a circle": source(
        "return f(x)", "def f(a):\n    return g(a)\ndef g(a):\n    return f(g(f(a)))"
    ),
    "doubling texts": source(
        "return getattr(torch, t40)(x)",
        't0 = "a"\n' + "\n".join(f"t{i + 1} = t{i} + t{i}" for i in range(40)),
    ),
    "doubling lists": source(
        "return t40[0](x)",
        "t0 = [torch.mm]\n" + "\n".join(f"t{i + 1} = [t{i}, t{i}]" for i in range(40)),
    ),
    "doubling calls": source(
        "return f40(x)",
        "def f0(a):\n    return torch.mm\n"
        + "".join(f"def f{i + 1}(a):\n    return f{i}(f{i}(a))\n" for i in range(40)),
    ),
    "many names": "\n".join(f"import gc as a{i}\na{i}.x = 1" for i in range(3000)),
    "evaluates itself": 'a = "eval(a)"\nModelNew = eval(a)',
    "runs itself": 'a = "exec(a)"\nexec(a)',
    "much native text": "S = '#include <x>\\n" + "fork(); " * 60_000 + "'",
    "many macros": "S = '''#include <x>\n"
    + "".join(f"#define M{i}(a, b) a##b M{i}(a, b)\n" for i in range(2000)) + "'''",
    "an open comment": "S = '#include <x>\\n" + "/*" * 50_000 + "'",
    "open quotes": "S = '#include <x>\\n" + '"' * 50_001 + "'",
    "maps in maps": "S = '#include <x>\\n" + "map<float*," * 20_000 + "'",
    "odd numbers": source("return getattr(x, 'a'[::0]) + getattr(x, 'b'[9e9:])"),
    "a star everywhere": "from torch import *\nclass ModelNew(*a):\n  def forward(*x): f(*x)",
    "match": "class ModelNew:\n  def forward(self, x):\n    match x:\n      case [a]: return a @ a",
    "async": "class ModelNew:\n  async def forward(self, x):\n    async for a in x: return await a",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_text_is_looked_at_within_bounds(what: str) -> None:
    found = look(HOSTILE[what])
    assert len(found.calls) <= 24
    assert len(found.suspicions) <= 24
    assert all(len(suspicion.text) <= 160 for suspicion in found.suspicions)
    str(facts(found)).encode()
    try:
        tree = ast.parse(HOSTILE[what])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        assert not found.complete
    else:
        assert find(tree, HOSTILE[what]) == found  # Nothing was swallowed.


PIECES = sorted(
    {line.strip() for body, top, _ in CALLS.values() for line in (body + "\n" + top).splitlines()}
    | {line.strip() for body, _ in BODY_SUSPICIONS.values() for line in body.splitlines()}
    | {line.strip() for code in TOP_SUSPICIONS for line in code.splitlines()}
)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(PIECES)), max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_mixture_is_looked_at(rows: list[tuple[int, str]]) -> None:
    lines = ["import torch", "class ModelNew:", "  def forward(self, x, y):", "    pass"]
    depth = 4
    for step, piece in rows:
        # Deeper after a colon, and else as deep as before or less.
        depth = depth + 2 if lines[-1].endswith(":") else max(0, depth - step)
        lines.append(" " * depth + piece)
    lines.append(" " * (depth + 2 if lines[-1].endswith(":") else depth) + "pass")
    text = "\n".join(lines)
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    assert find(tree, text) == look(text)


def test_every_kernel_of_the_packs_is_read_to_its_end() -> None:
    paths = sorted((Path(__file__).parent.parent / "exploits").glob("*/*.py"))
    assert len(paths) > 50
    for path in paths:
        assert seen(path.read_text(encoding="utf-8")).complete, path.name
