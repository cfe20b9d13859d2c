"""What `prepare` shows: the data sets it made, what it would make, what it found in one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.next_steps import training_command
from deepchest_cli.data.text import count_of, duration_of, few, size_of
from deepchest_cli.errors import DeepChestError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.data.preparation import CompletedJob, PlannedJobs, Preparation
    from deepchest_cli.data.preparation.checking import Checked
    from deepchest_cli.data.preparation.estimate import Estimate


def render_prepared(sites: "Sequence[Sequence[Preparation]]", terminal: Terminal) -> None:
    """Show each site's counts, the same at every size, and where its data sets lie."""
    results = [result for site in sites for result in site]
    for result in results:
        if result.unchanged:
            terminal.note(f"{result.folder} is complete and unchanged.")
    if terminal.json:
        documents = [{"data": str(result.folder), **result.manifest} for result in results]
        terminal.document(documents[0] if len(documents) == 1 else {"data_sets": documents})
        return
    for number, site in enumerate(sites, start=1):
        if number > 1:
            terminal.line("")
        _render_site(site, f"Site {number}" if len(sites) > 1 else "", terminal)
    first = [site[0] for site in sites]  # several sizes of a site hold the same radiographs
    synthetic = any(result.manifest["source"]["synthetic"] for result in first)
    terminal.next_step(training_command([str(first[0].folder)], synthetic))


def _render_site(results: "Sequence[Preparation]", title: str, terminal: Terminal) -> None:
    manifest = results[0].manifest
    terminal.table([title, *manifest["counts"]], _summary(manifest))
    terminal.line("")
    for result in results:
        terminal.paragraph(_describe(result))
    excluded = manifest["excluded"]
    if excluded["images"]:
        counted = few(f"{number:,} × {reason}" for reason, number in excluded["reasons"].items())
        terminal.paragraph(
            f"Left out: {count_of(excluded['images'], 'image')} ({counted}), listed in "
            f"{results[0].folder / excluded['file']}"
        )


def _describe(result: "Preparation") -> str:
    settings, source = result.manifest["settings"], result.manifest["source"]
    labels = (
        "" if source["label_version"] == "unknown" else f"labels of {source['label_version']}, "
    )
    each = "study" if source["studies"] else "image"
    by = "by patient" if source["patients"] else f"by {each} (patients are unknown)"
    return (
        f"{result.folder}: {settings['size']} px, split {settings['split_scheme']} {by}, "
        f"{labels}{count_of(len(result.manifest['shards']), 'shard')}, contact-sheet.png"
    )


def _summary(manifest: dict[str, Any]) -> list[list[str]]:
    """Return images, patients, studies and positives per split, of known labels where some are not.

    What the source does not name, patients or studies, is not counted.
    """
    counts = manifest["counts"]
    rows = [["Images", *(f"{split['images']:,}" for split in counts.values())]]
    if manifest["source"]["patients"]:
        rows.append(["Patients", *(f"{split['patients']:,}" for split in counts.values())])
    if counts["all"]["studies"] is not None:
        rows.append(["Studies", *(f"{split['studies']:,}" for split in counts.values())])
    rows += [
        [finding, *(_positives(split, finding) for split in counts.values())]
        for finding in manifest["findings"]
    ]
    rows.append(["No finding", *(f"{split['no_finding']:,}" for split in counts.values())])
    return rows


def _positives(split: dict[str, Any], finding: str) -> str:
    positives, known = split["positives"][finding], split["known"][finding]
    return f"{positives:,}" if known == split["images"] else f"{positives:,} of {known:,}"


def render_estimate(found: "Estimate", command: str, terminal: Terminal) -> None:
    """Show what a preparation would do, in what time and space, and the command that does it."""
    if terminal.json:
        terminal.document({"dry_run": asdict(found)})
        return
    rows = [[split, f"{number:,}"] for split, number in found.images.items()]
    terminal.table(["Split", "Images"], rows)
    terminal.line("")
    done = f", {found.done:,} of them done already" if found.done else ""
    missing = (
        f"; {count_of(found.missing, 'row has', 'rows have')} no file" if found.missing else ""
    )
    terminal.paragraph(
        f"Would convert {count_of(sum(found.images.values()), 'image')}{done}{missing}."
    )
    rate = f" ({found.seconds_per_image * 1e3:.1f} ms an image a core)"
    terminal.paragraph(
        f"Time: about {duration_of(found.seconds)} on {count_of(found.workers, 'core')}{rate}."
    )
    terminal.paragraph(
        f"Space: {size_of(found.bytes)} in {', '.join(found.folders)}; "
        f"{size_of(found.free)} are free."
    )
    terminal.line("Nothing was written.")
    terminal.next_step(command)


def render_planned(planned: "PlannedJobs", command: str, terminal: Terminal) -> None:
    """Show how many jobs were planned, and the commands of a job and of the end."""
    if terminal.json:
        commands = {"job_command": f"{command} --job N", "publish_command": command}
        terminal.document({**asdict(planned), **commands})
        return
    if not planned.jobs:
        terminal.line("Nothing to plan: the data are prepared already.")
        terminal.next_step(command)
        return
    if planned.unchanged:
        terminal.note("Planned before: nothing was changed.")
    jobs = count_of(planned.jobs, "job")
    each = count_of(-(-planned.images // planned.jobs), "image")
    terminal.line(f"{jobs} of about {each}:")
    for folder, shards in planned.shards.items():
        terminal.line(f"  {folder}: {count_of(shards, 'shard')}")
    numbers = f"for N from 1 to {planned.jobs}" if planned.jobs > 1 else "for N = 1"
    terminal.paragraph(f"Run, {numbers}, in any order, on machines that share these folders:")
    terminal.line(f"  {command} --job N")
    terminal.line("and then, once:")
    terminal.line(f"  {command}")
    terminal.next_step(f"{command} --job 1")


def render_job(done: "CompletedJob", command: str, terminal: Terminal) -> None:
    """Show what a job has converted; `command` publishes when all have."""
    if terminal.json:
        terminal.document(asdict(done))
        return
    if not done.jobs:
        terminal.line("Nothing to do: the data are prepared already.")
    else:
        _render_completed(done, terminal)
    is_last = done.job == done.jobs or not done.jobs
    terminal.next_step(command if is_last else f"{command} --job {done.job + 1}")


def _render_completed(done: "CompletedJob", terminal: Terminal) -> None:
    title = f"Job {done.job} of {done.jobs}"
    if done.unchanged:
        terminal.line(f"{title} was complete already.")
        return
    terminal.paragraph(
        f"{title} is complete: {count_of(done.images, 'image')} in "
        f"{count_of(done.shards, 'shard')}."
    )
    if done.unreadable:
        number = count_of(done.unreadable, "image")
        terminal.warning(f"{number} of them could not be read; prepare without --job lists them.")


def render_check(results: "Sequence[Checked]", terminal: Terminal) -> None:
    """Show what a look at every shard found; raise where anything is wrong."""
    if terminal.json:
        documents = [asdict(result) for result in results]
        terminal.document({"check": documents})
    for result in results:
        if not result.problems and not terminal.json:
            terminal.paragraph(
                f"{result.folder}: {count_of(result.shards, 'shard')} with "
                f"{count_of(result.images, 'image')}, all as the manifest says"
            )
    wrong = [f"  {problem}" for result in results for problem in result.problems]
    if wrong:
        raise DeepChestError(
            f"{count_of(len(wrong), 'problem')}:\n" + "\n".join(wrong),
            "Run the same deepchest prepare again; it mends what is damaged.",
        )
    terminal.next_step(training_command([str(results[0].folder)]))
