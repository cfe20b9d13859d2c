"""What is said of a run before it begins: what is trained, and on what."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.data.text import count_of
from deepchest_cli.reporter import Reporter
from deepchest_cli.reporting.numbers import integer

if TYPE_CHECKING:
    from deepchest_cli.training.components import TrainingComponents


def describe_run(components: "TrainingComponents", folder: Path, reporter: Reporter) -> None:
    """Say what will be trained, and on what."""
    from deepchest_cli.model.layers import layers_of
    from deepchest_cli.weighting.own import short_name

    config, processes = components.config, components.distributed.world_size
    rates, classifier = components.measured_rates, components.classifier
    if components.distributed.is_main:  # warnings are shown with --quiet too
        for warning in components.warnings:
            reporter.warning(warning)
    if classifier.taken_over:
        findings = len(classifier.architecture.findings)
        taken = "all" if len(classifier.taken_over) == findings else len(classifier.taken_over)
        reporter.note(
            f"Initial weights of {config.weights}, with the head's for {taken} of "
            f"{count_of(findings, 'finding')}"
        )
    reporter.note(
        f"{folder}: {classifier.architecture.backbone} with {short_name(config.weighter)} on "
        f"{count_of(len(components.training_rows), 'radiograph')} of "
        f"{classifier.architecture.image_size} px, "
        f"{f'{processes} processes, ' if processes > 1 else ''}{components.device.type}, "
        f"{components.precision}, {count_of(components.total_steps, 'step')}"
    )
    if len(components.dataset.members) > 1:
        _describe_data_sets(components, reporter)
    if components.heads is not None:
        heads = components.heads.rates
        reporter.note(
            f"Linear probe: {len(heads)} {config.head} heads, at learning rates from "
            f"{heads[0]:g} to {heads[-1]:g}"
        )
        if config.weights == "none":
            reporter.warning("The features are those of a random network: choose --weights.")
    if rates is not None:
        reporter.detail(
            f"--precision auto: {rates.fp32:.3g} images/s in fp32, {rates.bf16:.3g} in bf16, "
            "as measured on one core of this machine"
        )
    layers, frozen = layers_of(classifier.trunk), components.frozen
    if frozen.layers:
        first = "first layer" if frozen.layers == 1 else f"first {frozen.layers} layers"
        verb = "is" if frozen.layers == 1 else "are"
        named = f"Of {len(layers)} layers of the backbone the {first} {verb}"
        named = named if frozen.layers < len(layers) else "The backbone is"
        before = f" before epoch {config.unfreeze_epoch}" if config.unfreeze_epoch else ""
        reporter.note(f"{named} not trained{before}.")
    reporter.detail(f"layers of the backbone: {', '.join(layer.name for layer in layers)}")
    reporter.detail(
        f"{count_of(sum(p.numel() for p in classifier.parameters()), 'parameter')}; "
        f"{count_of(len(components.validation_rows), 'validation radiograph')}; "
        f"weighter options {' '.join(config.weighter_option) or 'as they are by default'}; "
        f"images in memory: {components.reader.place}"
    )


def _describe_data_sets(components: "TrainingComponents", reporter: Reporter) -> None:
    """Say what each data set has, how they are sampled, and what a task is."""
    dataset, config = components.dataset, components.config
    for number_of_it, member in enumerate(dataset.members):
        training, validation = (
            integer(int((dataset.member[rows] == number_of_it).sum()))
            for rows in (components.training_rows, components.validation_rows)
        )
        resized = f", resized from {member.size} px" if member.size > dataset.size else ""
        reporter.note(
            f"  {member.name}: {training} training and {validation} validation radiographs, "
            f"{count_of(len(member.findings), 'finding')}{resized}"
        )
    groups = components.sampling.groups
    if len(groups) > 1:
        drawn = ", ".join(
            f"{integer(group.count)} of {member.name}"
            for member, group in zip(dataset.members, groups, strict=True)
        )
        reporter.note(f"  Radiographs in an epoch: {drawn}")
    tasks = components.tasks
    if tasks.member is not None:
        reporter.note(f"  {count_of(len(tasks.names), 'task')}: {config.tasks.replace('-', ' ')}")
