"""What a run says at its end of how much was possible, and of doubtful conditions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kbexp.app.result import Result
from kbexp.app.summary_text import summary_text
from kbexp.config import GpuConfig, RunConfig
from kbexp.events import EvaluationBegun, VerdictReached
from kbexp.summary import RunSummary
from kbexp.verdict import Interval, Phase, Status, Verdict


def said(
    metrics: dict[str, float],
    environment: dict[str, str],
    metric: str = "speedup",
    number: int | None = 0,
) -> str:
    verdict = Verdict(
        kernel_id="k",
        task_id="t",
        status=Status.CORRECT,
        phase=Phase.TIMING,
        device="d",
        isolation="namespaces",
        time_ms=Interval(1.0, 1.0, 1.0),
        reference_ms=Interval(2.0, 2.0, 2.0),
        speedup=Interval(2.0, 1.9, 2.1),
        metrics=metrics,
        environment=environment,
    )
    begun = EvaluationBegun(kernel_id="k", source="", number=number)
    result = Result(
        state="complete",
        reason="Done.",
        task="softmax",
        device="d",
        config=RunConfig(gpu=GpuConfig(name="h100")),
        summary=RunSummary.of([begun, VerdictReached(verdict=verdict)], metric=metric),
        wall_s=1.0,
    )
    return summary_text(result, Path("outputs"))


def test_the_share_of_the_bound() -> None:
    metrics = {"share_of_bound": 0.87}
    vendor = said(metrics, {"bound_by": "memory", "peaks": "vendor"})
    assert "87% of what the device's memory allows, by its vendor's figures" in vendor
    measured = said(metrics, {"bound_by": "arithmetic", "peaks": "measured"})
    assert "device's arithmetic allows, measured here" in measured
    assert "bound:" not in said({}, {})
    assert "bound:" not in said({"share_of_bound": 1.3}, {"bound_by": "memory"})


def test_notes_of_what_was_odd() -> None:
    text = said({}, {"warning": "the SM clock moved", "beyond_bound": "look at\nthe kernel"})
    assert "note:   look at the kernel" in text.splitlines()
    assert "note:   the SM clock moved" in text.splitlines()


def test_what_was_maximised_is_named_with_its_unit() -> None:
    first = said({"peak_host_bytes": 2.0**29}, {}, "peak_memory").splitlines()[0]
    assert "peak_memory 2/GiB (512 MiB) is the best; 2x the reference's speed" in first
    assert "speedup 2" not in said({}, {})


def test_the_reference_is_never_called_faster_than_itself() -> None:
    first = said({}, {}, number=None).splitlines()[0]
    assert "no kernel came out faster than the reference" in first
    assert "x the reference's speed" not in first


def ended(state: str, verdicts: list[VerdictReached], folder: Path) -> list[str]:
    result = Result(
        state=state,
        reason="That is why.",
        task="softmax",
        device="d",
        config=RunConfig(gpu=GpuConfig(name="cpu")),
        summary=RunSummary.of(verdicts),
        wall_s=1.0,
    )
    return summary_text(result, folder).splitlines()


@pytest.fixture(autouse=True)
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `python` be this one."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


def test_a_line_to_be_typed_names_a_python_that_has_all_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = Path(sys.executable).parent.parent
    monkeypatch.chdir(environment)
    assert ended("stopped", [], Path("o"))[-1] == "go on:  bin/python run.py resume=o"
    monkeypatch.chdir(tmp_path)
    assert ended("stopped", [], Path("o"))[-1] == f"go on:  {sys.executable} run.py resume=o"


def test_a_run_in_which_nothing_was_judged_names_no_kernels() -> None:
    folder = Path("outputs of mine")
    complete, stopped = (ended(state, [], folder) for state in ("complete", "stopped"))
    for lines in (complete, stopped):
        assert lines[0] == "softmax on d: nothing found, nothing judged"
        assert "That is why. Nothing was judged, in 1 s" in lines[1]
        assert not [line for line in lines if "each kernel" in line]
    assert complete[-1].startswith("next:   give the same command with a larger budget")
    assert complete[-1].endswith("'hydra.run.dir=outputs of mine'")
    assert stopped[-1] == "go on:  python run.py 'resume=outputs of mine'"


def test_why_a_run_failed_is_not_among_the_closing_lines() -> None:
    wrong = Verdict(
        kernel_id="k", task_id="t", status=Status.INCORRECT, phase=Phase.CORRECTNESS, device="d",
        isolation="i",
    )  # fmt: skip
    text = "\n".join(ended("failed", [VerdictReached(verdict=wrong)], Path("o")))
    assert "That is why." not in text  # The program's last words on stderr say it.
    assert "failed: 1 kernel judged, 0 correct, in 1 s" in text
    stopped = ended("stopped", [VerdictReached(verdict=wrong)], Path("o"))
    assert stopped[-1].endswith("for what went wrong with each kernel")


def test_a_failed_run_in_which_something_was_judged_says_how_to_go_on() -> None:
    verdict = Verdict(
        kernel_id="k", task_id="t", status=Status.INCORRECT, phase=Phase.CORRECTNESS,
        device="d", isolation="namespaces",
    )  # fmt: skip
    folder = Path("outputs")
    assert "go on:  python run.py resume=outputs" in ended(
        "failed", [VerdictReached(verdict=verdict)], folder
    )
    assert not any(line.startswith("go on") for line in ended("failed", [], folder))
