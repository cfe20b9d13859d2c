"""Models as files for other programs, each checked against the checkpoint after writing."""

from deepchest_cli.prediction.export.exporting import Exported, export_model

__all__ = ["Exported", "export_model"]
