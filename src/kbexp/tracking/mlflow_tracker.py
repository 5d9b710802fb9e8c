"""One MLflow run for every search, in a local SQLite store unless told otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kbexp.events import Event, RunStarted, VerdictReached
from kbexp.kernel import text_id
from kbexp.tracking.files import final_files
from kbexp.tracking.lines import encode
from kbexp.tracking.mlflow_store import experiment, open_client, prepare, unreachable
from kbexp.tracking.points import point
from kbexp.tracking.run_info import RunInfo, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FLUSH_S = 1.0
BATCH = 900
"""MLflow takes at most 1000 points in one batch."""

STATUSES = {"complete": "FINISHED", "failed": "FAILED"}
"""MLflow's word for how a run ended; KILLED for all others."""

KEY_TAG = "kbexp.journal_key"
VALUE_CHARS = 5000


class MlflowTracker:
    """Follows a run into MLflow; the experiment is the run's `project`.

    A run is found again by its journal's first line, and points carry the journal's times: a
    resumed or replayed journal completes the MLflow run it had.
    """

    name = "mlflow"

    def __init__(self, run: RunInfo, uri: str) -> None:
        self._run = run
        self._uri = uri
        self._summary = run.summary()
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._device = ""
        self._waiting: list[Metric] = []
        self._flushed_at = 0.0

    def on_event(self, event: Event) -> None:
        """Note the event's figures; they are sent in batches, at least a second apart."""
        self._summary.apply(event)
        if self._client is None:
            try:
                self._open(event)
            except Exception as error:
                raise unreachable(error, self._uri) or error from error
        assert self._client is not None
        if isinstance(event, VerdictReached) and event.verdict.device != self._device:
            self._device = event.verdict.device
            self._client.set_tag(self._run_id, "kbexp.device", self._device[:VALUE_CHARS])
        values = point(event, self._summary)
        if values is not None:
            from mlflow.entities import Metric

            at_ms, step = round(event.time * 1e3), self._summary.verdicts
            self._waiting += [Metric(k, v, at_ms, step) for k, v in values.items()]
        if time.monotonic() - self._flushed_at >= FLUSH_S or len(self._waiting) >= BATCH:
            self._flush()

    def close(self, state: str) -> None:
        """Send what waits, store the files and end the MLflow run."""
        if self._client is None:
            return
        self._flush()
        client, run_id = self._client, self._run_id
        client.set_tag(run_id, "kbexp.state", state)
        if state != "dropped":
            self._store_files(client, run_id)
        ended_at = self._summary.last_time
        client.set_terminated(
            run_id,
            STATUSES.get(state, "KILLED"),
            end_time=None if ended_at is None else round(ended_at * 1e3),
        )

    def _open(self, first: Event) -> None:
        """Open the store and find this journal's MLflow run in it, or make one."""
        prepare(self._uri)
        client = open_client(self._uri)
        experiment_id = experiment(client, self._run.project, self._uri)
        key = text_id(encode(first).decode())
        found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        if found:
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = client.create_run(
                experiment_id,
                start_time=round(first.time * 1e3),
                tags=self._tags(first) | {KEY_TAG: key},
                run_name=self._run.name[:250],
            )
        self._run_id = run.info.run_id
        self._log_params(client, run.data.params)
        self._client = client

    def _log_params(self, client: MlflowClient, stored: dict[str, str]) -> None:
        """Store the settings; MLflow never changes one, so what a resumed run changed is a tag."""
        from mlflow.entities import Param, RunTag

        flat = flatten(self._run.public_config())
        wanted = {_key(name): value[:VALUE_CHARS] for name, value in flat.items()}
        params = [Param(k, v) for k, v in wanted.items() if k not in stored]
        changed = [
            RunTag(f"resumed.{k}"[:250], v) for k, v in wanted.items() if stored.get(k, v) != v
        ]
        for start in range(0, len(params), 100):
            client.log_batch(self._run_id, params=params[start : start + 100])
        for start in range(0, len(changed), 100):
            client.log_batch(self._run_id, tags=changed[start : start + 100])

    def _tags(self, first: Event) -> dict[str, str]:
        tags = {
            "kbexp.journal": str(self._run.journal),
            "mlflow.source.name": "kbexp",
            "mlflow.source.type": "LOCAL",
        }
        environment = first.about.get("environment") if isinstance(first, RunStarted) else None
        commit = environment.get("git_commit") if isinstance(environment, dict) else None
        return tags | ({"mlflow.source.git.commit": str(commit)} if commit else {})

    def _flush(self) -> None:
        assert self._client is not None
        self._flushed_at = time.monotonic()
        while self._waiting:
            self._client.log_batch(self._run_id, metrics=self._waiting[:BATCH])
            del self._waiting[:BATCH]

    def _store_files(self, client: MlflowClient, run_id: str) -> None:
        for name, text in final_files(self._run, self._summary).items():
            client.log_text(run_id, text, name)
        client.log_dict(run_id, self._run.public_config(), "config.yaml")
        if self._run.journal.is_file():
            client.log_artifact(run_id, str(self._run.journal))


def _key(name: str) -> str:
    """Return a setting's name in the letters that MLflow allows."""
    allowed = "".join(c if c.isalnum() or c in "_-. /:" else "_" for c in name)
    return allowed[:250]
