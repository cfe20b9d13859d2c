"""MLflow: runs on a tracking server, or in a local store, a database of SQLite."""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from threading import Lock
from typing import Any

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.tracking.base import (
    SECONDS,
    Destinations,
    Outcome,
    Subject,
    Tracker,
)
from deepchest_cli.training.tracking.records import (
    Record,
    reason_of,
    without_credentials,
)

LOCAL = "sqlite:///"
DATABASE, ARTIFACTS = "mlflow.db", "artifacts"  # in the folder of the local store
STATUS: Mapping[Outcome, str] = {
    "finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED",
}  # fmt: skip
DESCRIPTION = "mlflow.note.content"
PARENT, NAME, GROUP = "mlflow.parentRunId", "mlflow.runName", "group"
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # of a run that there is not
# or MLflow's pages begin with what language models need
KIND = {"mlflow.experimentKind": "custom_model_development"}
BATCH = 500  # metrics in one request; servers take 1,000
MAX_LENGTH = 6000  # of a parameter's text


class MLflow(Tracker):
    """A run of MLflow; those of a comparison are children of a run for the comparison."""

    title = "MLflow"
    has_parents = True

    def __init__(self, subject: Subject, destinations: Destinations, record: Record | None) -> None:
        with ExitStack() as held:
            held.enter_context(_patience.held())
            self._begin(subject, destinations, record)
            self.held = held.pop_all()

    def _begin(self, subject: Subject, destinations: Destinations, record: Record | None) -> None:
        mlflow = _package()
        uri = _uri(destinations, record)
        self.place = without_credentials(uri)  # it stands in a file of the run
        self.client, self.counted = mlflow.MlflowClient(tracking_uri=uri), subject.counted
        run = self._earlier(record)
        if run is None:
            run = self.client.create_run(
                _experiment(self.client, uri, destinations), run_name=subject.name
            )
            self._log_parameters(run.info.run_id, subject.config)
        self.identifier: str = run.info.run_id
        # what the store has: a process may have been killed before it could note that
        self.step = int(run.data.metrics.get(self.counted, 0))
        self.client.update_run(self.identifier, status="RUNNING")
        for name, value in _tags(subject).items():
            self.client.set_tag(self.identifier, name, value)

    @classmethod
    def check(cls, destinations: Destinations, record: Record | None = None) -> None:
        """Raise `UsageError` where MLflow is not installed, or its store cannot be reached."""
        client = _package().MlflowClient
        uri = _uri(destinations, record)
        verb, hint = "reached", "Start the server, correct MLFLOW_TRACKING_URI, or unset it: "
        hint += "a local store takes its place."
        if destinations.mlflow is None:
            verb, hint = (
                "used",
                "Make room or give the rights there, or set MLFLOW_TRACKING_URI to a server.",
            )
        try:
            with _patience.held():
                if uri.startswith("http"):
                    import requests  # MLflow's own

                    requests.get(uri, timeout=SECONDS / 4)  # its client asks for a minute and more
                _experiment(client(tracking_uri=uri), uri, destinations)
        except Exception as error:
            raise UsageError(
                f"MLflow's store {without_credentials(uri)} cannot be {verb}: {reason_of(error)}.",
                hint,
            ) from error

    @staticmethod
    def store(destinations: Destinations, record: Record | None) -> str:
        """Return what the user has set, or the local store of an earlier record, or a new one."""
        return without_credentials(_uri(destinations, record))

    @staticmethod
    def hint(folder: Path, destinations: Destinations, record: Record | None) -> str:
        """Return the command that shows the local store, or the address of the server."""
        uri = MLflow.store(destinations, record)
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {quote(uri)}"

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add metrics; the step's number, which comes last, marks it as complete."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = {_plain(name): value for name, value in metrics.items()}
        values[self.counted] = float(step)
        entries = [Metric(name, value, now, step) for name, value in values.items()]
        for first in range(0, len(entries), BATCH):
            self.client.log_batch(self.identifier, metrics=entries[first : first + BATCH])

    def log_texts(self, texts: Mapping[str, str]) -> None:
        """Set tags; a summary is the description."""
        for name, text in texts.items():
            tag = DESCRIPTION if name == "summary" else _plain(name)
            self.client.set_tag(self.identifier, tag, text)

    def log_files(self, step: int, files: Sequence[Path]) -> None:
        """Add files as artifacts."""
        for file in files:
            self.client.log_artifact(self.identifier, str(file))

    def close(self, outcome: Outcome) -> None:
        """Set the status of the run."""
        with self.held:
            self.client.set_terminated(self.identifier, STATUS[outcome])

    def _earlier(self, record: Record | None) -> Any:
        """Return the run of an earlier record; None where this store has it no more."""
        from mlflow.exceptions import MlflowException

        if record is None or record.place != self.place:
            return None
        try:
            run = self.client.get_run(record.identifier)
        except MlflowException as error:
            if error.error_code in GONE:
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _log_parameters(self, identifier: str, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:MAX_LENGTH]) for name, value in config.items()]
        self.client.log_batch(identifier, params=entries)


