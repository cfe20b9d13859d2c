"""Which devices a comparison may use: those that are there, all of one kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord
from deepchest_cli.config import CompareConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.training.device import resolve_device


def refuse_unfit_devices(config: CompareConfig, resumed: Path | None) -> None:
    """Raise `UsageError` for a device that is not there, and for devices of several kinds."""
    flag = "--devices" if config.devices else "--device"
    there: dict[str, str] = {}  # kinds by name
    absent: list[UsageError] = []
    for name in config.device_list:
        try:
            there[name] = resolve_device(name).type
        except UsageError as error:
            absent.append(error)
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


def refuse_other_kind(
    jobs: Sequence[Job], finals: Mapping[Path, RunRecord | None], devices: Sequence[str]
) -> None:
    """Raise `UsageError` where runs are missing and others were computed on another kind of device.

    Also those of other seeds: a weighter that is added later needs runs of all seeds.
    """
    kind = resolve_device(devices[0]).type
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
