from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbexp.proposals.answer import MAX_KERNEL_BYTES, MAX_REPLY_BYTES, extract_kernel

KERNEL = (
    r'''import ctypes
SOURCE = r"""
#define MAX(a, b) \
    ((a) > (b) ? (a) : (b))
// def TERMINATE "quotes" \n \\ {braces} %s `ticks` <<<grid, block>>>
"""
OTHER = '''
    + "'''"
    + r"""
a\tb
"""
    + "'''"
    + r"""


class ModelNew:
    pass  # trailing spaces TRAILING
"""
)


KERNEL = KERNEL.replace("TRAILING", "   ")


def fenced(source: str, info: str = "python", mark: str = "```") -> str:
    return f"{mark}{info}\n{source}{mark}"


@pytest.mark.parametrize("info", ["python", "py", "Python", "", " python", 'python title="k.py"'])
def test_block_comes_through_byte_for_byte(info: str) -> None:
    reply = f"A plan.\n\n{fenced(KERNEL, info)}\n\nThat is all."
    assert extract_kernel(reply).source == KERNEL


def test_last_block_that_defines_the_model_counts() -> None:
    draft = KERNEL.replace("pass", "draft = 1")
    usage = fenced("model = ModelNew()\n")
    reply = f"{fenced(draft)}\nNo, better:\n{fenced(KERNEL)}\nUse:\n{usage}\n"
    assert extract_kernel(reply).source == KERNEL


def test_last_block_counts_even_where_only_an_earlier_one_is_python() -> None:
    broken = "class ModelNew(:\n"
    assert extract_kernel(f"{fenced(KERNEL)}\n\n{fenced(broken)}\n").source == broken


def test_block_that_is_not_python_is_left_to_the_judge() -> None:
    broken = "class ModelNew:\n  def forward(self:\n"
    assert extract_kernel(fenced(broken)).source == broken


def test_fence_inside_of_a_string_does_not_end_the_block() -> None:
    source = (
        'NOTE = """\n```c\nint x;\n```\n"""\n\n\n'
        'class ModelNew:\n    """Doc.\n\n    ```\n    x\n    ```\n    """\n'
    )
    assert extract_kernel(f"Here:\n{fenced(source)}\n").source == source


def test_fence_within_a_fence() -> None:
    wrapped = f"```markdown\nThe kernel:\n{fenced(KERNEL)}\n```\n"
    assert extract_kernel(wrapped).source == KERNEL
    longer = f"````\n{fenced(KERNEL)}\n````\n"
    assert extract_kernel(longer).source == KERNEL
    assert extract_kernel(fenced(KERNEL, mark="~~~~")).source == KERNEL


def test_carriage_returns() -> None:
    reply = f"Plan\n{fenced(KERNEL)}\nEnd\n".replace("\n", "\r\n")
    assert extract_kernel(reply).source == KERNEL.replace("\n", "\r\n")


def test_fence_in_a_list_is_indented() -> None:
    indented = "".join(f"   {line}" for line in fenced(KERNEL).splitlines(keepends=True))
    assert extract_kernel(f"1. Do this:\n{indented}\n").source == KERNEL


@pytest.mark.parametrize(
    "wrap",
    [
        lambda code: json.dumps({"suggestion": {"kernel0": code}}),
        lambda code: json.dumps({"reasoning": "ModelNew is slow", "code": fenced(code)}, indent=2),
        lambda code: "Here: " + json.dumps({"suggestion": {"kernel0": code}}) + "\nBye.",
        lambda code: fenced(json.dumps({"suggestion": [code]}) + "\n", "json"),
        lambda code: '{"a set": "x"} and then ' + json.dumps({"answer": code}),
    ],
)
def test_code_as_a_string_in_json(wrap) -> None:
    assert extract_kernel(wrap(KERNEL)).source == KERNEL


def test_reply_that_is_nothing_but_code() -> None:
    assert extract_kernel(KERNEL).source == KERNEL


def test_missing_last_fence() -> None:
    reply = f"Plan\n```python\n{KERNEL}"
    assert extract_kernel(reply).source == KERNEL
    answer = extract_kernel(reply, truncated=True)
    assert answer.source is None
    assert "cut off" in answer.error


def test_truncated_after_the_block_is_no_loss() -> None:
    assert extract_kernel(f"{fenced(KERNEL)}\nThis is fast beca", truncated=True).source == KERNEL


def test_truncated_draft_then_answer_is_an_error() -> None:
    reply = f"Draft:\n{fenced(KERNEL)}\nBetter:\n```python\nclass ModelNew:\n    x = "
    assert extract_kernel(reply, truncated=True).source is None


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I cannot do that.", "no code block"),
        ("Use ModelNew wisely.", "names ModelNew"),
        (fenced("class Model:\n    pass\n"), "no code block"),
        (fenced("class ModelNew:\n    x = '\0'\n"), "NUL"),
        (fenced("class ModelNew:\n    x = '\ud800'\n"), "Unicode"),
        (fenced("class ModelNew:\n" + "    x = 1\n" * MAX_KERNEL_BYTES), "bytes"),
        ("x" * (MAX_REPLY_BYTES + 1), "longer"),
    ],
)
def test_no_kernel_is_one_sentence(reply: str, error: str) -> None:
    answer = extract_kernel(reply)
    assert answer.source is None
    assert error in answer.error
    assert answer.error.endswith(".")
    assert "\n" not in answer.error


def test_thinking_aloud_before_the_answer() -> None:
    reply = f"<think>\nMaybe ```python\nclass ModelNew: ...\n</think>\n{fenced(KERNEL)}\n"
    assert extract_kernel(reply).source == KERNEL


@pytest.mark.parametrize(
    "reply",
    [
        "```\nclass ModelNew:\n" * 20_000,
        ("```\n" * 100_000) + "class ModelNew:\n",
        "{" * 500_000 + "ModelNew",
        '{"ModelNew":' * 80_000,
        "```python\nclass ModelNew:\n    x = " + "(" * 100_000 + "\n```",
        "```python\nclass ModelNew:\n    x = a" + ".a" * 50_000 + "\n```",
        "`" * 900_000 + "\nModelNew",
        " " * 900_000 + "ModelNew",
        "class " * 150_000 + "ModelNew",
    ],
)
def test_hostile_replies_end_soon(reply: str) -> None:
    started = time.monotonic()
    extract_kernel(reply)
    assert time.monotonic() - started < 20


@settings(max_examples=150, deadline=None)
@given(
    before=st.text(alphabet="ab \n`{}\"'", max_size=40),
    body=st.text(alphabet="abc #\\\"'{}<>%\t\n`()=", max_size=200),
)
def test_whatever_stands_in_a_block_is_returned_unchanged(before: str, body: str) -> None:
    """Lines of backticks aside, no text in a block or before it changes the block."""
    body = re.sub("`{3,}", "``", body)
    before = re.sub("`{3,}", "``", before)
    source = f"class ModelNew:\n    pass\n{body}\n"
    assert extract_kernel(f"{before}\n~~~~~python\n{source}~~~~~\n").source == source
