"""How much is possible: bounds from a device's peaks, and what is said where they are passed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kernels import KERNEL, quick

from kbexp.config import GpuConfig, Provider
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.bound import CONF, Peaks, known_peaks, peaks_of, with_bound
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Status, Verdict

H100 = "NVIDIA H100 80GB HBM3"
LOCAL = GpuConfig(name="local", provider=Provider.local)
MEGABYTE = 1e6


def judged(
    device: str = H100,
    time_ms: float = 1.0,
    reference_ms: float = 4.0,
    status: Status = Status.CORRECT,
    environment: dict[str, str] | None = None,
    **metrics: float,
) -> Verdict:
    return Verdict(
        kernel_id="k",
        task_id="t",
        status=status,
        phase=Phase.TIMING,
        device=device,
        isolation="namespaces",
        time_ms=Interval(time_ms, 0.98 * time_ms, 1.02 * time_ms),
        reference_ms=Interval(reference_ms, reference_ms, reference_ms),
        speedup=Interval(*[reference_ms / time_ms] * 3),
        metrics=metrics,
        environment={"l2_bytes": str(50 * 2**20), **(environment or {})},
    )


def test_memory_bounds_what_moves_much_and_computes_little() -> None:
    done = with_bound(
        judged(bytes=1675 * MEGABYTE, nonzero_bytes=1675 * MEGABYTE, flops=0.0), LOCAL
    )
    assert done.metrics["bound_ms"] == pytest.approx(0.5)
    assert done.metrics["share_of_bound"] == pytest.approx(0.5)
    assert done.metrics["bound_speedup"] == pytest.approx(8.0)
    assert done.metrics["bandwidth_bytes_per_s"] == pytest.approx(1.675e12)
    assert "flops_per_s" not in done.metrics
    assert (done.environment["bound_by"], done.environment["peaks"]) == ("memory", "vendor")
    assert "beyond_bound" not in done.environment


def test_arithmetic_bounds_what_computes_much() -> None:
    types = {"flops_types": "bfloat16"}
    done = with_bound(judged(bytes=MEGABYTE, flops=9.895e11, environment=types), LOCAL)
    assert done.metrics["bound_ms"] == pytest.approx(1.0)
    assert done.metrics["flops_per_s"] == pytest.approx(9.895e14)
    assert done.environment["bound_by"] == "arithmetic"


def test_float32_can_be_had_from_three_shorter_products() -> None:
    peaks = known_peaks()[H100]
    assert peaks.flops_for(["float32"]) == pytest.approx(9.895e14 / 3)
    assert peaks.flops_for(["bfloat16"]) == 9.895e14
    assert peaks.flops_for(["float64"]) is None
    assert Peaks(None, {"fp32": 2.0, "tf32": 30.0}, measured=True).flops_for(["float32"]) == 2.0


def test_operations_of_a_type_with_no_known_rate_bound_nothing() -> None:
    types = {"flops_types": "float64"}
    done = with_bound(judged(bytes=MEGABYTE, flops=1e15, environment=types), LOCAL)
    assert done.environment["bound_by"] == "memory"
    assert done.metrics["flops_per_s"] == pytest.approx(1e18)


def beyond(time_ms: float, nonzero: float, device: str = H100, **extra: str) -> bool:
    verdict = judged(
        device, time_ms, bytes=3350 * MEGABYTE, nonzero_bytes=nonzero, environment=extra
    )
    done = with_bound(verdict, LOCAL)
    assert (done.status, done.reasons) == (Status.CORRECT, ())
    return "beyond_bound" in done.environment


def test_faster_than_memory_is_said_and_changes_no_status() -> None:
    everything = 3350 * MEGABYTE  # 1 ms
    assert beyond(0.01, everything)
    assert beyond(0.4, everything)


def test_what_honest_kernels_can_do_is_not_called_beyond() -> None:
    everything = 3350 * MEGABYTE
    assert not beyond(0.9, everything)
    assert not beyond(0.51, everything)  # half of a symmetric input
    assert not beyond(0.01, 30 * MEGABYTE)  # what is not zero of a diagonal one
    assert not beyond(0.01, 100 * MEGABYTE)  # what the L2 cache can hold
    assert not beyond(0.01, everything, device="NVIDIA H100 PCIe")  # peaks that are not known
    assert not beyond(0.01, everything, l2_bytes="")  # a cache of which nothing is known


def test_a_cpu_is_never_beyond_what_was_measured_on_it() -> None:
    measured = {"peak_bytes_per_s": "1e10", "peak_fp32_flops_per_s": "1e11"}
    verdict = judged("a CPU", 0.01, bytes=1e9, nonzero_bytes=1e9, flops=1e9, environment=measured)
    done = with_bound(verdict, GpuConfig(name="cpu"))
    assert done.metrics["share_of_bound"] > 1000
    assert done.environment["peaks"] == "measured"
    assert "beyond_bound" not in done.environment


@pytest.mark.parametrize("words", [{}, {"peak_bytes_per_s": "fast", "peak_fp32_flops_per_s": "1"}])
def test_without_peaks_only_the_rates_are_known(words: dict[str, str]) -> None:
    verdict = judged("a CPU", bytes=1e6, environment=words)
    done = with_bound(verdict, GpuConfig(name="cpu"))
    assert done.metrics["bandwidth_bytes_per_s"] == pytest.approx(1e9)
    assert "bound_ms" not in done.metrics


def test_nothing_follows_from_a_verdict_without_times_or_work() -> None:
    wrong = judged(status=Status.INCORRECT, bytes=1e6)
    assert with_bound(wrong, LOCAL) is wrong
    unknown = judged()
    assert with_bound(unknown, LOCAL) is unknown


def test_which_peaks_hold() -> None:
    given = GpuConfig(
        name="mine",
        provider=Provider.local,
        memory_bytes_per_s=1e12,
        peak_flops={"fp32": 1e13},
    )
    of_h100 = known_peaks()[H100]
    assert peaks_of(judged("whatever"), given) == Peaks(1e12, {"fp32": 1e13})
    assert peaks_of(judged(), LOCAL) == of_h100
    assert peaks_of(judged("NVIDIA H100 PCIe"), LOCAL) is None
    given.own_names = ["NVIDIA L4"]
    assert peaks_of(judged(), given) == of_h100  # another device came than was asked for
    assert peaks_of(judged("whatever"), given) is None


def test_every_rented_device_has_names_and_peaks_and_no_name_has_two() -> None:
    names = []
    for path in sorted(CONF.glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        if values["provider"] == "modal" and values.get("device_name"):
            assert values["own_names"], path
            assert values["peak_flops"]["fp32"] > 0
            names += values["own_names"]
    assert len(names) == len(set(names)) == len(known_peaks())
    assert known_peaks(Path("/nowhere")) == {}


def test_on_this_machine(tmp_path: Path, task: Task) -> None:
    with open_evaluator(GpuConfig(name="cpu"), quick(cache_dir=str(tmp_path))) as evaluator:
        done = evaluator.evaluate(task, Kernel(KERNEL))
    metrics, environment = done.metrics, done.environment
    assert done.status is Status.CORRECT, done
    assert metrics["bytes"] == 64 * 256 * 4 * 2 + 256 * 4
    assert done.time_ms is not None
    assert metrics["bandwidth_bytes_per_s"] == pytest.approx(
        metrics["bytes"] / done.time_ms.value * 1e3
    )
    assert metrics["share_of_bound"] == pytest.approx(metrics["bound_ms"] / done.time_ms.value)
    assert 1e8 < float(environment["peak_bytes_per_s"]) < 1e13
    assert 1e8 < float(environment["peak_fp32_flops_per_s"]) < 1e14
    assert environment["peaks"] == "measured"
    assert environment["flops_not_counted"] == "mul, _softmax"
    assert environment["threads"].isdigit()
    assert environment["tf32_matmul"] == "no"
    assert environment["load_average"]
    assert 0 <= float(environment["steal_share"]) <= 1
