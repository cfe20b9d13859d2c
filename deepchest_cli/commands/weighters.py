"""`deepchest weighters`: what there is to choose from."""

from deepchest_cli.config import WeightersConfig
from deepchest_cli.terminal import Terminal, table_of


def weighters(config: WeightersConfig, terminal: Terminal) -> None:
    """List every weighter: kind, cost, paper and options with their defaults."""
    from deepchest_cli.weighting import WEIGHTERS

    if terminal.json:
        entries = [
            {
                "name": info.name,
                "kind": info.kind,
                "summary": info.summary,
                "passes": info.passes,
                "memory": info.memory,
                "paper": info.paper,
                "options": dict(info.options),
            }
            for info in WEIGHTERS.values()
        ]
        terminal.document({"weighters": entries})
        return
    rows = [
        [
            info.name,
            info.kind,
            info.passes,
            info.memory,
            info.paper,
            " ".join(f"{key}={value}" for key, value in info.options.items()) or "–",
        ]
        for info in WEIGHTERS.values()
    ]
    columns = ["Weighter", "kind", "a step", "memory", "paper", "options"]
    terminal.table(table_of(columns, rows, left="l" * len(columns)))
    terminal.note(
        "T: how many findings. Of the kind gradient: at the features; with --gradient-level "
        "parameters T passes backward, and each gradient is as large as the model. "
        "deepchest+NAME puts DeepChest's weights under another weighter."
    )
