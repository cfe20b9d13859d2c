"""Which command usually follows another, written so that it can be pasted."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import (
    DEFAULT_DATA,
    DEFAULT_MODEL,
    DEMO_SOURCE,
    NIH_SOURCE,
    RUN_CONFIG,
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    RecalibrateConfig,
    command_line,
    find_data,
)
from deepchest_cli.config.flags import code_in

if TYPE_CHECKING:
    from deepchest_cli.prediction.export import Exported
    from deepchest_cli.prediction.image_prediction import ImagePrediction
    from deepchest_cli.prediction.predictor import Predictor

STDIN = "-"
HOW_TO_PREDICT = "deepchest predict --help"  # where no image is known
FEW = 4  # images that a command names again


def data_flags(folders: Sequence[str]) -> str:
    """Return the flags that name data; none for what a command without them would take."""
    if tuple(folders) == find_data((str(DEFAULT_DATA),))[0]:
        return ""
    return "".join(f" --data {quote(folder)}" for folder in folders)


def training_command(folders: Sequence[str], synthetic: bool = False) -> str:
    """Return the command that trains on data; on synthetic ones in minutes."""
    recipe = " --recipe quick" if synthetic else ""
    return f"deepchest train{recipe}{data_flags(folders)}"


def training_with(weighter: str, options: Iterable[str]) -> str:
    """Return the command that trains with a weighter and its options, each as key=value."""
    given = "".join(f" --weighter-option {quote(option)}" for option in options)
    return f"deepchest train --weighter {quote(weighter)}{given}"


def evaluation_command(model: Path, backbone: str) -> str:
    """Return the command that evaluates a run; it names a backbone of one's own, as it has to."""
    own = code_in({"backbone": backbone}).get("backbone")
    flag = f" --backbone {quote(own)}" if own else ""
    return f"deepchest evaluate --model {quote(str(model))}{flag}"


def after_comparison(results: dict[str, Any], folder: Path, config: CompareConfig) -> str:
    """Return the command that runs what failed, adds seeds, or trains by the best weighter.

    Seeds are those of the inconclusive weighter that needs the fewest to detect a difference of
    the margin.
    """
    from deepchest_cli.evaluation.statistics import BETTER
    from deepchest_cli.training.run_directory import resume_command

    weighters, baseline = results["weighters"], results["design"]["baseline"]
    resume = resume_command(folder, config)
    if any(entry["status"] == "failed" for entry in weighters.values()):
        return resume
    rows = {
        label: entry["differences"]["macro_auroc"]
        for label, entry in weighters.items()
        if entry["differences"]
    }
    if seeds := _seeds_in_all(rows.values(), results["design"]):
        return f"{resume} --seeds {seeds}"
    better = {label: row["estimate"] for label, row in rows.items() if row["verdict"] == BETTER}
    best = max(better, key=better.__getitem__, default=baseline)
    first = folder / weighters[best]["runs"][0]["folder"] / RUN_CONFIG
    return f"deepchest train --config {quote(str(first))}"


def _seeds_in_all(rows: Iterable[Mapping[str, Any]], design: Mapping[str, Any]) -> int | None:
    """Return how many seeds would help an inconclusive weighter; None where none would."""
    from deepchest_cli.evaluation.statistics import INCONCLUSIVE

    if len(design["seeds"]) < design["min_seeds"]:
        return int(design["min_seeds"])
    needed = [
        row["seeds_needed"]
        for row in rows
        if row["verdict"] == INCONCLUSIVE and (row["seeds_needed"] or 0) > row["seeds"]
    ]
    return min(needed, default=None)


def after_costs(config: CompareConfig) -> str:
    """Return the comparison of the weighters whose costs were measured."""
    compared = replace(config, cost_only=False, cost_tasks=None, cost_backbones=None)
    return command_line("compare-weighters", compared)


def after_evaluate(config: EvaluateConfig) -> str:
    """Return the same with a report; after one, the prediction of an image, or the metrics."""
    if config.predictions == Path(STDIN):  # which cannot be read again
        return HOW_TO_PREDICT
    again = replace(config, out=None, save_predictions=None, medmnist=None, force=False)
    if config.report is None:
        report = _unused(Path("reports") / _name_of(config))
        return command_line("evaluate", replace(again, report=report, format="table"))
    if config.predictions is None and (command := _prediction(config.model, config.backbone)):
        return command
    if config.format == "csv":
        return HOW_TO_PREDICT
    metrics = command_line("evaluate", replace(again, report=None, format="csv"))
    return f"{metrics} > {_unused(Path('metrics.csv'))}"


