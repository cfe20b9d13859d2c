"""What is kept and said of a tracker: its place and its failures, and no secret."""

import pytest

from deepchest_cli.training.tracking.base import Destinations
from deepchest_cli.training.tracking.mlflow import MLflow
from deepchest_cli.training.tracking.records import reason_of, without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host:5000/x", "https://***@host:5000/x"),
        ("https://secret@host", "https://***@host"),
        ("postgresql://me:secret/secret@host/db", "postgresql://***@host/db"),
        ("http://host/x?token=secret&b=1", "http://host/x"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
    ],
)
def test_addresses_are_said_without_what_a_user_logs_in_with(address, shown, tmp_path):
    assert without_credentials(address) == shown
    assert reason_of(ValueError(f"Invalid URL '{address}'")) == f"Invalid URL '{shown}'"
    assert MLflow.store(Destinations(mlflow=address), None) == shown
    assert "secret" not in MLflow.hint(tmp_path, Destinations(mlflow=address), None)
