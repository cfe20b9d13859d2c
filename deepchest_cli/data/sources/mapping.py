"""Sources whose own labels are findings already, under a label map and the flag `--findings`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.base import BOX_COLUMNS, Source, no_boxes
from deepchest_cli.data.sources.labels_csv import refuse_long_findings
from deepchest_cli.data.tabular.cells import BLANK
from deepchest_cli.data.tabular.label_map import LabelMap, load_label_map
from deepchest_cli.data.tabular.labels import Policy


def under_label_map(source: Source, config: PrepareConfig) -> Source:
    """Return a source with the findings that its labels stand for, and their boxes."""
    label_map = load_label_map(source.kind, config.label_map, config.findings)
    if label_map == LabelMap():
        return source
    states = np.where(source.known, source.labels, BLANK).astype(np.int8)
    file: Path = source.hashed[0]
    read = label_map.apply(source.findings, states, Policy(), file)
    refuse_long_findings(read.findings, file)
    return replace(
        source,
        findings=read.findings,
        labels=read.labels,
        known=read.known,
        boxes=boxes_of_findings(source.boxes, label_map, read.findings),
        notes=(*source.notes, *read.notes),
        policies=source.policies | label_map.describe(),
    )


def boxes_of_findings(
    boxes: pd.DataFrame, label_map: LabelMap, findings: tuple[str, ...]
) -> pd.DataFrame:
    """Return the boxes of labels as those of the findings that are present where a label is."""
    parts = []
    for label, rows in boxes.groupby("finding", sort=False):
        parts += [rows.assign(finding=name) for name in label_map.findings_of(str(label), findings)]
    return pd.concat(parts).sort_values(list(BOX_COLUMNS)) if parts else no_boxes()
