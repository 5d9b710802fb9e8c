"""A local Modal for the tests, one a session: the client is one a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The folder is named as the library is. Without an __init__.py it never shadows it: a package in
# site-packages goes before a folder without one, wherever both lie on the path.
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from local_modal import LocalModal


@pytest.fixture(scope="session")
def modal_session() -> Iterator[LocalModal]:
    """The service in this process, where the client finds it."""
    from local_modal import LocalModal

    with pytest.MonkeyPatch.context() as patch, LocalModal() as service:
        for name in [name for name in os.environ if name.startswith("MODAL_")]:
            patch.delenv(name)
        for name, value in service.environment.items():
            patch.setenv(name, value)
        yield service


@pytest.fixture
def local_modal(modal_session: LocalModal) -> Iterator[LocalModal]:
    """The service with no faults and no past; what a test leaves is ended after it."""
    modal_session.reset()
    modal_session.forget()
    yield modal_session
    modal_session.reset()
    assert modal_session.containers() == []
    record = modal_session.record()
    assert record["unserved"] == []
    assert record["errors"] == []
