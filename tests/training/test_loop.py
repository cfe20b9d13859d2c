import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killing import assert_equal_runs
from site_data import prepare_site, write_site
from tests_support import QUICK, rows_of, untimed

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UsageError
from deepchest_cli.files import locked
from deepchest_cli.interruption import SIGNALS
from deepchest_cli.model import classifier
from deepchest_cli.model.checkpoint import load_model, read_checkpoint
from deepchest_cli.model.checkpoint_format import BEST, LAST
from deepchest_cli.training import atypicality
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.resume import open_data_again
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.training.validation import Validation


@pytest.fixture
def config(shards, tmp_path):
    return TrainConfig(data=(str(shards),), out=tmp_path / "run", **QUICK)


@pytest.fixture
def small(config):
    """A network without dropout and batch norm, which trains in a fraction of the time."""
    return replace(config, backbone="small_cnn", image_size=28)


def fit(config, observer):
    return Trainer(build_components(config), create_run(config), observer).fit()


def resume(config, observer):
    trainer = Trainer(build_components(config), config.out, observer)
    trainer.resume()
    return trainer.fit()


class StopAt:
    """An observer that sends this process a signal after a step."""

    def __init__(self, step, number):
        self.step, self.number, self.seen = step, number, 0

    def on_step(self, report):
        self.seen += 1
        if self.seen == self.step:
            signal.raise_signal(self.number)

    def on_epoch(self, report):
        pass

    def on_note(self, text):
        pass


def test_a_run_leaves_what_it_promises(trained):
    assert {path.name for path in trained.iterdir()} == {
        "config.toml",
        "environment.json",
        "metrics.csv",
        "weights.csv",
        BEST,
        LAST,
    }
    metrics = rows_of(trained / "metrics.csv")
    assert [row["epoch"] for row in metrics] == ["1", "2"]
    assert all(0 <= float(row["validation_auroc"]) <= 1 for row in metrics)
    assert "validation_auroc/Hernia" in metrics[0]
    weights = rows_of(trained / "weights.csv")
    assert set(map(float, list(weights[0].values())[1:])) == {1.0}
    assert set(map(float, list(weights[1].values())[1:])) <= {1.1, 1 / 1.05}


def test_the_loss_falls(small, recorder):
    fit(replace(small, epochs=6, augment="none", patience=0), recorder)
    losses = [report.macro("training", "loss") for report in recorder.epochs]
    assert losses[-1] < 0.6 * losses[0]


def test_the_same_configuration_gives_the_same_run(config, trained, recorder):
    fit(config, recorder)
    assert untimed(config.out / "metrics.csv") == untimed(trained / "metrics.csv")


