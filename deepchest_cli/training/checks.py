"""What in a configuration does not fit the data, the machine or the number of processes."""

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from shlex import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepchest_cli import __version__
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.training.distributed import DistributedContext
from deepchest_cli.weighting import GradientWeighter, Weighter
from deepchest_cli.weighting.own import code_of, short_name
from deepchest_cli.weighting.properties import broken_properties, refuse_without_effect
from deepchest_cli.weighting.trial import Trial

SMALLEST_BATCH = 2  # batch norm needs two of everything


def refuse_unfit_splits(
    dataset: RadiographDataset, rows: dict[str, NDArray[np.int64]], config: TrainConfig
) -> None:
    """Raise `UsageError` unless there are a batch to train on and labels to validate with."""
    for number, member in enumerate(dataset.members):
        if not member.findings:  # of a model of one finding, which it does not label
            continue
        own = {name: some[dataset.member[some] == number] for name, some in rows.items()}
        images = len(own["train"])
        if images < SMALLEST_BATCH:
            found = count_of(images, "image") if images else "no image"
            raise UsageError(
                f"The training split of {member.folder} has {found}; a batch needs "
                f"{SMALLEST_BATCH}.",
                "Prepare more images, or another --split-scheme: deepchest prepare --force",
            )
        if not dataset.known[own["validation"]].any():
            raise UsageError(
                f"{member.folder} has no labeled validation split.",
                "Prepare the data again with --validation-fraction 0.1 --force",
            )
    images = len(rows["train"])
    if images < config.batch_size:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training split of "
            f"{dataset.folders} ({count_of(images, 'image')}).",
            f"Use --batch-size {images} or less, or prepare more images.",
        )


def refuse_unfit_batch(config: TrainConfig, distributed: DistributedContext) -> None:
    """Raise `UsageError` unless a batch divides evenly into micro-batches of all processes."""
    micro_batches = distributed.world_size * config.grad_accum_steps
    size = config.batch_size / micro_batches
    if not size.is_integer() or size < SMALLEST_BATCH:
        nearest = max(round(size), SMALLEST_BATCH) * micro_batches
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide into {micro_batches} "
            f"micro-batches of two or more ({count_of(distributed.world_size, 'process')}, "
            f"--grad-accum-steps {config.grad_accum_steps}).",
            f"Use --batch-size {nearest}.",
        )


def refuse_unlike_processes(
    config: TrainConfig, distributed: DistributedContext, dataset: RadiographDataset
) -> None:
    """Raise `UsageError` in all processes where one has other data or programs than the first.

    Each machine reads its own files: a copy of the data may be older, or a program newer.
    """
    own = {
        f"other data in {dataset.folders}": dataset.sha256[:12],
        "another version of deepchest": __version__,
        "another version of torch": torch.__version__,
        "other code of its weighter": (config.weighter_sha256 or "none")[:12],
        "other code of its backbone": (config.backbone_sha256 or "none")[:12],
    }
    machines = distributed.all_gather_object(platform.node())
    several = distributed.all_gather_object(list(own.items()))
    for rank, found in enumerate(several):
        for (what, theirs), (_, first) in zip(found, several[0], strict=True):
            if theirs != first:
                raise UsageError(
                    f"Process {rank} on {machines[rank]} has {what} than process 0 on "
                    f"{machines[0]}: {theirs}, not {first}.",
                    "Give all machines the same: a folder that all of them see, or new copies.",
                )


def refuse_unlike_states(distributed: DistributedContext, step: int, folder: Path) -> None:
    """Raise `UsageError` in all processes where one has not read the same state to go on from."""
    machines = distributed.all_gather_object(platform.node())
    for rank, theirs in enumerate(steps := distributed.all_gather_object(step)):
        if theirs != steps[0]:
            raise UsageError(
                f"Process {rank} on {machines[rank]} finds {folder} at step {theirs}, process 0 on "
                f"{machines[0]} at step {steps[0]}.",
                "Name a folder of a file system that all machines see.",
            )


def refuse_unfit_probe(config: TrainConfig, distributed: DistributedContext) -> None:
    """Raise `UsageError` for what a linear probe has no use for: its trunk is not trained."""
    fixed = "features are computed once, from radiographs as they are"
    refused = {
        f"--augment {config.augment}": (config.augment not in (None, "none"), fixed),
        "--flip": (config.flip, fixed),
        "--grad-accum-steps": (config.grad_accum_steps > 1, "its steps take little memory"),
        "--compile": (config.compile, "its trunk computes each radiograph once only"),
        "--sync-batchnorm": (config.sync_batchnorm, "its trunk is not trained"),
        f"--freeze {config.freeze}": (config.freeze is not None, "its trunk is not trained anyway"),
        "--layer-decay": (config.layer_decay != 1, "its trunk is not trained"),
        "--drop-path": (config.drop_path > 0, "its trunk is not trained"),
        "--dropout": (config.dropout > 0, fixed),
        "--grad-checkpoint": (config.grad_checkpoint, "its steps take little memory"),
        "--ema": (config.ema > 0, "the best of its heads is chosen by validation"),
        "--clip-grad-norm": (config.clip_grad_norm > 0, "a norm would be that of all its heads"),
        "--gradient-level parameters": (
            config.gradient_level == "parameters",
            "the parameters that findings share are not trained",
        ),
    }
    for flag, (is_given, reason) in refused.items():
        if is_given:
            raise UsageError(
                f"{flag} makes no sense with --linear-probe: {reason}.", "Leave one of them out."
            )
    if distributed.world_size > 1:
        raise UsageError(
            "A linear probe trains in one process.",
            "Start it without torchrun, or with srun --ntasks 1 deepchest train ...",
        )