def after_predict(
    config: PredictConfig, predictor: "Predictor", first: "ImagePrediction | None"
) -> str:
    """Return the same as CSV; after that, or of many images, a heat map of one.

    first: an image that is known to be readable; None: no image was answered.
    """
    if first is None:
        return HOW_TO_PREDICT
    again = replace(
        config, top=None, heatmap=None, finding=(), embeddings=None, force=False, null=False
    )
    one = replace(again, images=(first.path,), format="table", unit="image", view_weight=())
    named_again = STDIN not in config.images and len(config.images) <= FEW
    if config.format == "table" and named_again:
        return _as_csv(again)
    if config.heatmap is None and _has_maps(predictor):
        highest = max(first.probabilities, key=first.probabilities.__getitem__)
        finding = () if first.flagged else (highest,)
        drawn = replace(one, heatmap=_unused(Path("heatmaps")), finding=finding)
        return command_line("predict", drawn)
    return _as_csv(one) if config.format == "table" else command_line("predict", one)


def after_recalibrate(config: RecalibrateConfig, judged_split: str) -> str:
    """Return the evaluation of the copy on the site's test split, else a prediction with it.

    judged_split: the split that showed before and after.
    """
    assert config.out is not None
    of_copy = (str(config.out),)
    if config.data is not None and judged_split == "test" and config.out.suffix != ".onnx":
        data = (str(config.data),)
        return command_line(
            "evaluate", EvaluateConfig(model=of_copy, data=data, backbone=config.backbone)
        )
    return _prediction(of_copy, config.backbone) or HOW_TO_PREDICT


def after_export(config: ExportConfig, exported: "Exported") -> str:
    """Return a prediction with the ONNX file, or how torch alone runs the other one."""
    if config.format == "torch":
        shape = f"1, {exported.stored_size}, {exported.stored_size}"
        path = json.dumps(str(exported.path), ensure_ascii=False)
        code = (
            f"import torch; program = torch.export.load({path}).module(); "
            f"print(program(torch.zeros({shape}, dtype=torch.uint8))[1])"
        )
        return f"python -c {quote(code)}"
    return _prediction((str(exported.path),), ()) or HOW_TO_PREDICT


def _prediction(model: tuple[str, ...], backbone: tuple[str, ...]) -> str | None:
    """Return the prediction of an image that is at hand; None where none is."""
    image = _example()
    if image is None:
        return None
    config = PredictConfig(images=(str(image),), model=model, backbone=backbone)
    return command_line("predict", config)


def _as_csv(config: PredictConfig) -> str:
    answers = command_line("predict", replace(config, format="csv"))
    return f"{answers} > {_unused(Path('predictions.csv'))}"


def _has_maps(predictor: "Predictor") -> bool:
    """Whether --heatmap can draw: of one checkpoint, whose network has maps."""
    from deepchest_cli.errors import UsageError
    from deepchest_cli.model.spatial import spatial_layer
    from deepchest_cli.prediction.torch_network import TorchNetwork

    (network, *others) = predictor.networks
    if others or not isinstance(network, TorchNetwork):
        return False
    try:
        spatial_layer(network.model.classifier)
    except UsageError:
        return False
    return True


def _name_of(config: EvaluateConfig) -> str:
    """Return a name for the report: that of the run, or of the file of predictions."""
    if config.predictions is not None:
        return config.predictions.stem
    model = Path((config.model or (str(DEFAULT_MODEL),))[0])
    if model.is_file():
        return model.resolve().parent.name
    return model.resolve().name if model.is_dir() else model.name.partition("=")[0]


def _unused(path: Path) -> Path:
    """Return a path that is not there yet: this one, or one with a number."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _example() -> Path | None:
    """Return an image of the test split where NIH's data, or the demo's, are in their place."""
    for source in (NIH_SOURCE, DEMO_SOURCE):
        try:
            with (source / "test_list.txt").open() as names:
                name = names.readline().strip()
        except OSError:
            continue
        # NIH's archives unpack to images_001/images and so on
        for folder in (source / "images", source, *sorted(source.glob("images_*/images"))):
            if name and (folder / name).is_file():
                return folder / name
    return None
