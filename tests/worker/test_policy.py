"""Policies at work: what is rejected before it runs, and what every verdict says of the text."""

from __future__ import annotations

import json

import pytest
from kernels import FORWARD, KERNEL, kernel, quick

from kbexp.config import Policy
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Phase, Status, Verdict
from kbexp.worker.screen import examine
from kbexp.worker.worker import Worker

BUILD = (
    "import ctypes\n"
    "from torch.utils.cpp_extension import load_inline\n"
    'LIB = ctypes.CDLL(load_inline("scaled", cpp_sources=[r"""\n'
    "#include <math.h>\n"
    'extern "C" void run(const float *x, const float *w, float *y, long n, long m) {\n'
    "  for (long i = 0; i < n; i++) {\n"
    "    float top = -INFINITY, sum = 0;\n"
    "    for (long j = 0; j < m; j++) top = fmaxf(top, x[i * m + j] * w[j]);\n"
    "    for (long j = 0; j < m; j++) sum += y[i * m + j] = expf(x[i * m + j] * w[j] - top);\n"
    "    for (long j = 0; j < m; j++) y[i * m + j] /= sum;\n"
    "  }\n"
    '}\n"""], is_python_module=False, no_implicit_headers=True))\n'
)
BODY = """y = torch.empty_like(x)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, self.weight, y)]
        LIB.run(*pointers, ctypes.c_long(x.shape[0]), ctypes.c_long(x.shape[1]))
        return y"""
OWN = Kernel(BUILD + FORWARD.format(body=BODY))


def test_a_kernel_of_ones_own_is_judged_under_every_policy(worker: Worker, task: Task) -> None:
    for policy in Policy:
        verdict = worker.evaluate(task, OWN, quick(policy=policy, max_pairs=6))
        assert verdict.status is Status.CORRECT, verdict
        assert verdict.facts["own_kernel"] == "c++"
        assert verdict.facts["own_kernel_used"] is True
        assert verdict.facts["operators"] == verdict.facts["suspicions"] == []


@pytest.mark.parametrize("policy", ["no_library", "strict"])
def test_a_call_of_the_library_is_rejected_before_it_runs(
    worker: Worker, task: Task, policy: str
) -> None:
    verdict = worker.evaluate(task, Kernel(KERNEL), quick(policy=policy))
    assert (verdict.status, verdict.phase) == (Status.REJECTED, Phase.SCREEN)
    assert "torch.softmax (line 13)" in verdict.reasons[0]
    assert policy in verdict.reasons[0]
    assert verdict.speedup is None
    assert verdict.phases.correctness_s == 0
    # What is suspicious is among the reasons of a kernel that is rejected, each once.
    odd = "defines get_inputs, which is the task's"
    assert sum(reason.count(odd) for reason in verdict.reasons) == 1


def test_any_rejects_nothing_but_says_what_it_saw(worker: Worker, task: Task) -> None:
    seen = kernel("import gc\nself.n = len(gc.get_objects())\nreturn (x * self.weight).softmax(-1)")
    verdict = worker.evaluate(task, seen, quick())
    assert verdict.status is Status.CORRECT
    assert verdict.facts["operators"] == ["Tensor.softmax", "operator *"]
    assert verdict.facts["own_kernel_used"] is False
    assert verdict.facts["suspicions"] == ["line 10: import of gc: walks the heap"]
    assert not any("gc" in reason for reason in verdict.reasons)


def test_facts_cross_as_json_and_old_records_have_none(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, Kernel("class ModelNew: pass"), quick(policy="strict"))
    record = json.loads(json.dumps(verdict.to_record()))
    assert Verdict.from_record(record) == verdict
    assert record["facts"]["complete"] is True
    del record["facts"]
    assert Verdict.from_record(record).facts == {}


def test_what_is_no_python_has_no_facts() -> None:
    outcome, findings = examine("def (", Policy.strict, "cpu", "")
    assert outcome is not None
    assert outcome.status is Status.COMPILE_ERROR
    assert findings is None


def test_a_text_without_a_model_is_no_kernel_under_any_policy() -> None:
    outcome, _ = examine("import torch", Policy.strict, "cpu", "")
    assert outcome is not None
    assert outcome.status is Status.COMPILE_ERROR