def _uri(destinations: Destinations, record: Record | None) -> str:
    """Return the address of the store, with what a user logs in with."""
    if destinations.mlflow:
        return destinations.mlflow
    if record is not None and record.place.startswith(LOCAL):
        database = Path(record.place.removeprefix(LOCAL))
        if database.is_file():
            return record.place
    return f"{LOCAL}{(destinations.mlflow_folder / DATABASE).absolute()}"


def _package() -> Any:
    """Return MLflow; raise `UsageError` where it is not installed."""
    try:
        import mlflow
    except ImportError as error:
        raise UsageError("MLflow is not installed.", install_hint("mlflow")) from error
    return mlflow


class _Patience:
    """Lets MLflow say nothing, and give up on a server early, while a record of ours is open.

    What the user has set stays, and after the last record all is as it was.
    """

    def __init__(self) -> None:
        self.lock, self.records, self.before = Lock(), 0, ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            if not self.records:
                self._set()
            self.records += 1
        try:
            yield
        finally:
            with self.lock:
                self.records -= 1
                if not self.records:
                    self.before.close()

    def _set(self) -> None:
        _package()
        from mlflow import environment_variables as variables

        for name in ("mlflow", "alembic"):
            logger = logging.getLogger(name)
            self.before.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        for variable, value in (
            (variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, True),
            (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, SECONDS),
            (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, 1),
        ):
            if not variable.is_set():
                self.before.callback(variable.unset)
                variable.set(value)


_patience = _Patience()


def _experiment(client: Any, uri: str, destinations: Destinations) -> str:
    """Return the identifier of the experiment, which is made where there is none."""
    from mlflow.exceptions import MlflowException

    if uri.startswith(LOCAL):
        Path(uri.removeprefix(LOCAL)).parent.mkdir(parents=True, exist_ok=True)
    name, location = destinations.mlflow_experiment, None
    if destinations.mlflow is None:
        location = (destinations.mlflow_folder / ARTIFACTS).absolute().as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made: str = client.create_experiment(name, artifact_location=location, tags=KIND)
            return made
        except MlflowException:  # another process was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    identifier: str = found.experiment_id
    return identifier


def _tags(subject: Subject) -> dict[str, str]:
    tags = {NAME: subject.name, "folder": str(subject.folder.absolute()), "kind": subject.kind}
    if subject.group is not None:
        tags[GROUP] = subject.group.name
        if "mlflow" in subject.group.parents:
            tags[PARENT] = subject.group.parents["mlflow"]
    return tags


def _plain(name: str) -> str:
    """Return a name without characters that MLflow refuses."""
    return re.sub(r"[^\w./\- ]", "_", name)
