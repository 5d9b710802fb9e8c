"""Every bad kernel gets a verdict that says what is wrong, and the next kernel a clean device."""

from __future__ import annotations

import pytest
from kernels import KERNEL, SOFTMAX_C, TASK, compiled_kernel, kernel, quick

from kbexp.errors import TaskError
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Phase, Status
from kbexp.worker.worker import Worker, load_limit_s

GOOD = "return torch.softmax(x * self.weight, dim=-1)"

BAD = {
    "empty": (Kernel(""), Status.COMPILE_ERROR, Phase.SCREEN, "empty"),
    "not_python": (Kernel("def ("), Status.COMPILE_ERROR, Phase.SCREEN, "line 1"),
    "no_model": (Kernel("x = 1"), Status.COMPILE_ERROR, Phase.SCREEN, "no ModelNew"),
    "model_hidden": (Kernel("# ModelNew"), Status.RUNTIME_ERROR, Phase.LOAD, "no ModelNew"),
    "wrong_shape": (
        kernel("return torch.softmax(x * self.weight, dim=-1)[:5]"),
        Status.INCORRECT, Phase.CORRECTNESS, "float32[5, 256]",
    ),
    "wrong_type": (
        kernel(f"{GOOD}.double()"), Status.INCORRECT, Phase.CORRECTNESS, "float64[64, 256]",
    ),
    "nothing": (kernel("pass"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "returned None;"),
    "nan": (kernel(f"{GOOD} * float('nan')"), Status.INCORRECT, Phase.CORRECTNESS, "NaN"),
    "zeros": (kernel("return x * 0"), Status.INCORRECT, Phase.CORRECTNESS, "wrong in"),
    "raises": (kernel("raise KeyError('boo')"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "boo"),
    "raises_early": (Kernel("ModelNew = 1 / 0"), Status.RUNTIME_ERROR, Phase.LOAD, "ZeroDivision"),
    "exits": (kernel("os._exit(0)"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "code 0"),
    "exits_early": (
        Kernel("import sys; ModelNew = sys.exit(3)"),
        Status.RUNTIME_ERROR, Phase.LOAD, "SystemExit",
    ),
    "segfault": (
        kernel("ctypes.string_at(0)"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "SIGSEGV",
    ),
    "abort": (kernel("os.abort()"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "SIGABRT"),
    "kills_itself": (
        kernel("os.kill(os.getpid(), 9)"), Status.RUNTIME_ERROR, Phase.CORRECTNESS, "SIGKILL",
    ),
    "allocates": (
        kernel("b = []\nwhile True: b.append(torch.ones(2**25))"),
        Status.RUNTIME_ERROR, Phase.CORRECTNESS, "memory",
    ),
    "bad_c": (
        Kernel(
            "from torch.utils.cpp_extension import load_inline\n"
            "load_inline('broken', cpp_sources=['int f( {'], is_python_module=False,"
            " no_implicit_headers=True)\nclass ModelNew: pass"
        ),
        Status.COMPILE_ERROR, Phase.BUILD, "does not compile",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_kernel_is_named(worker: Worker, task: Task, name: str) -> None:
    bad, status, phase, said = BAD[name]
    verdict = worker.evaluate(task, bad)
    assert (verdict.status, verdict.phase) == (status, phase), verdict
    assert said in verdict.reasons[0] + verdict.log
    assert verdict.speedup is None
    assert verdict.kernel_id == bad.id


WANTS = {
    "module": ("import helper", "No module named 'helper'"),
    "relative": ("from . import helper", "attempted relative import"),
    "library": ("import ctypes; ctypes.CDLL('/tmp/x.so')", "cannot open shared object file"),
    "file": ("open('weights.bin')", "No such file or directory: 'weights.bin'"),
    "source": (
        "from torch.utils.cpp_extension import load\nload('x', sources=['/tmp/x.cpp'])",
        "/tmp/x.cpp",
    ),
    "header": (
        "from torch.utils.cpp_extension import load_inline\n"
        "load_inline('wants', cpp_sources=['#include \"helper.h\"'], is_python_module=False,"
        " no_implicit_headers=True)",
        "does not compile",
    ),
}
SELF_CONTAINED = "a kernel is one self-contained text: files and modules beside it are not visible"


@pytest.mark.parametrize("name", WANTS)
def test_what_is_not_there_comes_with_a_hint(worker: Worker, task: Task, name: str) -> None:
    wanted, said = WANTS[name]
    reason = worker.evaluate(task, Kernel(f"{wanted}\n{KERNEL}")).reasons[0]
    assert said in reason
    assert SELF_CONTAINED in reason


def test_other_errors_come_without_a_hint(worker: Worker, task: Task) -> None:
    for body in ("import ctypes.helper_of_mine as x", "raise OSError('no')", "torch.no_such_name"):
        reason = worker.evaluate(task, kernel(body)).reasons[0]
        assert ("helper_of_mine" in reason) is (SELF_CONTAINED in reason), reason


def test_who_counts_on_the_text_of_the_task_is_told(worker: Worker, task: Task) -> None:
    inherits = Kernel("class ModelNew(Model):\n    pass\n")
    reason = worker.evaluate(task, inherits).reasons[0]
    assert reason.startswith("NameError: name 'Model' is not defined (a kernel sees nothing of")


def test_an_output_that_is_no_tensor_is_said_in_words(worker: Worker, task: Task) -> None:
    nothing = worker.evaluate(task, kernel("pass"))
    words = "forward returned None; outputs must be dense plain tensors"
    assert nothing.reasons[0].startswith(words)
    sparse = worker.evaluate(task, kernel("return x.to_sparse()"))
    assert (sparse.status, sparse.phase) == (Status.RUNTIME_ERROR, Phase.CORRECTNESS)
    assert sparse.reasons[0].startswith("forward returned a sparse_coo tensor; outputs must be")


HANGS = {
    "hangs": ("while True: pass", "did not finish within 2 s"),
    "sleeps": ("time.sleep(1000)", "did not finish within 2 s"),
    "stops": ("os.kill(os.getpid(), 19)", "did not finish within 2 s"),
    "forks": (
        "while True:\n    try: os.fork()\n    except OSError: pass", "",
    ),
    "floods": ("while True: print('x' * 10**6, flush=True)", "did not finish within 2 s"),
    "fills_the_disk": (
        "f = open('big', 'wb')\nwhile True: f.write(b'x' * 2**20)", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HANGS)
def test_what_never_ends_is_ended(worker: Worker, task: Task, name: str) -> None:
    body, said = HANGS[name]
    settings = quick(run_timeout_s=2.0, memory_bytes=2 * 2**30)
    verdict = worker.evaluate(task, kernel(body), settings)
    assert verdict.status in (Status.TIMEOUT, Status.RUNTIME_ERROR), verdict
    assert said in verdict.reasons[0]
    good = worker.evaluate(task, kernel(GOOD))
    assert good.status is Status.CORRECT, good


SHARES = """
import mmap
held = []
for _ in range(32):
    held.append(mmap.mmap(-1, 2**26))
    torch.frombuffer(held[-1], dtype=torch.uint8).fill_(1)
time.sleep(10)
"""
FORKS_SHARING = """
import mmap
held = mmap.mmap(-1, 2**28)
torch.frombuffer(held, dtype=torch.uint8).fill_(1)
for _ in range(6):
    if os.fork() == 0:
        held[::4096]
        time.sleep(20)
time.sleep(1)
"""


def test_shared_memory_counts(worker: Worker, task: Task) -> None:
    settings = quick(memory_bytes=3 * 2**29)
    verdict = worker.evaluate(task, kernel(SHARES), settings)
    assert verdict.status is Status.RUNTIME_ERROR, verdict
    assert "used more than 1.5 GiB of memory" in verdict.reasons[0]


def test_memory_shared_by_several_counts_once(worker: Worker, task: Task) -> None:
    settings = quick(memory_bytes=3 * 2**29)
    once = FORKS_SHARING + "raise ValueError('<<lived>>')"
    verdict = worker.evaluate(task, kernel(once), settings)
    assert "<<lived>>" in verdict.reasons[0], verdict


def test_an_honest_kernel_is_timed(worker: Worker) -> None:
    # No kernel is far slower than this reference, however busy the machine, and so given up early.
    wait = "def forward(self, x):\n        __import__('time').sleep(0.005)"
    task = Task("unhurried", TASK.replace("def forward(self, x):", wait))
    assert task.source != TASK
    verdict = worker.evaluate(task, Kernel(KERNEL))
    assert verdict.status is Status.CORRECT
    assert verdict.phase is Phase.TIMING
    assert verdict.speedup is not None
    assert verdict.speedup.low <= verdict.speedup.value <= verdict.speedup.high
    assert verdict.time_ms is not None
    assert verdict.time_ms.value > 0
    assert verdict.metrics["pairs"] >= 6
    assert verdict.environment["torch"]
    assert verdict.task_id == task.id
    assert verdict.device == verdict.environment["device_name"]


def test_a_compiled_kernel_is_built_once(worker: Worker, task: Task) -> None:
    built = compiled_kernel(SOFTMAX_C + "// built in no other test\n", name="once")
    before = worker.builds_made
    first = worker.evaluate(task, built)
    again = worker.evaluate(task, built)
    assert first.status is again.status is Status.CORRECT, (first, again)
    assert worker.builds_made == before + 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "no Model"),
        ("def (", "cannot be imported: SyntaxError"),
        (TASK.replace("def get_inputs", "def other"), "no get_inputs"),
        (TASK.replace("torch.softmax", "torch.softmin"), "does not run: AttributeError"),
        (TASK.replace("dim=-1)", "dim=-1).tolist()"), "does not run"),
        (TASK.replace("dim=-1)", "dim=-1).to_sparse()"), "a sparse_coo tensor; outputs must be"),
        ("import helper", "'helper' (a task is one self-contained text"),
        ("import os\nos._exit(0)", "process failed"),
    ],
)
def test_a_bad_task_is_one_sentence(worker: Worker, source: str, said: str) -> None:
    with pytest.raises(TaskError, match="bad") as caught:
        worker.evaluate(Task("bad", source), Kernel(KERNEL))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        TASK.replace("return [torch.randn(rows, cols) * 3]", "while True: pass"),
        TASK + "\nimport time\ntime.sleep(600)",
    ],
)
def test_a_task_that_never_returns_ends_in_a_sentence(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    assert load_limit_s(quick(run_timeout_s=10.0), "cpu") == 70.0
    monkeypatch.setattr("kbexp.worker.worker.LOAD_TIMEOUT_S", 0.25)
    endless = Task("endless", source)
    with pytest.raises(TaskError, match="endless was not loaded and tried out within 1 s") as said:
        worker.evaluate(endless, Kernel(KERNEL), quick(run_timeout_s=0.75))
    assert "raise evaluator.run_timeout_s (the limit is 0.25 s more)" in str(said.value)
    assert "\n" not in str(said.value)


def test_weights_of_kernel_and_reference_agree_and_change(worker: Worker, task: Task) -> None:
    # A kernel with weights of its own is wrong: those of the reference are drawn anew each time.
    fixed = Kernel(KERNEL.replace("torch.rand(cols) + 0.5", "torch.full((cols,), 1.0)"))
    assert worker.evaluate(task, fixed).status is Status.INCORRECT


def test_numbers_lists_and_several_outputs_cross(worker: Worker) -> None:
    source = """
import torch

class Model(torch.nn.Module):
    def __init__(self, shift, table):
        super().__init__()
        self.shift, self.table = shift, table

    def forward(self, x, pair, scale):
        a, b = pair
        return x * scale + self.shift + self.table, [a + b, (a > b).sum()]

def get_inputs():
    return [torch.randn(50), (torch.randint(9, (7,)), torch.randint(9, (7,))), 2.5]

def get_init_inputs():
    return [1.5, torch.arange(50.0)]
"""
    verdict = worker.evaluate(
        Task("several", source), Kernel(source.replace("class Model(", "class ModelNew("))
    )
    assert verdict.status is Status.CORRECT, verdict


def test_inputs_may_be_overwritten_by_a_kernel(worker: Worker, task: Task) -> None:
    # It spoils its own copy: the judge's inputs and answers are elsewhere.
    in_place = kernel(f"y = {GOOD.removeprefix('return ')}\nx.zero_()\nreturn y")
    verdict = worker.evaluate(task, in_place)
    assert verdict.status is Status.CORRECT
    assert any("writes to its inputs" in reason for reason in verdict.reasons)


def test_a_slow_kernel_is_tried_on_every_kind_of_input_too(worker: Worker) -> None:
    source = """
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        return x.argmax(dim=1)
def get_inputs():
    return [torch.randn(64, 256)]
def get_init_inputs():
    return []
"""
    last_of_ties = """
import time, torch
class ModelNew(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.002)
        return 255 - x.flip(1).argmax(dim=1)
"""
    for _ in range(3):
        verdict = worker.evaluate(Task("argmax", source), Kernel(last_of_ties))
        assert verdict.status is Status.INCORRECT


def test_a_task_whose_answers_are_random_is_said_to_be_faulty(worker: Worker) -> None:
    source = """
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5)
def get_inputs():
    return [torch.randn(64, 256)]
def get_init_inputs():
    return []
"""
    copy = Kernel(source.replace("class Model(", "class ModelNew("))
    verdict = worker.evaluate(Task("random", source), copy)
    assert verdict.status is Status.INCORRECT
    assert any("answers differently" in reason for reason in verdict.reasons)


VIEWS = """
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        return {expression}
def get_inputs():
    return [torch.randn(256, 4096)]
def get_init_inputs():
    return []
"""


@pytest.mark.parametrize(
    "expression", ["x.split(128)", "(x, x + 1)", "torch.sort(x, dim=0)", "torch.topk(x, 4)"]
)
def test_parts_of_inputs_and_named_tuples_are_outputs_like_others(
    worker: Worker, expression: str
) -> None:
    source = VIEWS.format(expression=expression)
    copy = Kernel(source.replace("class Model(", "class ModelNew("))
    verdict = worker.evaluate(Task("views", source), copy)
    assert verdict.status is Status.CORRECT, verdict.reasons


def test_one_buffer_for_all_outputs_is_honest(worker: Worker, task: Task) -> None:
    reused = kernel(
        "if not hasattr(self, 'y'): self.y = torch.empty_like(x)\n"
        "return torch.softmax(x * self.weight, dim=-1, out=self.y)".replace(
            "torch.softmax(x * self.weight, dim=-1, out=self.y)",
            "self.y.copy_(torch.softmax(x * self.weight, dim=-1))",
        )
    )
    assert worker.evaluate(task, reused).status is Status.CORRECT


def test_an_answer_kept_from_the_first_call_is_found_out(worker: Worker, task: Task) -> None:
    kept = kernel(
        "if not hasattr(self, 'y'): self.y = torch.softmax(x * self.weight, dim=-1)\nreturn self.y"
    )
    assert worker.evaluate(task, kept).status is Status.INCORRECT


def test_lazy_after_the_checks_is_found_out(worker: Worker, task: Task) -> None:
    # Right for the correctness trials and for the first timed calls, then an empty answer.
    lazy = kernel(
        "self.n = getattr(self, 'n', 0) + 1\nif self.n > 4: return torch.empty_like(x)\n" + GOOD
    )
    settings = quick(min_pairs=30, max_pairs=60, timing_s=20.0, target_width=1e-6)
    # 30 blocks or more, a fifth of them checked: missing them all has a chance of 0.8^30 = 0.1 %
    # an evaluation; three in a row 2e-9.
    statuses = {worker.evaluate(task, lazy, settings).status for _ in range(3)}
    assert Status.INCORRECT in statuses


IDENTITY = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x + 0 * x.sum()

def get_inputs():
    return [torch.randn(64, 64)]

def get_init_inputs():
    return []
"""


def test_a_verdict_on_a_faulty_task_says_so(worker: Worker) -> None:
    task = Task("faulty", IDENTITY)
    cheat = Kernel(
        IDENTITY.replace("class Model(", "class ModelNew(").replace(" + 0 * x.sum()", "")
    )
    verdict = worker.evaluate(task, cheat)
    assert verdict.status is Status.CORRECT, verdict.reasons
    assert verdict.reasons[-1] == "the task is faulty: input 0 passes as the answer"
    assert verdict.environment["task_faults"] == "input 0 passes as the answer"


def test_a_faulty_task_can_be_refused(worker: Worker, task: Task) -> None:
    with pytest.raises(TaskError, match="input 0 passes as the answer, so that a speedup"):
        worker.evaluate(Task("faulty", IDENTITY), kernel(GOOD), quick(faulty_tasks="refuse"))
    assert worker.evaluate(task, kernel(GOOD), quick(faulty_tasks="refuse")).correct


WRITES_LATE = """
self.calls = getattr(self, "calls", 0) + 1
out = torch.softmax(x * self.weight, dim=-1)
if self.calls > 6:
    x.zero_()
return out
"""


def test_a_kernel_may_begin_to_write_to_its_inputs(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, kernel(WRITES_LATE))
    assert verdict.status is Status.CORRECT, verdict.reasons


def test_an_answer_that_is_wrong_for_other_inputs_is_wrong(worker: Worker, task: Task) -> None:
    # Right for the task's own inputs, which stay far below the clamp, and not for larger ones.
    body = "return torch.softmax(x.clamp(-17, 17) * self.weight, dim=-1)"
    # Of 31 varied inputs, two kinds of five are beyond the clamp: 0.6^31 = 1e-7 to meet none.
    verdict = worker.evaluate(task, kernel(body), quick(correctness_trials=32))
    assert verdict.status is Status.INCORRECT, verdict
    (hint,) = (reason for reason in verdict.reasons if "not the task's own" in reason)
    assert hint.endswith(("large", "three times as large, or a third where they lie from 0 to 1"))


DOUBLED = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        y = x
        for _ in range(20):
            y = y * 2 * 0.5
        return y + x

def get_inputs():
    return [torch.randn(256, 256)]

def get_init_inputs():
    return []
"""


@pytest.mark.parametrize("reuses", [True, False])
def test_it_is_said_where_a_call_overwrites_what_the_one_before_returned(
    worker: Worker, reuses: bool
) -> None:
    place = "self.out" if reuses else "torch.empty_like(x)"
    source = f"""
import torch

class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.out = torch.empty(256, 256)

    def forward(self, x):
        return torch.add(x, x, out={place})
"""
    verdict = worker.evaluate(Task("doubled", DOUBLED), Kernel(source))
    assert verdict.status is Status.CORRECT, verdict.reasons
    assert any("a call overwrites what" in reason for reason in verdict.reasons) is reuses
