"""What a CUDA device says of itself while a kernel is timed, and what follows from it."""

from __future__ import annotations

import pytest
from kernels import quick

from kbexp.config import GpuConfig, Provider, SizeClass, TaskConfig
from kbexp.evaluation.bound import known_peaks, with_bound
from kbexp.kernel import Kernel
from kbexp.tasks.load import load
from kbexp.verdict import Status, Verdict
from kbexp.worker.worker import Worker

pytestmark = pytest.mark.gpu


HOARD = """

class ModelNew(Model):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.hoard = torch.empty(2**30, dtype=torch.uint8, device="cuda")
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """References judged against themselves, with energy."""
    worker = Worker("cuda:0", quick(energy_s=1.2, timing_s=2.0, run_timeout_s=60.0))
    worker.start()
    found = {}
    for name in ("softmax", "matmul_square"):
        task = load(TaskConfig(name=name), SizeClass.gpu)
        kernel = Kernel(task.source.replace("class Model(", "class ModelNew("))
        found[name] = worker.evaluate(task, kernel)
        if name == "softmax":
            found["hoard"] = worker.evaluate(task, Kernel(task.source + HOARD))
    worker.close()
    return found


def test_the_device_tells_its_state(verdicts: dict[str, Verdict]) -> None:
    for verdict in verdicts.values():
        assert verdict.status is Status.CORRECT, verdict
        said = verdict.environment
        assert said["driver"]
        assert 0 < int(said["sm_mhz"]) <= int(said["sm_mhz_max"])
        assert 0 < int(said["temperature_c"]) < 110
        assert int(said["l2_bytes"]) > 0


def test_memory_grows_by_what_forward_allocates(verdicts: dict[str, Verdict]) -> None:
    metrics = verdicts["softmax"].metrics
    output_bytes = metrics["bytes"] / 2
    assert output_bytes <= metrics["peak_device_bytes"] < 4 * output_bytes


def test_memory_that_the_constructor_reserves_counts(verdicts: dict[str, Verdict]) -> None:
    taken = [verdicts[name].metrics["peak_device_bytes"] for name in ("softmax", "hoard")]
    assert 0.9 * 2**30 <= taken[1] - taken[0] <= 1.1 * 2**30


def test_energy_is_what_the_device_spends_on_a_call(verdicts: dict[str, Verdict]) -> None:
    for verdict in verdicts.values():
        assert verdict.time_ms is not None
        if "energy_j" not in verdict.metrics:
            pytest.skip("this device does not count its energy")
        power_w = verdict.metrics["power_w"]
        assert 20 < power_w < 1500
        # With what lies between calls; a call on a warm cache may take less than a timed one.
        assert verdict.metrics["energy_j"] > 0.3 * power_w * verdict.time_ms.value / 1e3


def test_the_library_keeps_within_the_bound(verdicts: dict[str, Verdict]) -> None:
    for verdict in verdicts.values():
        done = with_bound(verdict, GpuConfig(name="local", provider=Provider.local))
        if verdict.device not in known_peaks():
            pytest.skip(f"the peaks of {verdict.device} are not known")
        assert 0.01 < done.metrics["share_of_bound"] <= 1
        assert "beyond_bound" not in done.environment
