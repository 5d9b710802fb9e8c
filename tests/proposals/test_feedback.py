from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbexp.proposals.diagnostics import first_error
from kbexp.proposals.feedback import feedback
from kbexp.verdict import Interval, Phase, Status

# What PyTorch 2.11, nvcc 13.0 and Triton 3.6 wrote, shortened in the middle.
NVCC_LOG = """\
Traceback (most recent call last):
  File "/usr/lib/site-packages/torch/utils/cpp_extension.py", line 2774, in _run_ninja_build
    subprocess.run(
subprocess.CalledProcessError: Command '['ninja', '-v']' returned non-zero exit status 2.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/tmp/kernel.py", line 24, in <module>
    load_inline(
RuntimeError: Error building extension 'scaled_relu': [1/3] g++ -Werror=format -c main.cpp
[2/3] /usr/local/cuda/bin/nvcc -MD -std=c++17 -c /cache/cuda.cu -o cuda.cuda.o
FAILED: [code=2] cuda.cuda.o
/usr/local/cuda/bin/nvcc -MD -std=c++17 -c /cache/cuda.cu -o cuda.cuda.o
/cache/cuda.cu(8): error: identifier "xx" is undefined
      if (i < n) y[i] = fmaxf(xx[i] * scale, 0.0f) + undefined_b;
                              ^

/cache/cuda.cu(8): error: identifier "undefined_b" is undefined
      if (i < n) y[i] = fmaxf(xx[i] * scale, 0.0f) + undefined_b;
                                                     ^

2 errors detected in the compilation of "/cache/cuda.cu".
ninja: build stopped: subcommand failed.
"""
NVRTC_LOG = """\
Traceback (most recent call last):
  File "/tmp/kernel.py", line 11, in <module>
    kernel = torch.cuda._compile_kernel(SOURCE, "scaled_relu")
  File "/opt/lib/python3.12/site-packages/torch/cuda/_utils.py", line 264, in _nvrtc_compile
    raise RuntimeError(f"Kernel compilation failed:\\n{log.value.decode()}")
RuntimeError: Kernel compilation failed:
scaled_relu.cu(5): error: identifier "xx" is undefined
      if (i < n) y[i] = fmaxf(xx[i] * (float)scale, 0.0f);
                              ^

1 error detected in the compilation of "scaled_relu.cu".
"""
TRITON_LOG = """\
Traceback (most recent call last):
  File "/opt/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1790, in _call_impl
    return forward_call(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/tmp/kernel.py", line 24, in forward
    scaled_relu[(triton.cdiv(n, 1024),)](x, y, n, self.scale, BLOCK=1024)
  File "/opt/lib/python3.12/site-packages/triton/compiler/compiler.py", line 80, in make_ir
    return ast_to_ttir(self.fn, self, context=context, options=options)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
triton.compiler.errors.CompilationError: at 5:52:
def scaled_relu(x_ptr, y_ptr, n, scale, BLOCK: tl.constexpr):
    mask = offsets < n
    tl.store(y_ptr + offsets, tl.maximum(x * scale, zz), mask=mask)
                                                    ^
NameError('zz is not defined')
"""


def compiled(tmp_path: Path, source: str, *flags: str, compiler: str = "g++") -> str:
    path = tmp_path / "kernel.cpp"
    path.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [compiler, *flags, str(path), "-o", str(tmp_path / "out.so")],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    assert done.returncode != 0
    return done.stderr


def test_gcc_error_with_scope_source_and_caret(tmp_path: Path) -> None:
    source = (
        "void f() { int unused; }\nint g(int n) {\n    return n + missing;\n}\n"
        "int h() { return other; }\n"
    )
    found = first_error(compiled(tmp_path, source, "-shared", "-fPIC", "-Wall"))
    lines = found.splitlines()
    assert "In function" in lines[0]
    assert "error:" in lines[1]
    assert "missing" in lines[1]
    assert "return n + missing;" in found
    assert "^" in found
    assert "warning" not in found
    assert "other" not in found
    assert lines[-1] == "(and 1 more error after it)"


def test_missing_header(tmp_path: Path) -> None:
    found = first_error(compiled(tmp_path, "#include <nowhere.h>\n", "-c"))
    assert "fatal error: nowhere.h" in found
    assert "compilation terminated" in found


def test_linker_names_the_symbol_not_the_driver(tmp_path: Path) -> None:
    log = compiled(tmp_path, "int away(int);\nint main() { return away(1); }\n")
    found = first_error(log)
    assert "undefined reference to" in found
    assert "away" in found
    assert "collect2" not in found.splitlines()[0]


def test_missing_library(tmp_path: Path) -> None:
    log = compiled(tmp_path, "int main() { return 0; }\n", "-lnot_there_at_all")
    assert "not_there_at_all" in first_error(log)


def test_nvcc_error_is_found_behind_two_tracebacks() -> None:
    assert first_error(NVCC_LOG) == (
        '/cache/cuda.cu(8): error: identifier "xx" is undefined\n'
        "      if (i < n) y[i] = fmaxf(xx[i] * scale, 0.0f) + undefined_b;\n"
        "                              ^\n"
        "(and 1 more error after it)"
    )


def test_nvrtc_error() -> None:
    assert first_error(NVRTC_LOG).startswith('scaled_relu.cu(5): error: identifier "xx"')
    assert "detected in the compilation" not in first_error(NVRTC_LOG)


