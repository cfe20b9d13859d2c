"""`deepchest evaluate`: metrics with intervals, operating points, calibration and subgroups."""

from deepchest_cli.commands.evaluate_display import render
from deepchest_cli.commands.next_steps import after_evaluate
from deepchest_cli.config import EvaluateConfig
from deepchest_cli.library.operations.evaluate import run_evaluation
from deepchest_cli.terminal import Terminal


def evaluate(config: EvaluateConfig, terminal: Terminal) -> None:
    """Score models, or anyone's predictions: metrics with intervals, calibration and subgroups.

    Examples:  deepchest evaluate --report reports/mine

    deepchest evaluate --model runs/a --model runs/b --compare-to runs/c

    deepchest evaluate --data data/shards --data data/other-hospital

    deepchest evaluate --predictions theirs.csv --labels labels.csv

    deepchest evaluate --format json --fail-under auroc=0.75,worst_auroc=0.6
    """
    from deepchest_cli.evaluation.report import check_gates, parse_gates

    gates = [gate for text in config.fail_under for gate in parse_gates(text)]
    evaluated = run_evaluation(config, terminal)
    render(evaluated.document, "json" if terminal.json else config.format, terminal)
    check_gates(evaluated.documents, gates)
    terminal.next_step(after_evaluate(config))
