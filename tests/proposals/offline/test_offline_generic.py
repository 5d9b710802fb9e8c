"""Tasks that the playbook has no entry for: rewrites of what the prompt shows."""

from __future__ import annotations

import random

import pytest

from kbexp.proposals.answer import extract_kernel
from kbexp.proposals.offline.generic import rewrite_of
from kbexp.proposals.offline.playbook.mark import read_mark
from kbexp.proposals.offline.reply import answer

TASK = '''\
"""A user's own task."""
from __future__ import annotations
import torch.nn as nn
import torch

size = 6


class Model(nn.Module):
    """A layer of mine."""

    def __init__(self, width):
        super(Model, self).__init__()
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, x):
        """Think."""
        y = torch.matmul(x, self.weight)
        y = y + 1.0
        y = torch.relu(y)
        return y * x


def get_inputs():
    return [torch.randn(3, size)]


def get_init_inputs():
    return [size]
'''


def run(source: str, class_name: str):
    import torch

    names: dict[str, object] = {}
    exec(source, names)
    torch.manual_seed(1)
    model = names[class_name](6)  # type: ignore[operator]
    torch.manual_seed(2)
    x = torch.randn(3, 6)
    kept = x.clone()
    out = model(x)
    assert torch.equal(x, kept)
    return out


def test_every_rewrite_computes_the_same():
    import torch

    rewrite = rewrite_of(TASK, "cpu")
    assert rewrite is not None
    names = [t.name for t in rewrite.variant.tunables]
    assert names == ["INFERENCE", "IN_PLACE", "CHANNELS_LAST", "CONTIGUOUS", "THREADS"]
    expected, threads = run(TASK, "Model"), torch.get_num_threads()
    rng = random.Random(0)
    texts = set()
    try:
        for _ in range(20):
            text = rewrite.text({t.name: rng.choice(t.values) for t in rewrite.variant.tunables})
            assert torch.allclose(run(text, "ModelNew"), expected)
            texts.add(text)
    finally:
        torch.set_num_threads(threads)
    assert len(texts) > 10


def test_in_place_forms_are_used_on_own_values_alone():
    rewrite = rewrite_of(TASK, "cuda")
    assert rewrite is not None
    text = rewrite.text({"IN_PLACE": 1})
    assert "y += 1.0" in text
    assert "torch.relu_(y)" in text
    assert "get_inputs" not in text
    other = rewrite_of(TASK.replace("y = torch.matmul(x, self.weight)", "y = x"), "cuda")
    assert other is not None
    text = other.text({"IN_PLACE": 1})
    assert "y = y + 1.0" in text
    assert "torch.relu_(y)" in text


def test_the_answer_says_that_there_is_no_entry():
    asked = [{"role": "user", "content": f'<task name="softmax">\n{TASK}\n</task>'}]
    for seed in range(10):
        reply = answer(asked, seed)
        assert "no entry for this task" in reply
        source = extract_kernel(reply).source
        assert source is not None
        mark = read_mark(source)
        assert mark is not None
        assert mark.task == "generic"


@pytest.mark.parametrize("source", ["", "x = 1", "class Model: pass", "def forward(: pass"])
def test_what_cannot_be_rewritten_is_said_so(source):
    assert rewrite_of(source, "cpu") is None
    reply = answer([{"role": "user", "content": f"<task>\nthe_task\n{source}\n</task>"}], 0)
    assert "No kernel can be written" in reply
    assert "```" not in reply