def test_another_seed_gives_another_run(config, trained, recorder):
    fit(replace(config, seed=1), recorder)
    assert untimed(config.out / "metrics.csv") != untimed(trained / "metrics.csv")


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("step", "number"), [*zip((1, 3, 4, 6, 2, 5), SIGNALS, strict=True)])
def test_a_signal_saves_and_the_run_goes_on_exactly(config, trained, recorder, step, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(InterruptedRunError) as error:
        fit(config, StopAt(step, number))
    assert error.value.exit_code == 128 + number
    assert f"deepchest train --resume {config.out}" in error.value.hint
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    torch.rand(17)  # whatever happens between does not matter
    resume(config, recorder)
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(config.out / table) == untimed(trained / table)
    ours, undisturbed = (read_checkpoint(run / LAST)["tensors"] for run in (config.out, trained))
    assert all(torch.equal(ours[key], undisturbed[key]) for key in ours)


def test_a_killed_run_goes_on_from_its_last_epoch(config, trained, recorder):
    class KilledError(Exception):
        pass

    class KillAt(StopAt):
        def on_step(self, report):
            self.seen += 1
            if self.seen == self.step:
                raise KilledError

    with pytest.raises(KilledError):
        fit(config, KillAt(4, 0))
    resume(config, recorder)
    assert untimed(config.out / "metrics.csv") == untimed(trained / "metrics.csv")


def test_a_loss_that_is_not_finite_stops_the_run(small, recorder):
    components = build_components(small)
    trainer = Trainer(components, create_run(small), recorder)

    def poison(report):
        if report.step == 2:
            with torch.no_grad():
                components.classifier.head.bias[3] = float("nan")

    recorder.on_step = poison
    with pytest.raises(
        DeepChestError, match="loss of Infiltration is not finite in batch 3 of epoch 1"
    ):
        trainer.fit()
    tensors = read_checkpoint(small.out / LAST)["tensors"]
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_training_stops_when_validation_no_longer_improves(small, recorder, monkeypatch):
    monkeypatch.setattr(Validation, "score", 0.5)
    summary = fit(replace(small, epochs=30, patience=2), recorder)
    assert summary.stopped_early
    assert (summary.epochs, summary.best_epoch) == (3, 1)


def test_max_steps_ends_a_run_within_an_epoch(small, recorder):
    summary = fit(replace(small, max_steps=2), recorder)
    assert (summary.steps, summary.epochs) == (2, 1)
    assert len(recorder.steps) == 2


def test_the_best_epoch_is_kept(small, recorder):
    summary = fit(replace(small, epochs=4, patience=0), recorder)
    scores = [report.macro("validation", "auroc") for report in recorder.epochs]
    assert summary.best_score == max(scores)
    assert load_model(small.out, torch.device("cpu")).origin["epoch"] == summary.best_epoch
    assert summary.best_epoch == scores.index(max(scores)) + 1


def test_the_last_epoch_is_kept_where_it_is_asked_for(small, recorder, monkeypatch):
    monkeypatch.setattr(Validation, "score", property(lambda _: 1.0 - len(recorder.epochs) / 10))
    summary = fit(replace(small, epochs=4, patience=1, keep="last"), recorder)
    assert (summary.epochs, summary.best_epoch, summary.best_score) == (4, 4, 0.7)
    kept, last = (read_checkpoint(small.out / name) for name in (BEST, LAST))
    assert kept["origin"]["epoch"] == 4
    assert all(torch.equal(kept["tensors"][name], value) for name, value in last["tensors"].items())
    assert [row["best"] for row in rows_of(small.out / "metrics.csv")] == ["1"] * 4


def test_a_checkpoint_says_what_was_run_and_not_what_was_planned(small, recorder):
    fit(replace(small, epochs=15, max_steps=7, patience=0), recorder)
    for name in (BEST, LAST):
        origin = read_checkpoint(small.out / name)["origin"]
        assert origin["config"]["epochs"] == 15
        assert origin["steps_per_epoch"] == 3
        assert origin["step"] == min(3 * origin["epoch"], 7)
    origin = load_model(small.out, torch.device("cpu")).origin
    assert origin["run"] == {"epochs": 3, "steps": 7, "stopped_early": False}


def test_latest_moves_with_a_runs_first_best_checkpoint(small, recorder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = replace(small, max_steps=2)
    first, second = (replace(small, out=Path("runs") / name) for name in ("first", "second"))
    latest = Path("runs/latest")
    fit(first, recorder)
    assert latest.readlink() == Path("first")
    with pytest.raises(InterruptedRunError):
        fit(second, StopAt(1, signal.SIGTERM))
    assert latest.readlink() == Path("first")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("deepchest_cli.training.run_directory.point_latest", lambda folder: 1 / 0)
        resume(second, recorder)  # as if it were killed between the checkpoint and the link
    assert (second.out / BEST).exists()
    resume(second, recorder)
    assert latest.readlink() == Path("second")
    resume(first, recorder)  # finished: nothing is new
    assert latest.readlink() == Path("second")


def test_bf16_trains(small, recorder):
    fit(replace(small, precision="bf16", max_steps=2), recorder)
    assert torch.isfinite(recorder.steps[-1].losses).all()


def test_a_signal_at_the_last_step_loses_nothing(small, recorder):
    short = replace(small, max_steps=2)
    with pytest.raises(InterruptedRunError):
        fit(short, StopAt(2, signal.SIGTERM))
    summary = resume(short, recorder)
    assert (summary.steps, summary.epochs, summary.best_epoch) == (2, 1, 1)
    assert (small.out / BEST).exists()


@pytest.mark.parametrize(
    "change", [{"optimizer": "sgd"}, {"optimizer": "rmsprop"}, {"head": "mlp"}, {"max_steps": 4}]
)
def test_other_settings_go_on_exactly_too(small, recorder, change, tmp_path):
    undisturbed = replace(small, out=tmp_path / "undisturbed", **change)
    fit(undisturbed, recorder)
    cut = replace(small, **change)
    with pytest.raises(InterruptedRunError):
        fit(cut, StopAt(2, signal.SIGTERM))
    resume(cut, recorder)
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(cut.out / table) == untimed(undisturbed.out / table)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Another site's 180 radiographs at 32 px, with four findings, of which one is new."""
    folder = tmp_path_factory.mktemp("site")
    return prepare_site(write_site(folder / "images-and-labels"), folder / "site")


@pytest.fixture
def mixed(small, shards, site):
    return replace(small, data=(str(shards), str(site)), tasks="finding-by-source")


def test_each_data_set_has_rows_in_the_metrics(mixed, site, recorder):
    summary = fit(mixed, recorder)
    rows, shards_name = rows_of(mixed.out / "metrics.csv"), Path(mixed.data[0]).name
    assert [(row["epoch"], row["source"]) for row in rows] == [
        (epoch, source) for epoch in "12" for source in ("all", shards_name, "site")
    ]
    for together, *each in (rows[:3], rows[3:]):
        scores = [float(row["validation_auroc"]) for row in each]
        assert float(together["score"]) == pytest.approx(sum(scores) / 2)
        assert [row["validation_auroc/Fracture"] == "" for row in each] == [True, False]
        assert [row["validation_loss/Edema"] == "" for row in each] == [False, True]
        # only one data set has these labels: the others add nothing
        assert together["validation_loss/Fracture"] == each[1]["validation_loss/Fracture"]
        for row in each:
            assert {row[name] for name in row if name.startswith("training_")} == {""}
            assert {row[name] for name in ("score", "seconds", "peak_memory")} == {""}
            assert row["best"] == together["best"]
    best = rows[3 * (summary.best_epoch - 1) :][:3]
    assert summary.best_score == float(best[0]["score"])
    assert summary.criterion == "validation AUROC, mean of 2 data sets"
    for one, row in zip(summary.data_sets, best[1:], strict=True):
        assert one.validation["auroc"] == float(row["validation_auroc"])
    ours = summary.data_sets[1]
    assert list(ours.finding_auroc) == ["Effusion", "Mass", "Nodule", "Fracture"]
    splits = open_dataset(site).columns["split"].tolist()
    counts = ours.training_images, ours.validation_images
    assert counts == (splits.count("train"), splits.count("validation"))
    assert Path(ours.data) == site


def test_weights_are_those_of_tasks(mixed, recorder):
    fit(mixed, recorder)
    (_, last) = rows_of(mixed.out / "weights.csv")
    assert len(last) == 1 + 14 + 4
    assert {"Mass (site)", "Fracture (site)"} < set(last)
    assert len(recorder.epochs[-1].task_loss) == len(recorder.epochs[-1].task_auroc) == 18
    assert len(recorder.epochs[-1].training["loss"]) == 15


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("order", [1, -1])
def test_a_run_on_several_data_sets_goes_on_exactly(mixed, recorder, tmp_path, order):
    undisturbed = replace(mixed, out=tmp_path / "undisturbed", source_sampling=("balanced",))
    fit(undisturbed, recorder)
    cut = replace(undisturbed, out=tmp_path / "cut")
    with pytest.raises(InterruptedRunError):
        fit(cut, StopAt(len(recorder.steps) - 1, signal.SIGTERM))
    again = replace(cut, data=cut.data[::order], resume=cut.out)
    dataset = open_data_again(again, cut.out)
    trainer = Trainer(build_components(again, resumed=True, dataset=dataset), cut.out, recorder)
    trainer.resume()
    trainer.fit()
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(cut.out / table) == untimed(undisturbed.out / table)
    ours, theirs = (read_checkpoint(one.out / LAST)["tensors"] for one in (cut, undisturbed))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_model_that_broke_after_the_last_step_is_not_called_undefined(small, recorder):
    components = build_components(small)

    def poison(report):
        if report.step == report.steps:
            with torch.no_grad():
                components.classifier.head.bias[3] = float("nan")

    recorder.on_step = poison
    with pytest.raises(DeepChestError, match="logits for Infiltration are not finite"):
        Trainer(components, create_run(small), recorder).fit()
    assert not (small.out / BEST).exists()


def test_a_second_process_may_not_go_on_with_the_same_run(small, recorder):
    folder = create_run(small)
    with locked(folder), pytest.raises(UsageError, match="Another deepchest process"):
        Trainer(build_components(small), folder, recorder).fit()


def test_several_observers_receive_everything_in_their_order(small):
    received = []

    class Named:
        def __init__(self, name):
            self.name = name

        def on_step(self, report):
            received.append((self.name, type(report).__name__))

        on_epoch = on_step

    components = build_components(replace(small, max_steps=1))
    Trainer(components, create_run(small), Named("first"), Named("second")).fit()
    both = ("first", "second")
    assert received == [(n, report) for report in ("StepReport", "EpochReport") for n in both]


def test_looking_again_after_a_step_moves_nothing_but_the_losses(config, recorder):
    components = build_components(config)
    trainer = Trainer(components, create_run(config), recorder)
    found = {}

    def look_again(recompute):
        state = torch.get_rng_state()
        before = {name: value.clone() for name, value in components.classifier.state_dict().items()}
        found["losses"] = recompute().values
        found["still"] = torch.equal(state, torch.get_rng_state()) and all(
            torch.equal(before[name], value)
            for name, value in components.classifier.state_dict().items()
        )

    components.weighter.after_step = look_again
    trainer.fit()
    assert found["still"]
    assert found["losses"].isfinite().all()
    assert components.classifier.training


def call_before(model, act):
    """Call `act` before each batch that a model predicts; it is never called in training."""
    batches = []

    def hook(*_):
        batches.append(len(batches) + 1)
        act(batches[-1])

    model.register_forward_pre_hook(hook)
    return batches


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_signal_in_validation_ends_within_a_batch_and_the_run_goes_on_exactly(
    small, recorder, tmp_path, epoch
):
    # of the EMA model, so that the hook sees validation alone; four batches of it
    small = replace(small, ema=0.5, batch_size=4)
    undisturbed = replace(small, out=tmp_path / "undisturbed")
    fit(undisturbed, recorder)
    components = build_components(small)
    count = components.validation_batches
    assert count >= 3
    number = (epoch - 1) * count + 2
    seen = call_before(
        components.evaluated_model,
        lambda batch: batch == number and signal.raise_signal(signal.SIGTERM),
    )
    with pytest.raises(InterruptedRunError, match="the state is saved") as error:
        Trainer(components, create_run(small), recorder).fit()
    assert error.value.exit_code == 143
    assert len(seen) == number
    state = read_checkpoint(small.out / LAST)["training"]["train_state"]
    assert (state["epoch"], state["step"]) == (epoch - 1, epoch * components.steps_per_epoch)
    resume(small, recorder)
    assert_equal_runs(small.out, undisturbed.out)


@pytest.mark.usefixtures("signals_arrive")
def test_a_signal_in_the_statistics_ends_within_a_batch_and_the_run_goes_on_exactly(
    small, recorder, tmp_path, monkeypatch
):
    small, calls = replace(small, batch_size=8), []
    undisturbed = replace(small, out=tmp_path / "undisturbed")
    fit(undisturbed, recorder)

    def outputs_of(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return classifier.outputs_of(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(atypicality, "outputs_of", outputs_of)
        with pytest.raises(InterruptedRunError, match="the state is saved") as error:
            fit(small, recorder)
    assert error.value.exit_code == 130
    assert len(calls) == 3
    assert read_checkpoint(small.out / BEST).get("reference") is None
    resume(small, recorder)
    assert_equal_runs(small.out, undisturbed.out)


def test_the_state_is_written_beside_the_validation(small, recorder):
    """The validation here waits for the write, and the write for the validation."""
    components = build_components(replace(small, ema=0.5, max_steps=3))
    trainer = Trainer(components, create_run(small), recorder)
    began, ended, together = threading.Event(), threading.Event(), []
    save = trainer.writer.save_last

    def save_last(state, epoch_metrics):
        if state.epoch_step == state.step == 3:
            began.set()
            together.append(ended.wait(60))
        save(state, epoch_metrics)

    trainer.writer.save_last = save_last
    call_before(components.evaluated_model, lambda _: (began.wait(60), ended.set()))
    trainer.fit()
    assert together == [True]


def test_a_full_disk_beside_the_validation_ends_the_run(small, recorder):
    trainer = Trainer(build_components(small), create_run(small), recorder)
    save = trainer.writer.save_last

    def save_last(state, epoch_metrics):
        if state.step:
            raise OSError(28, "No space left on device", "last.pt")
        save(state, epoch_metrics)

    trainer.writer.save_last = save_last
    with pytest.raises(OSError, match="No space left"):
        trainer.fit()
    assert read_checkpoint(small.out / LAST)["training"]["train_state"]["step"] == 0
    resume(small, recorder)


def test_checkpoints_and_validation_are_no_part_of_the_rate(small, recorder, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("deepchest_cli.training.progress.time.perf_counter", lambda: now[0])
    components = build_components(replace(small, ema=0.5))

    def lasting(seconds, call):
        def timed(*arguments):
            now[0] += seconds
            return call(*arguments)

        return timed

    trainer = Trainer(components, create_run(small), recorder)
    trainer.writer.save_last = lasting(1000, trainer.writer.save_last)
    trainer.training_step = lasting(2, trainer.training_step)
    call_before(components.evaluated_model, lasting(1000, lambda _: None))
    trainer.fit()
    steps = components.steps_per_epoch
    for report in recorder.epochs:
        assert report.seconds == 2 * steps
        assert report.images_per_second == small.batch_size / 2