def test_triton_error_has_the_kernels_frame_and_the_whole_message() -> None:
    found = first_error(TRITON_LOG)
    assert found.startswith('  File "/tmp/kernel.py", line 24, in forward')
    assert "CompilationError: at 5:52:" in found
    assert found.endswith("NameError('zz is not defined')")
    assert "site-packages" not in found


@pytest.mark.parametrize(
    "line",
    [
        "ptxas error   : Entry function 'k' uses too much shared data (0x20000 bytes, 0xc000 max)",
        "nvcc fatal   : Unsupported gpu architecture 'compute_20'",
        "kernel.c:3:5: error: expected ';' before 'return'",
        "kernel.cu:12:7: fatal error: too many errors emitted, stopping now",
        "OSError: /cache/k.so: undefined symbol: scaled_relu",
    ],
)
def test_other_tools(line: str) -> None:
    log = f"[1/2] g++ -Werror -c x\nFAILED: x.o\n{line}\nninja: build stopped: subcommand failed.\n"
    assert first_error(log) == line


def test_first_of_chained_exceptions_is_the_cause() -> None:
    program = (
        "def inner():\n    return {}['key']\n"
        "try:\n    inner()\nexcept KeyError as error:\n    raise RuntimeError('later') from error\n"
    )
    log = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr
    found = first_error(log)
    assert found.endswith("KeyError: 'key'")
    assert "in inner" in found
    assert "later" not in found


def test_a_log_without_any_error_gives_its_last_lines() -> None:
    assert first_error("one\ntwo\n\n") == "one\ntwo"
    assert first_error("") == ""


def test_hostile_log_is_bounded() -> None:
    assert len(first_error("error: " + "x" * 5_000_000)) < 2100
    assert len(first_error("a.c:1:1: error: y\n" * 100_000)) < 2100
    first_error("(" * 300_000)
    first_error("a:" * 200_000)


def test_correct_kernel_hears_times_interval_and_meaning(kit: Any) -> None:
    text = feedback(kit.verdict(metrics={"bytes_per_s": 1.5e9, "odd": float("nan"), "calls": 9}))
    assert "correct" in text
    assert "2 (95 % interval 1.9 to 2.1) ms" in text
    assert "Speedup over the reference: 1.5 (95 % interval 1.4 to 1.6)." in text
    assert "faster than the reference beyond the noise" in text
    assert "bytes_per_s=1.5e+09" in text
    assert "nan" not in text
    assert "calls=" not in text


@pytest.mark.parametrize(
    ("speedup", "meaning"),
    [
        (Interval(1.01, 0.98, 1.04), "within noise"),
        (Interval(0.7, 0.6, 0.8), "slower than the reference"),
        (Interval(1.0, 1.0, 1.0), "within noise"),
    ],
)
def test_meaning_of_a_speedup(kit: Any, speedup: Interval, meaning: str) -> None:
    assert meaning in feedback(kit.verdict(speedup=speedup))


BOUND = {"bytes": 1.6e9, "flops": 2e12, "bound_ms": 0.5, "share_of_bound": 0.25}


def test_how_much_is_left_is_said(kit: Any) -> None:
    bound = {**BOUND, "bound_speedup": 3.2}
    vendor = {"bound_by": "memory", "peaks": "vendor"}
    text = feedback(kit.verdict(metrics=bound, environment=vendor))
    assert "has to move 1.6e+09 bytes, for which this device needs at least 0.5 ms" in text
    assert "at most 3.2 times the reference's speed." in text
    assert "at 25% of that bound." in text
    assert "bound_ms=" not in text
    assert "caches" not in text


def test_a_bound_by_operations_can_be_passed_by_fewer_of_them(kit: Any) -> None:
    environment = {"bound_by": "arithmetic", "peaks": "measured"}
    text = feedback(kit.verdict(metrics=BOUND, environment=environment))
    assert "as many operations as the reference does (2e+12 a call)" in text
    assert "caches can move faster" in text
    assert "only fewer operations lead past that." in text


def test_near_the_bound_little_is_left_and_beyond_it_nothing_is_said(kit: Any) -> None:
    near = kit.verdict(metrics={**BOUND, "share_of_bound": 0.91}, environment={"peaks": "vendor"})
    assert "little is left to gain" in feedback(near)
    past = kit.verdict(metrics={**BOUND, "share_of_bound": 1.4}, environment={"peaks": "measured"})
    assert "that bound" not in feedback(past)


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CORRECT])
@pytest.mark.parametrize("phase", list(Phase))
def test_failure_names_phase_and_reasons(kit: Any, status: Status, phase: Phase) -> None:
    reason = "output 0 differs at [3, 17]: 0.5 instead of 0.25; 12 % of the elements are wrong"
    text = feedback(kit.verdict(status, phase=phase, reasons=(reason,)))
    assert reason in text
    assert "It ended " in text
    assert "Speedup" not in text


def test_compile_error_shows_the_first_error(kit: Any) -> None:
    text = feedback(
        kit.verdict(Status.COMPILE_ERROR, phase=Phase.BUILD, log=NVCC_LOG, reasons=("no build",))
    )
    assert "when it was built" in text
    assert 'cuda.cu(8): error: identifier "xx" is undefined' in text
    assert "ninja" not in text


def test_feedback_is_bounded(kit: Any) -> None:
    text = feedback(kit.verdict(Status.RUNTIME_ERROR, log="x" * 10**6, reasons=("y" * 10**6,) * 50))
    assert len(text) <= 6002


def test_not_judged_yet() -> None:
    assert feedback(None) == "Not judged yet."
