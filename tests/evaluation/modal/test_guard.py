"""What a container pickles names nothing in this process."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.modal.guard import guard_results


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    from modal._serialization import Unpickler

    # Other tests read what containers pickled as Modal does.
    for name in ("find_class", "persistent_load"):
        monkeypatch.setattr(Unpickler, name, getattr(Unpickler, name))
    guard_results()


class Hostile:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.usefixtures("guarded")
def test_a_result_that_calls_something_calls_nothing(tmp_path: Path) -> None:
    from modal._serialization import deserialize
    from modal.exception import RemoteError

    target = tmp_path / "made"
    data = pickle.dumps(Hostile(str(target)), protocol=4)
    found = deserialize(data, None)
    assert isinstance(found, RemoteError)
    assert not target.exists()
    pickle.loads(data)  # It would have been made.
    assert target.exists()


@pytest.mark.usefixtures("guarded")
def test_results_come_through_and_errors_are_errors_of_a_container() -> None:
    from modal._serialization import deserialize, serialize
    from modal.exception import AuthError, RemoteError

    assert deserialize(serialize(b"bytes"), None) == b"bytes"
    for error in (AuthError("let me in"), KeyboardInterrupt("stop"), TimeoutError("again")):
        found = deserialize(serialize(error), None)
        assert type(found) is RemoteError
        assert str(error) in str(found)


@pytest.mark.usefixtures("guarded")
def test_objects_of_modals_are_refused() -> None:
    import io

    from modal._serialization import deserialize
    from modal.exception import DeserializationError

    class Naming(pickle.Pickler):
        def persistent_id(self, obj: object) -> Any:
            return ("fu-1", "o", None) if isinstance(obj, set) else None

    buffer = io.BytesIO()
    Naming(buffer, protocol=4).dump([set()])
    with pytest.raises(DeserializationError):
        deserialize(buffer.getvalue(), None)


def test_another_way_of_reading_results_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from modal import _serialization

    monkeypatch.setattr(_serialization, "Unpickler", None)
    with pytest.raises(EvaluatorUnavailable, match=r"constraints\.txt"):
        guard_results()
