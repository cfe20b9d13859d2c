"""Weights & Biases: runs that stay on this machine, or go to a server where the user asks."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.tracking.base import (
    SECONDS,
    Destinations,
    Outcome,
    Subject,
    Tracker,
)
from deepchest_cli.training.tracking.records import Record, reason_of

ONLINE = ("online", "run", "shared")
FINISH_SECONDS = 300  # to wait for files to be sent


class WandB(Tracker):
    """A run of Weights & Biases; those of a comparison are a group.

    Nothing is collected of the machine, the program or its output.
    """

    title = "Weights & Biases"

    def __init__(self, subject: Subject, destinations: Destinations, record: Record | None) -> None:
        wandb = _package()
        self.place, self.counted = destinations.wandb_project, subject.counted
        self.identifier = record.identifier if record is not None else secrets.token_hex(4)
        self.step = record.step if record is not None else 0
        self.run = wandb.init(
            project=destinations.wandb_project,
            id=self.identifier,
            name=subject.name,
            group=subject.group.name if subject.group is not None else None,
            job_type=subject.kind,
            config={**subject.config, "folder": str(subject.folder.absolute())},
            dir=destinations.wandb_folder,
            mode=destinations.wandb_mode,
            resume="allow",
            reinit="create_new",
            settings=_settings(wandb),
        )
        self.run.define_metric("*", step_metric=self.counted)

    @classmethod
    def check(cls, destinations: Destinations, record: Record | None = None) -> None:
        """Raise `UsageError` where W&B is not installed, or a server is asked for and not there.

        Likewise for a value of its variables that it refuses.
        """
        wandb = _package()
        for name, value in (
            ("mode", destinations.wandb_mode), ("project", destinations.wandb_project),
        ):  # fmt: skip
            try:
                wandb.Settings(**{name: value})
            except (ValueError, wandb.errors.UsageError) as error:
                raise UsageError(
                    f"WANDB_{name.upper()} has a value that Weights & Biases refuses: {value!r}.",
                    "Correct it, or unset it.",
                ) from error
        if destinations.wandb_mode not in ONLINE:
            return
        try:
            wandb.setup(settings=_settings(wandb))
            if not wandb.login(prompt=False, verify=False):
                raise UsageError("no key of an account was found")
            _ = wandb.Api(timeout=SECONDS // 4).viewer
        except Exception as error:
            raise UsageError(
                f"The server of Weights & Biases cannot be used: {reason_of(error)}.",
                "Log in with wandb login, or leave WANDB_MODE out: runs stay on this machine then, "
                "and wandb sync sends them later.",
            ) from error

    @staticmethod
    def store(destinations: Destinations, record: Record | None) -> str:
        """Return the project."""
        return destinations.wandb_project

    @staticmethod
    def hint(folder: Path, destinations: Destinations, record: Record | None) -> str:
        """Return where runs lie that have not been sent, and the command that sends them."""
        if destinations.wandb_mode in ONLINE:
            return f"the project {destinations.wandb_project} on the server"
        given = destinations.wandb_folder
        kept = '"$WANDB_DIR"' if given is None else quote(str(given))
        return f"offline; to send it: wandb sync {kept}/wandb/offline-run-*"

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add metrics."""
        self.run.log({self.counted: step, **metrics}, step=step, commit=True)

    def log_texts(self, texts: Mapping[str, str]) -> None:
        """Add texts to the summary."""
        self.run.summary.update(dict(texts))

    def log_files(self, step: int, files: Sequence[Path]) -> None:
        """Add files, and the plots among them to the summary too."""
        wandb = _package()
        for file in files:
            copy = Path(self.run.dir) / file.name  # the run may be moved before it is sent
            shutil.copyfile(file, copy)
            self.run.save(str(copy), base_path=self.run.dir, policy="now")
            if file.suffix == ".png":
                self.run.summary[f"plots/{file.stem}"] = wandb.Image(str(file))

    def close(self, outcome: Outcome) -> None:
        """Send or write what is left."""
        self.run.finish(exit_code=0 if outcome == "finished" else 1)


def _package() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UsageError("Weights & Biases is not installed.", install_hint("wandb")) from error
    return wandb


def _settings(wandb: Any) -> Any:
    return wandb.Settings(
        silent=True,
        host="",
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
