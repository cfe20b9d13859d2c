"""Draws confirmation.png: deepchest-rare against equal weighting, as RARE-FINDINGS.md repeats it.

Takes the results.json of the two comparisons, on synthetic and on real radiographs.
"""

import json
import sys
from pathlib import Path

from deepchest_cli.reporting.plots import GRAY, hide_frame, new_figure

WEIGHTER = "deepchest-rare"
QUANTITIES = {"rarest_tertile_auroc": "five rarest findings", "macro_auroc": "all findings"}
COLORS = {"rarest_tertile_auroc": "#0969da", "macro_auroc": GRAY}
PLACES = ("synthetic radiographs,\nten seeds", "a real sample,\nten seeds, five folds")


def main() -> None:
    figure = new_figure(7.5, 2.3)
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, path in enumerate(sys.argv[1:3]):
        rows = json.loads(Path(path).read_text())["weighters"][WEIGHTER]["differences"]
        for shift, (name, words) in enumerate(QUANTITIES.items()):
            row, height, color = rows[name], place + 0.3 * shift - 0.15, COLORS[name]
            axes.plot([row["low"], row["high"]], [height, height], color=color, linewidth=2)
            axes.plot(row["estimate"], height, "o", color=color, label=None if place else words)
    axes.set_yticks(range(len(PLACES)), PLACES)
    axes.set_ylim(len(PLACES) - 0.5, -0.5)
    axes.set_xlabel("difference in mean AUROC, deepchest-rare to equal weighting")
    hide_frame(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
    figure.savefig(Path(__file__).with_name("confirmation.png"), dpi="figure")


if __name__ == "__main__":
    main()
