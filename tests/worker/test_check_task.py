import subprocess
import sys

import pytest
import torch

from kbexp.tasks.catalog import NAMES, bundled, output_scales
from kbexp.worker.check_task import check_task
from kbexp.worker.runner import sow

TASK = """
import torch
import torch.nn as nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter({weight})

    def forward(self, x):
        {forward}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""


def findings(
    forward: str = "return x @ self.weight",
    inputs: str = "torch.randn(32, 16)",
    weight: str = "torch.randn(16, 16)",
) -> str:
    return "\n".join(
        check_task(TASK.format(forward=forward, inputs=inputs, weight=weight), 0).findings
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_task_is_sound_and_has_the_scale_on_record(name):
    report = check_task(bundled(name).source, seed=1)
    assert report.findings == ()
    scale = output_scales()[name]
    # Another seed than the record's. The smallest operand, of 3072 numbers, moves the root mean
    # square by 1.3 % (one standard deviation) a seed; the largest element is a matter of luck.
    assert report.rms == pytest.approx(scale.rms, rel=0.12)
    assert scale.abs_max / 1.6 <= report.abs_max <= scale.abs_max * 1.6


def test_a_sound_task_has_no_findings_and_its_scale():
    report = check_task(
        TASK.format(forward="return 3 * x", inputs="torch.randn(64, 64)", weight="torch.ones(())"),
        0,
    )
    assert report.findings == ()
    torch.manual_seed(0)
    assert report.rms == pytest.approx(3 * torch.randn(64, 64).square().mean().sqrt().item())
    torch.manual_seed(0)
    assert report.abs_max == pytest.approx(3 * torch.randn(64, 64).abs().max().item())


@pytest.mark.parametrize(
    ("forward", "finding"),
    [
        ("return x * 0", "An answer of zeros passes"),
        ("return x * 1e-5", "near zero"),
        ("return torch.softmax(torch.cat([x] * 2000, 1) * 1e-7, 1)", "A constant answer passes"),
        ("return torch.full_like(x, 3.5)", "A constant answer passes"),
        ("return torch.arange(9.0) + x.sum() * 0", "same for other inputs"),
        ("return x + 1e-6", "Input 0 passes as the answer"),
        ("return x.reshape(-1)", "Input 0 passes as the answer"),
        ("return torch.log(x)", "NaN"),
        ("return x + torch.randn_like(x)", "answers differently"),
        ("return torch.dropout(x, 0.5, True)", "answers differently"),
        ("return x.mul_(2)", "changes its inputs"),
        ("return x[:0]", "output is empty"),
        ("return 3", "does not run (Unsupported"),
        ("return self.nothing", "does not run (AttributeError"),
    ],
)
def test_faults_of_the_output_are_found(forward, finding):
    assert finding in findings(forward)


@pytest.mark.parametrize(
    ("weight", "finding"),
    [
        ("torch.zeros(16, 16)", "parameter weight is 0 everywhere"),
        ("torch.ones(16, 16)", "parameter weight is 1 everywhere"),
        ("torch.zeros(1)", "parameter weight is 0"),
    ],
)
def test_faults_of_the_parameters_are_found(weight, finding):
    assert finding in findings("return x * 2 + self.weight.sum()", weight=weight)


@pytest.mark.parametrize(
    ("inputs", "finding"),
    [
        ("torch.ones(32, 16)", "the same values under every seed"),
        ("torch.ones(32, 16)", "Input 0 has one value everywhere"),
        ("torch.arange(32 * 16).reshape(32, 16) / 100", "the same values under every seed"),
        (
            "torch.randn(32, 16, generator=torch.Generator().manual_seed(torch.seed() % 999))",
            "other values under the same seed",
        ),
        ("", "does not run"),
    ],
)
def test_faults_of_the_inputs_are_found(inputs, finding):
    assert finding in findings(inputs=inputs)


def test_several_outputs_are_judged_together():
    assert findings("return (x @ self.weight, x.sum(1))") == ""
    assert findings("return {'a': x @ self.weight, 'b': [x * 0]}") == ""
    assert "zeros passes" in findings("return (x * 0, x.sum(1) * 0)")


def test_integers_must_be_equal_to_pass():
    report = check_task(
        TASK.format(
            forward="return x.argmax(1)", inputs="torch.randn(9, 99)", weight="torch.rand(2)"
        ),
        0,
    )
    assert report.findings == ()


def test_a_source_that_is_no_task_is_a_finding():
    assert "does not run (SyntaxError" in check_task("def", 0).findings[0]
    assert "does not run (KeyError" in check_task("x = 1", 0).findings[0]


def test_arguments_that_cannot_cross_to_another_process_are_a_finding():
    source = TASK.format(
        forward="return 2 * x", inputs="torch.randn(9)", weight="torch.rand(2)"
    ).replace("def __init__(self)", "def __init__(self, thing)")
    source = source.replace("    return []", "    return [object()]")
    assert "cannot be handed to another process" in check_task(source, 0).findings[0]


def test_it_can_be_asked_from_a_shell(tmp_path):
    def asked(text):
        path = tmp_path / "task.py"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "kbexp.worker.check_task", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout

    sound = bundled("softmax").source
    code, said = asked(sound)
    assert (code, said[:16]) == (0, "No faults found.")
    code, said = asked(sound.replace("torch.softmax(", "0 * torch.softmax("))
    assert code == 1
    assert "zeros passes" in said


def test_the_global_generators_are_left_alone():
    import random

    import numpy as np

    sow(5)
    wanted = (torch.rand(1).item(), random.random(), np.random.rand())
    sow(5)
    check_task(bundled("rope", overrides={"seq_len": 8}).source, 0)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == wanted


def test_inputs_of_numpy_are_the_same_under_one_seed():
    inputs = "torch.from_numpy(__import__('numpy').random.randn(32, 16).astype('float32'))"
    assert "other values under the same seed" not in findings(inputs=inputs)
