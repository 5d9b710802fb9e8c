"""Prompts of any kind are read, and none makes the provider raise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbexp.proposals.offline.feedback import Outcome, read_feedback
from kbexp.proposals.offline.prompt_reader import TAGS, read_messages, read_text
from kbexp.proposals.offline.reply import answer

PROMPT = """\
Some words.
<task name="softmax">
class Model: ...
</task>
<device name="Xeon" kind="cpu">
cores: 2
</device>
<languages>c, cpp,torch</languages>
<kernel role="parent" id="abc">
x = "<feedback>"
  <task name="nested">
</kernel>
<feedback>
Compilation failure: the kernel does not build.
</feedback>
<kernel role="other" id="d" score="1">
y = 1
</kernel>
<feedback>
Success: the kernel is correct.
Speedup over the reference: 1.9 (95 % interval 1.8 to 2).
</feedback>
<kernel role="other" id="e">
z = 1
</kernel>
<summary>
Threads help.
</summary>
"""


def test_sections_are_read():
    prompt = read_text(PROMPT)
    assert prompt.task_name == "softmax"
    assert prompt.task_source == "class Model: ..."
    assert (prompt.device_name, prompt.device_kind, prompt.cores) == ("Xeon", "cpu", 2)
    assert prompt.languages == ("c", "cpp", "torch")
    assert prompt.parent is not None
    assert prompt.parent.source == 'x = "<feedback>"\n  <task name="nested">'
    assert prompt.parent.feedback.startswith("Compilation failure")
    assert [kernel.id for kernel in prompt.others] == ["d", "e"]
    assert "1.9" in prompt.others[0].feedback
    assert prompt.others[1].feedback == ""
    assert prompt.summary == "Threads help."


def test_feedback_that_stands_apart_from_its_kernel_is_the_parents():
    prompt = read_text(
        '<kernel role="parent" id="a">\nx\n</kernel>\n#Constraints\n'
        "<feedback>\nTimeout\n</feedback>"
    )
    assert prompt.parent is not None
    assert prompt.parent.feedback == "Timeout"


def test_messages_may_hold_parts_and_the_assistants_own_words_are_left_out():
    messages = [
        {"role": "system", "content": [{"type": "text", "text": PROMPT}, {"type": "image"}, 3]},
        {"role": "assistant", "content": "<summary>\nnone\n</summary>"},
        {"role": "user", "content": None},
    ]
    assert read_messages(messages) == read_text(PROMPT)


@pytest.mark.parametrize(
    ("text", "outcome", "speedup"),
    [
        ("Compilation failure: the kernel does not build.", Outcome.COMPILE_ERROR, None),
        ("compile_error: expected ';'", Outcome.COMPILE_ERROR, None),
        ("Correctness failure: its output is wrong. Speedup 3.0", Outcome.WRONG, None),
        ("status: incorrect", Outcome.WRONG, None),
        ("Runtime failure: the kernel raised an error", Outcome.BROKEN, None),
        ("Timeout: the kernel did not finish", Outcome.BROKEN, None),
        ("Rejected: the kernel breaks a rule.", Outcome.BROKEN, None),
        ("Speedup over the reference: 1.913 (95 % interval 1.8 to 2).", Outcome.FASTER, 1.913),
        ("It is 0.75x the reference", Outcome.SLOWER, 0.75),
        ("Not judged yet.", Outcome.UNKNOWN, None),
        ("", Outcome.UNKNOWN, None),
    ],
)
def test_feedback_is_understood(text, outcome, speedup):
    fared = read_feedback(text)
    assert (fared.outcome, fared.speedup) == (outcome, speedup)


def test_without_a_task_the_answer_is_a_plain_summary():
    shown = PROMPT[PROMPT.index("<kernel") :].replace(
        "y = 1", "# playbook: softmax/online BLOCK=64"
    )
    text = answer([{"role": "user", "content": "Summarise.\n" + shown}], 0)
    assert "```" not in text
    assert "1 compile error, 1 faster" in text
    assert "softmax/online BLOCK=64" in text
    assert "1.9" in text
    assert answer([{"role": "user", "content": "Hello"}], 0).count("\n") == 0


PIECES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [f"<{tag}>\n" for tag in TAGS]
        + [f"</{tag}>\n" for tag in TAGS]
        + [
            '<task name="softmax">\n',
            '<kernel role="parent" id="x">\n',
            '<device kind="cuda">\n',
            "class Model:\n    def forward(self):\n        return 1\n",
            "class Model: forward = 1\n",
            "# playbook: softmax/online BLOCK=64\n",
            "Speedup: 1e999x\n",
        ]
    ),
)


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(PIECES, max_size=30), seed=st.integers(-(2**70), 2**70))
def test_no_prompt_makes_it_raise(pieces, seed):
    text = answer([{"role": "user", "content": "".join(pieces)}], seed)
    assert "no language model" in text


@pytest.mark.parametrize(
    "text",
    [
        "<task>\n" + "(" * 200_000 + "\n</task>",
        "<task>\nclass Model:\n  x = " + "-" * 50_000 + "1\n</task>",
        "<task>\n" + "class Model:\n    def forward(self): return " + "1+" * 3_000 + "1\n</task>",
        "<kernel " + 'a="b" ' * 100_000,
        "<task" + " " * 300_000,
        "compil" * 500_000,
        "<feedback>\n" + "9" * 1_000_000 + "\n</feedback>",
        "<feedback>\n" + "<feedback>\n" * 100_000,
        "<task>\n\x00\ud800\n</task>",
        "x" * 6_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
@pytest.mark.timeout(20)
def test_hostile_prompts_are_answered(text):
    assert answer([{"role": "user", "content": text}], 1)
    assert answer(["no mapping", {"role": "user"}, {"content": 7}], 1)  # type: ignore[list-item]
