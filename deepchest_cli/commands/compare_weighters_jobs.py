"""`deepchest compare-weighters` by numbered jobs: --plan, --job and --report."""

from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.compare_weighters_display import (
    ComparisonDisplay,
    render_interim,
)
from deepchest_cli.config import CompareConfig, flag_of
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.library.operations.compare import ending
from deepchest_cli.library.tracking import check_tracking
from deepchest_cli.terminal import INDENT, Terminal
from deepchest_cli.user_cache import training_rates_file

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.comparison import TrainedComparison
    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.records import RunRecord


def check_job_flags(config: CompareConfig) -> None:
    """Raise `UsageError` for flags that do not go together, and for a job without a folder."""
    ways = {"plan": config.plan, "job": config.job, "report": config.report, "dask": config.dask}
    given = [flag_of(name) for name, value in ways.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} do not go together.", "Give one of them.")
    if (config.job or config.report) and config.resume is None:
        raise UsageError(
            f"{given[0]} needs the folder of a comparison that was planned.",
            f"--plan writes one: then {given[0]} goes with --resume FOLDER.",
        )
    if given and config.cost_only:
        raise UsageError(f"{given[0]} does not go with --cost-only.", "Drop one of the two.")
    if config.dask and config.devices:
        raise UsageError(
            "--devices are those of this machine; --dask hands the runs to workers.",
            "Name the kind of the workers' devices by --device.",
        )


def plan_jobs(config: CompareConfig, terminal: Terminal) -> None:
    """Write the folder of a comparison, and say which jobs it has."""
    from deepchest_cli.comparison.running.comparison import plan_comparison
    from deepchest_cli.training.run_directory import resume_command

    destinations = check_tracking(config)
    display = ComparisonDisplay(terminal)
    jobs = plan_comparison(config, display, training_rates_file(), destinations)
    count, tuning, config = len(jobs), len(jobs.tuning), jobs.config
    command = resume_command(jobs.folder, config)
    if terminal.json:
        terminal.document(
            {
                "folder": str(jobs.folder),
                "jobs": count,
                "tuning_jobs": tuning,
                "device": config.device_list[0],
                "precision": config.precision,
                "threads": config.threads,
                "job_command": f"{command} --job N",
                "report_command": f"{command} --report",
            }
        )
        return
    threads = count_of(config.threads or 1, "thread")
    terminal.paragraph(
        f"{count_of(count, 'job')} in {jobs.folder}, on {config.device_list[0]} in "
        f"{config.precision} with {threads}."
    )
    if tuning:
        terminal.paragraph(
            f"Jobs 1 to {tuning} choose learning rates; {tuning + 1} to {count} follow when all of "
            "these have finished."
        )
    terminal.paragraph(f"Each, in any order and number at a time, N from 1 to {count}:")
    terminal.line(f"{INDENT}{command} --job N")
    terminal.paragraph("Then the results, or an interim report before all have finished:")
    terminal.line(f"{INDENT}{command} --report")
    terminal.next_step(f"{command} --job 1")


def complete_job(config: CompareConfig, number: int, terminal: Terminal) -> None:
    """Complete a job of a comparison, and say how its run ended."""
    from deepchest_cli.comparison.running.comparison import complete_numbered_job
    from deepchest_cli.training.run_directory import resume_command

    destinations = check_tracking(config)
    with terminal.progress("Training") as move:
        job, record = complete_numbered_job(
            config, number, _JobDisplay(terminal, move), destinations
        )
    if terminal.json:
        terminal.document(
            {
                "job": number,
                "name": job.name,
                "folder": str(job.folder),
                "status": record.status,
                "error": record.error,
            }
        )
    else:
        terminal.paragraph(f"Job {number}, {job.name}{ending(record)}")
    if record.status == "failed":
        raise DeepChestError(f"Job {number}, {job.name}, has failed: {record.error}")
    assert config.resume is not None  # `check_job_flags` has refused a job without a folder
    terminal.next_step(f"{resume_command(config.resume, config)} --report")


class _JobDisplay(ComparisonDisplay):
    """The observer of a single run, whose end is the command's result."""

    def on_run(self, job: "Job", record: "RunRecord", done: int, total: int) -> None:
        """Print nothing."""


def report_interim(comparison: "TrainedComparison", terminal: Terminal) -> dict[str, Any]:
    """Write and show the report of a comparison of which runs are missing; return its document."""
    from deepchest_cli.comparison.analysis.interim import build_interim
    from deepchest_cli.comparison.output.writing import write_interim
    from deepchest_cli.training.run_directory import resume_command

    document = build_interim(comparison)
    write_interim(comparison, document)
    if terminal.json:
        terminal.document(document)
    else:
        render_interim(document, comparison.folder, terminal)
        command = resume_command(comparison.folder, comparison.config)
        number = document["missing"][0]["job"]
        terminal.next_step(command if number is None else f"{command} --job {number}")
    return document
