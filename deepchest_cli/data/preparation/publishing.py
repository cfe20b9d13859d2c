"""Whether converted shards may be published, and what is said about them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.contact_sheet import draw_contact_sheet
from deepchest_cli.data.preparation.duplicates import find_duplicates, refuse_leaks
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.shard_folder import SHEET, build_manifest, save_progress
from deepchest_cli.data.preparation.supply import Say
from deepchest_cli.data.shards import MANIFEST, PROGRESS
from deepchest_cli.data.text import SHOWN, few
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import write_json


@dataclass(frozen=True)
class Preparation:
    """A published data set and whether anything had to be done for it."""

    folder: Path
    manifest: dict[str, Any]
    unchanged: bool


def publish(
    plan: Plan,
    config: PrepareConfig,
    filling: Filling,
    published: dict[str, Any] | None,
    say: Say,
) -> Preparation:
    """Write contact sheet and manifest of complete shards; `published` is the manifest there was.

    Raises `DeepChestError`, and leaves no manifest, where images are missing or leak.
    """
    folder = filling.folder
    duplicates = find_duplicates(folder, filling.done)
    manifest = build_manifest(plan, filling.size, filling.done, duplicates)
    if not manifest["counts"]["all"]["images"]:
        raise DeepChestError(
            f"None of the images could be found and read ({_reasons(manifest['left_out'])}); "
            "nothing is published.",
            "Check --source: the image files lie in it, in folders below, or in zip, tar or tar.gz "
            "archives, under the names that the table has.",
        )
    try:
        if manifest["left_out"] and not config.allow_missing:
            raise _left_out_error(manifest["left_out"])
        if plan.damaged and not config.allow_missing:
            raise DeepChestError(
                f"{few(plan.damaged)}: damaged, so that nothing in it can be relied on; nothing is "
                "published.",
                "Download it again, or go on with what could be read: --allow-missing",
            )
        if not config.allow_duplicates:
            refuse_leaks(duplicates)
    except DeepChestError:
        save_progress(folder, plan.identity(filling.size), filling.done)
        (folder / MANIFEST).unlink(missing_ok=True)
        raise
    if manifest != published or not (folder / SHEET).is_file():
        draw_contact_sheet(folder, manifest, folder / SHEET)
    if manifest != published or not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, manifest)
    (folder / PROGRESS).unlink(missing_ok=True)
    _say_remarks(manifest, say)
    return Preparation(folder, manifest, unchanged=manifest == published)


def _say_remarks(manifest: dict[str, Any], say: Say) -> None:
    dull = [name for shard in manifest["shards"] for name in shard["near_constant"]]
    if dull:
        say(f"{len(dull)} images have almost one grey value; look at them: {few(dull)}.")
    groups = manifest["duplicates"]
    if groups:
        listed = few(" = ".join(group["images"]) for group in groups)
        say(f"Images with the same pixels: {listed}.")


def _left_out_error(left_out: list[dict[str, str]]) -> DeepChestError:
    listed = "\n".join(f"  {lost['image']}: {lost['reason']}" for lost in left_out[:SHOWN])
    more = f"\n  and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    return DeepChestError(
        f"{len(left_out)} images are missing or unreadable; nothing is published:\n{listed}{more}",
        "Restore them and run the same command again (what is done is kept), "
        "or go on without them: --allow-missing",
    )


def _reasons(left_out: list[dict[str, str]]) -> str:
    """Return the reasons and how often each, the most frequent first."""
    counted = Counter(lost["reason"] for lost in left_out)
    return few(f"{number:,} × {reason}" for reason, number in counted.most_common())