def refuse_broken_weighter(
    config: TrainConfig, findings: Sequence[str], options: Mapping[str, str]
) -> None:
    """Raise `UsageError` where a weighter of one's own breaks the contract; once in a process."""
    if code_of(config.weighter) is not None:
        given = tuple(options.items())
        _refuse_broken(config.weighter, config.weighter_sha256, tuple(findings), given)


@cache  # an error is not remembered
def _refuse_broken(
    name: str, sha256: str | None, findings: tuple[str, ...], options: tuple[tuple[str, str], ...]
) -> None:
    trial = Trial(name, options, findings, sha256)
    broken = broken_properties(trial)
    if broken:
        first, found = broken[0]
        more = f" ({count_of(len(broken) - 1, 'other property')} as well)" if broken[1:] else ""
        spelled = f"{name}[{','.join(f'{k}={v}' for k, v in options)}]" if options else name
        raise UsageError(
            f"The weighter {short_name(name)} breaks its contract. Expected: {first.expected} "
            f"Found: {found}{more}",
            f"See all: deepchest weighters --check {quote(spelled)}",
        )
    refuse_without_effect(trial)


def refuse_unfit_weighter(config: TrainConfig, weighter: Weighter, classifier: Classifier) -> None:
    """Raise `UsageError` for a weighter that does not fit the model or another setting.

    What is frozen has to be so already.
    """
    by_parameters, name = config.gradient_level == "parameters", short_name(config.weighter)
    if config.linear_probe and isinstance(weighter, GradientWeighter):
        raise UsageError(
            f"The weighter {name!r} combines gradients of parameters that findings share, and a "
            "linear probe does not train those.",
            "Leave --linear-probe out, or choose a weighter of another kind: deepchest weighters",
        )
    if not isinstance(weighter, GradientWeighter):
        if by_parameters:
            raise UsageError(
                f"--gradient-level parameters: the weighter {name!r} needs no gradients "
                "of single findings.",
                "Leave it out, or choose a weighter of the kind 'gradient': deepchest weighters",
            )
        return
    if by_parameters and config.unfreeze_epoch is not None:
        raise UsageError(
            f"--unfreeze-epoch: with --gradient-level parameters the gradients that the weighter "
            f"{name!r} combines would change their size within the run.",
            "Leave one of the two out.",
        )
    if not isinstance(classifier.task_layer, nn.Linear):
        raise UsageError(
            f"The weighter {name!r} needs features that all findings share last, and "
            f"parameters of each finding's own; --head {config.head} mixes them.",
            "Use --head linear or --head mlp.",
        )
    trained = {id(parameter) for parameter in classifier.shared_parameters}
    by_layer = weighter.uses_previous_weights and not by_parameters
    if by_layer:
        trained &= {id(classifier.last_shared_layer.weight)}
    if (by_parameters or by_layer) and not trained:
        raise UsageError(
            f"--freeze {config.freeze}: the weighter {name!r} here needs gradients of shared "
            "layers, and none of them is trained.",
            "Use --head mlp, whose first layer is shared and trained, freeze fewer layers, or "
            "choose another weighter: deepchest weighters",
        )
    if config.compile and (by_parameters or weighter.uses_previous_weights):
        raise UsageError(
            f"--compile: the weighter {name!r} here needs a backward pass for each "
            "finding, and a compiled model allows one a step.",
            "Leave --compile out"
            + (", or --gradient-level parameters." if not weighter.uses_previous_weights else "."),
        )


def refuse_unfit_device(
    config: TrainConfig, distributed: DistributedContext, device: torch.device
) -> None:
    """Raise `UsageError` for what a kind of device cannot do."""
    if config.sync_batchnorm and device.type != "cuda":
        raise UsageError(
            f"--sync-batchnorm works on CUDA devices only, not on {device.type}.", "Leave it out."
        )
    processes = distributed.world_size
    if processes > 1 and device.type == "mps":
        raise UsageError("Metal devices cannot share a run.", "Use --device cpu, or one process.")
    if processes > 1 and ":" in config.device:
        raise UsageError(
            f"--device {config.device} names one GPU, but the run has {processes} processes.",
            "Use --device cuda: each process takes its own.",
        )
