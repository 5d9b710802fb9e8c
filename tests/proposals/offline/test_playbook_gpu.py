"""CUDA sources compile, Triton sources parse, and on a GPU every variant computes its task."""

from __future__ import annotations

import ast
import random
import shutil
import subprocess

import pytest

from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Values, Variant
from kbexp.proposals.offline.playbook.render import render

ON_GPU = [
    pytest.param(task, variant, id=f"{task}-{variant.name}")
    for task, entry in ENTRIES.items()
    for variant in entry.variants
    if variant.device != "cpu"
]
CUDA = [param for param in ON_GPU if param.values[1].native]
# What `__init__` defines when it compiles.
CONSTANTS = {
    "maxpool2d": {"SIDE": 3, "STRIDE": 2, "PADDING": 1},
    "conv2d_depthwise": {"SIDE": 3, "PADDING": 1},
    "attention": {"DIM": 64},
}


def drawn(variant: Variant, seed: int) -> Values:
    rng = random.Random(f"{variant.name}/{seed}")
    return {t.name: rng.choice(t.values) for t in variant.tunables}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize(("task", "variant"), CUDA)
def test_cuda_source_compiles(task: str, variant: Variant, tmp_path):
    module = ast.parse(render(task, variant, drawn(variant, 0)))
    source = next(
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SOURCE"
    )
    defines = [f"-D{name}={value}" for name, value in CONSTANTS.get(task, {}).items()]
    file = tmp_path / "kernel.cu"
    file.write_text(source, encoding="utf-8")
    command = ["nvcc", "-ptx", "-arch=compute_75", *defines, str(file), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("task", "variant"), ON_GPU)
def test_source_parses_in_every_language(task: str, variant: Variant):
    for language in variant.languages:
        for slip in (None, *variant.slips):
            text = render(task, variant, drawn(variant, 1), slip, language)
            names = {n.name for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
            assert "ModelNew" in names
            builds_with = {"nvrtc": "_compile_kernel", "cuda_inline": "load_inline"}
            assert builds_with.get(language, "") in text


@pytest.mark.gpu
@pytest.mark.parametrize(("task", "variant"), ON_GPU)
def test_variant_is_correct_on_a_gpu(task: str, variant: Variant, gpu_bench):
    for seed in range(3):
        values = drawn(variant, seed)
        source = render(task, variant, values, None, variant.languages[0])
        assert gpu_bench(task).correct(source), values


@pytest.mark.gpu
@pytest.mark.parametrize(("task", "variant"), ON_GPU)
def test_slip_is_wrong_on_a_gpu(task: str, variant: Variant, gpu_bench):
    for slip in variant.slips:
        assert not gpu_bench(task).correct(render(task, variant, drawn(variant, 9), slip)), (
            slip.name
        )


@pytest.mark.gpu
@pytest.mark.parametrize("task", ["softmax", "attention", "matmul_bias_gelu"])
def test_cuda_inline_is_correct_on_a_gpu(task: str, gpu_bench):
    variant = next(v for v in ENTRIES[task].variants if "cuda_inline" in v.languages)
    source = render(task, variant, drawn(variant, 0), None, "cuda_inline")
    assert gpu_bench(task).correct(source)
