"""`deepchest export`: a model as a file for other programs."""

from deepchest_cli.commands.next_steps import after_export
from deepchest_cli.config import ExportConfig
from deepchest_cli.terminal import Terminal


def export(config: ExportConfig, terminal: Terminal) -> None:
    """Write a model as ONNX, or as a torch file that needs no deepchest, and check its logits.

    Examples:  deepchest export

    deepchest export --model runs/latest --format torch --out model.pt2
    """
    from deepchest_cli.library.model import name_backbones
    from deepchest_cli.prediction.export import export_model

    name_backbones(config.backbone)
    exported = export_model(config.model, config.format, config.out, config.force)
    terminal.note(f"Logits agree with the checkpoint's to {exported.difference:.1g}.")
    if terminal.json:
        terminal.document({"path": str(exported.path), "difference": exported.difference})
    else:
        terminal.line(str(exported.path))
    terminal.next_step(after_export(config, exported))
