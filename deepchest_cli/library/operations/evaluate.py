"""What `evaluate` does, for the command and for the function."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import DEFAULT_DATA, DEFAULT_MODEL, EvaluateConfig, find_data
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_json
from deepchest_cli.library.operations.evaluate_checks import each_data_set, is_model, refuse_clashes
from deepchest_cli.reporter import Reporter
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from deepchest_cli.evaluation.document import EvaluationOptions
    from deepchest_cli.evaluation.evaluation_input import EvaluationInput
    from deepchest_cli.evaluation.localization import LocalizationScores
    from deepchest_cli.evaluation.reading.scores import Scores

Document = dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """What was scored, and the results of each data set; of several, those of all together."""

    inputs: list["EvaluationInput"]
    documents: list[Document]
    document: Document


def run_evaluation(config: EvaluateConfig, reporter: Reporter) -> Evaluated:
    """Score what is asked for, and write the files that are.

    Raises `UsageError` for flags that do not go together, before anything is read.
    """
    from deepchest_cli.evaluation.document import build_document

    refuse_clashes(config)
    config = _with_data(config, reporter)
    refuse_clashes(config)  # what the model was trained on may be several data sets
    inputs = _gather(config, reporter)
    documents = []
    for one, its_config in zip(inputs, each_data_set(config), strict=True):
        where = f"{one.description['data']}: " if len(inputs) > 1 else ""
        for warning in one.warnings:
            reporter.warning(f"{where}{warning}")
        for note in one.notes:
            reporter.note(f"{where}{note}")
        documents.append(build_document(one, _extras(its_config, one, reporter)))
    document = documents[0]
    if len(inputs) == 1:
        _write(config, document, inputs[0], reporter)
    else:
        document = _write_several(config, inputs, documents, reporter)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.out, versioned(document))
    return Evaluated(inputs, documents, document)


def _extras(
    config: EvaluateConfig, inputs: "EvaluationInput", reporter: Reporter
) -> "EvaluationOptions":
    from deepchest_cli.evaluation.document import EvaluationOptions
    from deepchest_cli.evaluation.paired_comparison import paired_with

    other, caution = None, ""
    if config.compare_to is not None:
        scores, caution = _other_scores(config, config.compare_to, inputs, reporter)
        names = (inputs.name, str(config.compare_to))
        other = inputs.scored_units.alike(paired_with(inputs.images, scores, names))
    scores_of_maps, note = _localize(config, inputs, reporter)
    return EvaluationOptions(
        bootstrap_replicates=config.bootstrap_replicates,
        seed=config.seed,
        references=config.reference,
        expert_labels=config.expert_labels,
        compared_to=other,
        compared_name=str(config.compare_to or ""),
        compared_caution=caution,
        localization=scores_of_maps,
        localization_note=note,
    )


def _with_data(config: EvaluateConfig, reporter: Reporter) -> EvaluateConfig:
    """Return the configuration with the model and the data that are meant."""
    if config.predictions is not None:
        return config
    data, model = config.data, config.model or (str(DEFAULT_MODEL),)
    if _folded(model) is not None and not data:
        _refuse_of_folds(config)
        return replace(config, model=model)
    if not data:
        data, note = _data_of_training(Path(model[0]))
        if note:
            reporter.note(note)
    return replace(config, data=data, model=model)


def _folded(model: tuple[str, ...]) -> Path | None:
    """Return the first model that is a run with folds; None: there is none."""
    from deepchest_cli.model.fold_runs import folds_in

    return next((Path(one) for one in model if folds_in(Path(one)) is not None), None)


def _refuse_of_folds(config: EvaluateConfig) -> None:
    """Raise `UsageError` for what out-of-fold predictions do not go with."""
    run = _folded(config.model or (str(DEFAULT_MODEL),))
    if len(config.model) > 1:
        raise UsageError(
            f"The out-of-fold predictions of {run} are scored by themselves.",
            "Name it alone, or name by --data radiographs that none of the models was trained on.",
        )
    given = {f"--split {config.split}": config.split != "test", "--medmnist": config.medmnist}
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{flag}: of {run} the out-of-fold predictions are scored, those of each fold's "
                "test patients.",
                f"Leave {flag} out, or name other radiographs by --data.",
            )


def _data_of_training(model: Path) -> tuple[tuple[str, ...], str]:
    """Return the folders that a model was trained on, else the default one, and a note."""
    from deepchest_cli.data.shards import MANIFEST
    from deepchest_cli.model.checkpoint import find_checkpoint, read_checkpoint
    from deepchest_cli.model.checkpoint_format import is_published

    default, note = find_data((str(DEFAULT_DATA),))
    if is_published(model):
        return default, note
    data_sets = read_checkpoint(find_checkpoint(model))["origin"].get("data_sets", [])
    folders = tuple(str(one["data"]) for one in data_sets if one["data"])
    if not folders or folders == (str(DEFAULT_DATA),):
        return default, note
    named = ", ".join(folders)
    if all((Path(folder) / MANIFEST).is_file() for folder in folders):
        return folders, f"No data set was named; using the data of {model}: {named}."
    instead = f"{default[0]} is scored instead of what {model} was trained on, not found: {named}."
    return default, instead if (Path(default[0]) / MANIFEST).is_file() else note


def _gather(config: EvaluateConfig, reporter: Reporter) -> list["EvaluationInput"]:
    if config.predictions is None and not config.data:
        from deepchest_cli.evaluation.input_from_folds import input_from_folds

        return [input_from_folds(Path(config.model[0]), config)]
    if config.predictions is None:
        return _gather_models(config, reporter)
    from deepchest_cli.evaluation.input_from_files import input_from_files

    return [input_from_files(config)]


def _gather_models(config: EvaluateConfig, reporter: Reporter) -> list["EvaluationInput"]:
    from deepchest_cli.evaluation.input_from_models import inputs_from_models
    from deepchest_cli.model.fold_runs import with_folds
    from deepchest_cli.training.device import resolve_device

    device = resolve_device(config.device)
    models = with_folds([Path(model) for model in config.model])
    config = replace(config, model=tuple(str(model) for model in models))
    with reporter.progress("Scoring") as progress:
        return inputs_from_models(config, device, progress)


def _other_scores(
    config: EvaluateConfig, path: Path, inputs: "EvaluationInput", reporter: Reporter
) -> tuple["Scores", str]:
    """Return the scores of the model or file that is compared with, and what to say of them."""
    from deepchest_cli.evaluation.input_from_files import medmnist_names, refuse_other_split
    from deepchest_cli.evaluation.overlap import overlap_warning
    from deepchest_cli.evaluation.reading.scores import Scores, read_scores

    if is_model(path):
        (found,) = _gather_other(replace(config, model=(str(path),), store=False), inputs, reporter)
        for warning in found.warnings:
            reporter.warning(f"--compare-to {path}: {warning}")
        scored, overlap = found.images, found.description["overlap"]
        table, caution = scored.predictions, overlap_warning(overlap, len(scored), config.split)
        return Scores(path, scored.image_index, table.findings, table.probabilities), caution
    if inputs.medmnist:
        refuse_other_split(path, inputs.description["split"], "--compare-to")
    read = read_scores(path, config.logits, inputs.images.predictions.findings)
    for warning in read.warnings:
        reporter.warning(warning)
    for note in read.notes:
        reporter.note(note)
    scores = read.of_split(config.split)
    if scores is None:
        raise UsageError(f"{path} has no images of the {config.split} split.")
    if inputs.medmnist:
        images = medmnist_names(scores.images, inputs.description["split"])
        return replace(scores, images=images), ""
    return scores, ""


def _gather_other(
    config: EvaluateConfig, inputs: "EvaluationInput", reporter: Reporter
) -> list["EvaluationInput"]:
    """Return the predictions of the model that is compared with, out of fold as those of the first.

    Raises `UsageError` where the first are out of fold, and the other ones not in the same folds.
    """
    if inputs.run is None:
        return _gather_models(config, reporter)
    other = config.model[0]
    if _folded(config.model) is None:
        raise UsageError(
            f"--compare-to {other}: it was trained on patients whom folds of {inputs.run} test on.",
            "Compare with another run of the same --folds, or name other radiographs by --data.",
        )
    (found,) = _gather(config, reporter)
    alike = ("data_sha256", "split_scheme")
    if any(found.description[key] != inputs.description[key] for key in alike):
        raise UsageError(
            f"--compare-to {other}: its folds are others ({found.description['split_scheme']} of "
            f"{found.description['data']}).",
            "Compare runs of the same data, --folds and --seed.",
        )
    return [found]


def _localize(
    config: EvaluateConfig, inputs: "EvaluationInput", reporter: Reporter
) -> tuple["LocalizationScores | None", str]:
    """Return the scores of maps against boxes, and what limits them or why there are none."""
    from deepchest_cli.evaluation.localization import ONE_MODEL, locate
    from deepchest_cli.training.device import resolve_device

    if not config.localization:
        return None, "Not requested (--no-localization)."
    if config.unit != "image":
        return None, "Boxes are those of single images: --unit image scores maps against them."
    if len(inputs.models) != 1 or inputs.dataset is None:
        return None, ONE_MODEL
    if (inputs.description["split_scheme"], config.split) != ("official", "test"):
        return None, "Boxes are scored on NIH's official test split alone, where all of them are."
    device = resolve_device(config.device)
    classifier = inputs.models[0].classifier
    try:
        with reporter.progress("Localizing") as progress:
            found = locate(classifier, inputs.dataset, inputs.rows, device, progress)
    except UsageError as error:  # a backbone without maps has metrics all the same
        return None, error.message
    return found, found.caution if found else "The scored images have no boxes."


def _write(
    config: EvaluateConfig, document: Document, inputs: "EvaluationInput", reporter: Reporter
) -> None:
    if config.save_predictions is not None:
        from deepchest_cli.evaluation.output.predictions_table import write_predictions

        write_predictions(config.save_predictions, inputs)
        reporter.note(f"Predictions: {config.save_predictions}")
    if config.medmnist is not None:
        from deepchest_cli.evaluation.output.tables import write_for_medmnist

        path = write_for_medmnist(config.medmnist, document, inputs, config.force)
        reporter.note(f"Predictions in MedMNIST's layout: {path}")
    if config.report is not None:
        from deepchest_cli.evaluation.output.folder import write_report

        write_report(config.report, document, inputs)
        reporter.note(f"Report: {config.report / 'report.html'}")


def _write_several(
    config: EvaluateConfig,
    inputs: list["EvaluationInput"],
    documents: list[Document],
    reporter: Reporter,
) -> Document:
    """Return the document of several data sets; writes its report, and their outputs."""
    from deepchest_cli.evaluation.external_validation import external_validation
    from deepchest_cli.evaluation.output.external import write_external_report

    document = external_validation(inputs, documents)
    for its_config, its_own, one in zip(each_data_set(config), documents, inputs, strict=True):
        _write(its_config, its_own, one, reporter)
    if config.report is not None:
        write_external_report(config.report, document)
        reporter.note(f"Report: {config.report / 'report.html'}")
    return document
