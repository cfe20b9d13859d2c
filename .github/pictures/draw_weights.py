"""Draws weights.png: what the authors' rule does on NIH's prevalences, by accuracy and by AUROC.

A simulation of 15 epochs, for which no network is trained: accuracies are those of a model that
always says no, AUROCs those that Rajpurkar et al. 2017 (CheXNet, arXiv 1711.05225) report.
"""

from pathlib import Path

import numpy as np
import torch

from deepchest_cli.reporting.line_chart import WIDTH, colored, draw_chart, new_chart_figure
from deepchest_cli.weighting import DeepChestWeighter, Performance

EPOCHS = 15
# finding: prevalence among the 112,120 radiographs, AUROC
METRICS = {
    "Atelectasis": (0.1031, 0.8094),
    "Cardiomegaly": (0.0248, 0.9248),
    "Effusion": (0.1188, 0.8638),
    "Infiltration": (0.1774, 0.7345),
    "Mass": (0.0516, 0.8676),
    "Nodule": (0.0565, 0.7802),
    "Pneumonia": (0.0128, 0.7680),
    "Pneumothorax": (0.0473, 0.8887),
    "Consolidation": (0.0416, 0.7901),
    "Edema": (0.0205, 0.8878),
    "Emphysema": (0.0224, 0.9371),
    "Fibrosis": (0.0150, 0.8047),
    "Pleural_Thickening": (0.0302, 0.8062),
    "Hernia": (0.0020, 0.9164),
}


def trace(signal: str, values: list[float]) -> dict[str, np.ndarray]:
    """Return each finding's weight after every epoch, the beginning included."""
    weighter = DeepChestWeighter(list(METRICS), signal=signal)
    rows = [weighter.weights]
    for _ in range(EPOCHS):
        weighter.end_epoch(Performance(training={signal: torch.tensor(values).double()}))
        rows.append(weighter.weights)
    return dict(zip(METRICS, torch.stack(rows).T.numpy(), strict=True))


def main() -> None:
    accuracies, aurocs = zip(*((1 - p, auroc) for p, auroc in METRICS.values()), strict=True)
    figure = new_chart_figure(len(METRICS))
    panels = (
        ("Weights by accuracy, the authors' rule", (0, WIDTH / 2), "accuracy", accuracies),
        ("The same rule by AUROC", (WIDTH / 2, WIDTH), "auroc", aurocs),
    )
    for title, span, signal, values in panels:
        lines = colored(trace(signal, list(values)))
        epochs = np.arange(EPOCHS + 1)
        draw_chart(figure, span, title, epochs, lines, level=1.0, side_by_side=True)
    figure.savefig(Path(__file__).with_name("weights.png"), dpi="figure")


if __name__ == "__main__":
    main()
