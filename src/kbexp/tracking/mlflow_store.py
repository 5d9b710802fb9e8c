"""The MLflow store: made once, by one process, with its files beside the database."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kbexp.errors import KbexpError
from kbexp.kernel import text_id
from kbexp.tracking.run_info import public_address

if TYPE_CHECKING:
    from mlflow import MlflowClient


def prepare(uri: str) -> None:
    """Create the store at `uri` if it is a SQLite file that is not there yet.

    Processes that open a new database at once break each other's migrations: a lock on a file
    beside it lets one of them do it while the others wait. The parent of a sweep may call this
    before its runs start; each run calls it too. `uri` is absolute (`build.resolve_uri`).
    Raises KbexpError where the folder cannot be written.
    """
    database = _sqlite_file(uri)
    if database is None:
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with _locked(database.with_name(database.name + ".lock")):
            open_client(uri).search_experiments(max_results=1)
    except OSError as error:
        raise KbexpError(
            f"The MLflow store {database} cannot be made ({error.strerror}); choose another place "
            "with logger.mlflow_uri."
        ) from error


def open_client(uri: str) -> MlflowClient:
    """Import MLflow, which then reports no usage and no migrations, and return a client.

    A server that does not answer is given up after seconds, not minutes, and without a warning
    for every try.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Return the id of the experiment; its files lie beside the database, not where one stands."""
    from mlflow.exceptions import MlflowException

    database = _sqlite_file(uri)
    files = None if database is None else (database.parent / "mlartifacts" / text_id(name)[:8])
    location = None if files is None else files.as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise KbexpError(
            f"The MLflow experiment {name} was deleted; restore it with `mlflow experiments "
            f"restore -x {found.experiment_id}` or choose another project=…"
        )
    return str(found.experiment_id)


def unreachable(error: BaseException, uri: str) -> KbexpError | None:
    """Return the sentence for a server that cannot be reached; None for any other error."""
    from requests import exceptions

    found: BaseException | None = error
    while found is not None:
        if isinstance(found, exceptions.ConnectionError | exceptions.Timeout):
            return KbexpError(
                f"no MLflow server answers at {public_address(uri)} (logger.mlflow_uri)"
            )
        found = found.__cause__ or found.__context__
    return None


def _sqlite_file(uri: str) -> Path | None:
    scheme, separator, path = uri.partition(":///")
    if not separator or not scheme.startswith("sqlite") or path in ("", ":memory:"):
        return None
    return Path(path.partition("?")[0])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
