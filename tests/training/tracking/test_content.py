"""What is logged of a run, read from its folder."""

from tests_support import rows_of

from deepchest_cli.training.tracking.content import configuration, epochs, files


def test_each_column_of_the_tables_is_logged_under_one_name(trained):
    logged = dict(epochs(trained))
    rows, weights = rows_of(trained / "metrics.csv"), rows_of(trained / "weights.csv")
    assert [*logged] == [1, 2]
    for row, weight in zip(rows, weights, strict=True):
        found = logged[int(row["epoch"])]
        wanted = {
            "validation/auroc": row["validation_auroc"],
            "training/loss": row["training_loss"],
            "validation_auroc/Mass": row["validation_auroc/Mass"],
            "training_accuracy/Effusion": row["training_accuracy/Effusion"],
            "weight/Mass": weight["Mass"],
            "learning_rate": row["learning_rate"],
            "seconds": row["seconds"],
            "images_per_second": row["images_per_second"],
        }
        assert {name: found[name] for name in wanted} == {n: float(v) for n, v in wanted.items()}
        defined = [n for n, v in row.items() if n not in ("epoch", "source") and v != ""]
        assert len(found) == len(defined) + len(weight) - 1


def test_data_sets_have_their_names_before_their_metrics_alone(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,source,step,score,seconds,validation_auroc,validation_auroc/Mass\n"
        "1,all,4,0.5,2.5,0.625,0.75\n"
        "1,north,4,,,0.25,\n"
        "1,south,4,,,nan,0.125\n"
        "2,all,8,0.5,2.5,inf,0.75\n"
    )
    assert [*epochs(tmp_path)] == [
        (
            1,
            {
                "step": 4.0,
                "score": 0.5,
                "seconds": 2.5,
                "validation/auroc": 0.625,
                "validation_auroc/Mass": 0.75,
                "north/validation/auroc": 0.25,
                "south/validation_auroc/Mass": 0.125,
            },
        ),
        (
            2,
            {"step": 8.0, "score": 0.5, "seconds": 2.5, "validation_auroc/Mass": 0.75},
        ),
    ]


def test_a_run_without_an_epoch_has_nothing(tmp_path):
    assert [*epochs(tmp_path)] == []
    assert files(tmp_path) == []


def test_configuration_and_files_are_those_of_the_folder(trained):
    assert configuration(trained)["batch_size"] == 16
    names = [file.name for file in files(trained)]
    assert names == ["best.pt", "config.toml", "environment.json", "metrics.csv", "weights.csv"]
