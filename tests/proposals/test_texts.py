"""Texts of questions that a person puts in the place of those that come with kbexp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbexp.config import LlmConfig
from kbexp.errors import KbexpError
from kbexp.proposals.proposer import LlmProposer
from kbexp.proposals.texts import MAX_TEXT_BYTES, NAMES, Texts, instructions

Make = Callable[..., LlmConfig]


def test_every_name_has_a_text_and_every_text_a_name() -> None:
    folder = Path(__file__).resolve().parents[2] / "src" / "kbexp" / "proposals" / "prompts"
    assert {path.stem for path in folder.glob("*.md")} == set(NAMES)
    assert all(Texts()[name] == instructions(name) for name in NAMES)


def test_own_texts_reach_the_model_and_the_others_stay(
    model_server: Any, settings: Make, kit: Any, tmp_path: Path
) -> None:
    (tmp_path / "c.md").write_text("\nWrite C as I like it: é.\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a text of a question")
    model_server.script = [kit.completion("```python\nclass ModelNew: pass\n```")]
    config = settings(prompt_dir=str(tmp_path))
    assert LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request()).error == ""
    system = model_server.requests[0]["messages"][0]["content"]
    assert "\n\nWrite C as I like it: é.\n\n" in system
    assert instructions("c") not in system
    assert instructions("cpp") in system
    assert system.startswith(instructions("rules"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("fortran.md", b"x", r"takes the place of no text: .* rules\.md"),
        ("rules.md", b" \n", "is empty"),
        ("rules.md", b"x" * (MAX_TEXT_BYTES + 1), "256 KiB"),
        ("rules.md", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KbexpError, match=words) as raised:
        Texts(str(tmp_path))
    assert name in str(raised.value)
    assert "llm.prompt_dir" in str(raised.value)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KbexpError, match=r"There is no folder .*llm\.prompt_dir"):
        Texts(str(tmp_path / "nowhere"))
