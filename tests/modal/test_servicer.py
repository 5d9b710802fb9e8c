"""The local Modal does what the tests of the evaluator take for granted of Modal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local_modal import LocalModal

pytestmark = pytest.mark.timeout(120)


def test_the_folder_named_modal_does_not_hide_the_library() -> None:
    import modal

    assert Path(modal.__file__).parent.parent.name == "site-packages"


def test_one_process_is_entered_once_and_answers_many_calls(local_modal: LocalModal) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        seen = [sample().whoami.remote() for _ in range(3)]
        assert len(local_modal.containers()) == 1
    assert {one["pid"] for one in seen} == {seen[0]["pid"]}
    assert [one["calls"] for one in seen] == [1, 2, 3]
    assert {one["entered"] for one in seen} == {1}
    assert local_modal.containers() == []
