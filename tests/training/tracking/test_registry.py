"""Where the records are, as a run says it at its beginning."""

from shlex import split

from deepchest_cli.training.tracking.base import Destinations
from deepchest_cli.training.tracking.records import Record
from deepchest_cli.training.tracking.registry import hints


def test_the_commands_can_be_pasted(tmp_path):
    here = tmp_path / "my work"
    destinations = Destinations(mlflow_folder=here / "mlruns", wandb_folder=here)
    mlflow, wandb = hints(["mlflow", "wandb"], here, destinations, {})
    assert split(mlflow)[-1] == f"sqlite:///{here}/mlruns/mlflow.db"
    assert split(wandb)[-1] == f"{here}/wandb/offline-run-*"


def test_a_run_that_goes_on_elsewhere_names_the_store_that_it_has(tmp_path):
    database = tmp_path / "before" / "mlflow.db"
    database.parent.mkdir()
    database.touch()
    records = {"mlflow": Record("1", f"sqlite:///{database}")}
    destinations = Destinations(mlflow_folder=tmp_path / "now")
    (hint,) = hints(["mlflow"], tmp_path, destinations, records)
    assert hint == f"MLflow: mlflow ui --backend-store-uri {records['mlflow'].place}"
