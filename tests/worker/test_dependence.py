"""Work that a kernel can leave out unnoticed is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbexp.worker.reference import Problem, Reference

BRANCH = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(32)
        self.down = torch.nn.Linear(32, 8)
        self.up = torch.nn.Linear(8, 32)
        self.unused = torch.nn.Linear(16, 16)
        self.share = torch.nn.Parameter(torch.full((1,), {share}))
        {more}

    def forward(self, x{arguments}):
        return {answer}

def get_inputs():
    return [torch.randn(64, 32){inputs}]

def get_init_inputs():
    return []
"""
SUM = "torch.relu(x) + self.share * self.up(torch.tanh(self.down(self.norm(x))))"
IDLE = "the answers do not depend on down.weight, up.weight"


def reference(tmp_path: Path, **parts: str) -> Reference:
    """Return the task that is made of these parts."""
    filled = {"share": "0.5", "more": "", "arguments": "", "answer": SUM, "inputs": "", **parts}
    source = BRANCH
    for name, text in filled.items():
        source = source.replace(f"{{{name}}}", text)
    return Reference(source, "cpu", str(tmp_path))


def faults(tmp_path: Path, **parts: str) -> tuple[str, ...]:
    """Return what is said of it."""
    return reference(tmp_path, **parts).try_out(3).faults


def test_a_sound_task_has_no_faults(tmp_path: Path) -> None:
    # Of the norm's weights all are 1 or 0, but their being so shows; `unused` is no work.
    assert faults(tmp_path) == ()


@pytest.mark.parametrize("share", ["0.0", "1e-5"])
def test_a_branch_that_leaves_nothing_is_named(tmp_path: Path, share: str) -> None:
    assert faults(tmp_path, share=share) == (IDLE,)


def test_a_projection_that_starts_at_zero_leaves_the_one_before_it_idle(tmp_path: Path) -> None:
    start = "torch.nn.init.zeros_(self.up.weight)"
    assert faults(tmp_path, more=start) == ("the answers do not depend on down.weight",)


def test_many_idle_weights_are_counted(tmp_path: Path) -> None:
    more = "self.layers = torch.nn.Sequential(*[torch.nn.Linear(32, 32) for _ in range(5)])"
    found = faults(tmp_path, more=more, answer="torch.relu(x) + 0 * self.layers(x)")
    assert found == (
        "the answers do not depend on layers.0.weight, layers.1.weight, layers.2.weight and 2 more",
    )


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        (", torch.ones(64, 32, dtype=torch.bool)", "input 1 is the same whenever it is drawn"),
        (", torch.arange(32)", "input 1 is the same whenever it is drawn"),
        (", torch.rand(64, 32) > 0.5", ""),
        (", torch.tensor(True)", ""),
    ],
)
def test_an_input_that_never_changes_is_named(tmp_path: Path, inputs: str, fault: str) -> None:
    found = faults(tmp_path, arguments=", y", answer=f"({SUM}) + y", inputs=inputs)
    assert found == ((fault,) if fault else ())


NOTHING_GOES_IN = BRANCH.replace("return [torch.randn(64, 32){inputs}]", "return [{inputs}]")


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ("64", "no tensor goes into forward, so that an answer can be kept"),
        ("torch.tensor(64)", "input 0 is the same whenever it is drawn"),
        ("torch.randint(1, 3, ())", ""),
    ],
)
def test_a_task_of_which_no_input_changes_is_named(tmp_path: Path, inputs: str, fault: str) -> None:
    source = NOTHING_GOES_IN.replace("{inputs}", inputs).replace("{arguments}", "")
    source = source.replace("{answer}", "torch.tanh(self.up.weight * x)").replace("{more}", "")
    found = Reference(source.replace("{share}", "1.0"), "cpu", str(tmp_path)).try_out(3).faults
    assert found == ((fault,) if fault else ())


MEAN = "0.5 * torch.nn.functional.mse_loss({}, {})"


@pytest.mark.parametrize(
    ("answer", "inputs", "fault"),
    [
        # Of channels that are normalized and averaged the shift is left.
        (
            "torch.nn.functional.instance_norm(x[None], bias=torch.arange(64.0)).mean(2)",
            "",
            "input 0",
        ),
        (f"({SUM}) + 1e-7 * y", ", torch.randn(64, 32)", "input 1"),
        (f"({SUM}).softmax(-1) + 0 * y", ", torch.randn(64, 1)", "input 1"),
        (f"torch.where(y < 9, {SUM}, 0)", ", torch.randint(9, (64, 32))", "input 1"),
        (f"torch.where(y < 8, {SUM}, 0)", ", torch.randint(9, (64, 32))", ""),
        (f"({SUM}) * y", ", torch.randint(2, ())", ""),
        # Places in one another are exchanged together.
        (f"({SUM})[z[y.argsort()]]", ", torch.randperm(64), torch.arange(64)", ""),
        (f"({SUM}) + 0 * (y + z)", ", torch.randperm(32), torch.randperm(32)", "input 1, input 2"),
        # The same by chance now and then, as is a mean over so many elements.
        (f"({SUM}).argmax() * (y > 0)", ", torch.randn(64, 32)", ""),
        (MEAN.format(SUM, "y"), ", torch.randn(64, 32)", ""),
        # Which other draws hardly change is found out on variants.
        (f"({SUM}) + 0.02 * y.square().mean()", ", torch.randn(1024, 1024)", ""),
        # A switch that nobody turns is as it is.
        (f"({SUM}) + 1e-9 * y", ", torch.tensor(3.0)", ""),
    ],
)
def test_an_input_that_the_answers_do_not_depend_on_is_named(
    tmp_path: Path, answer: str, inputs: str, fault: str
) -> None:
    arguments = ", y, z" if "z" in answer else ", y" if inputs else ""
    found = faults(tmp_path, arguments=arguments, answer=answer, inputs=inputs)
    said = [text for text in found if "depend on input" in text]
    assert said == ([f"the answers do not depend on {fault}"] if fault else [])


def test_inputs_of_a_sound_task_are_drawn_once_more_and_no_oftener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = Problem.draw
    monkeypatch.setattr(Problem, "draw", lambda problem: drawn.append(1) or draw(problem))
    assert faults(tmp_path, arguments=", y", answer=f"({SUM}) + y", inputs=", torch.rand(32)") == ()
    assert len(drawn) == 1
