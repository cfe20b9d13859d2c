"""Which devices a comparison may use: those that are there, all of one kind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import RunRecord
from deepchest_cli.config import CompareConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.training.device import resolve_device


def with_devices(config: CompareConfig, resumed: Path | None) -> tuple[CompareConfig, bool]:
    """Return the configuration with the kind of device for `auto`, and whether it is here.

    Raises `UsageError` for a device that is not there, unless other machines compute, and for
    devices of several kinds.
    """
    if config.device == "auto" and not config.devices:
        config = replace(config, device=resolve_device("auto").type)
    flag = "--devices" if config.devices else "--device"
    there: dict[str, str] = {}  # kinds by name
    absent: list[UsageError] = []
    for name in config.device_list:
        try:
            there[name] = resolve_device(name).type
        except UsageError as error:
            absent.append(error)
    if absent and config.computes_elsewhere:
        if config.precision == "auto":
            raise UsageError(
                f"{absent[0].message} Which --precision is the fastest, the device itself tells.",
                "Name one for all runs: --precision bf16 (NVIDIA from Ampere on), fp16 or fp32.",
            )
        return config, False
    if absent:
        message = absent[0].message.replace("--device", flag, 1)
        if resumed is None:
            raise UsageError(message, absent[0].hint)
        others = f"{flag} {','.join(there)}" if there else "--device NAME"
        raise UsageError(
            f"{message} {resumed} began with it.",
            f"Resume on what is there, of the same kind: --resume {resumed} {others}",
        )
    if len(set(there.values())) > 1:
        raise UsageError(
            f"--devices {config.devices} are of several kinds, whose results differ by rounding.",
            "Name devices of one kind.",
        )
    return config, True


def refuse_other_kind(
    jobs: Sequence[Job], finals: Mapping[Path, RunRecord | None], device: str
) -> None:
    """Raise `UsageError` where runs are missing and others were computed on another kind of device.

    Also those of other seeds: a weighter that is added later needs runs of all seeds.
    """
    kind = device.partition(":")[0]
    compared = [job for job in jobs if job.finding is None]
    missing = next((job for job in compared if finals[job.folder] is None), None)
    if missing is None:
        return
    for other in compared:
        final = finals[other.folder]
        if final is not None and final.device not in ("", kind):
            raise UsageError(
                f"{missing.name} would be computed on {kind}, and {other.name} of the same "
                f"comparison was computed on {final.device}.",
                f"Resume with --device {final.device}, or begin a new comparison.",
            )
