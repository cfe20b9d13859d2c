"""Prepared data in a program: `prepare(demo=True)`, or what was prepared, by `load_dataset`."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import DEFAULT_DATA, PrepareConfig, find_data
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, recorder, titled_table
from deepchest_cli.library.operations.prepare import (
    convert,
    data_folder,
    draw,
    interruptible,
    plan_site,
    refuse_contradictions,
    sites_of,
)

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from deepchest_cli.data.dataset import RadiographDataset
    from deepchest_cli.data.preparation import Preparation
    from deepchest_cli.library.options import PrepareOptions


@dataclass(frozen=True)
class Dataset:
    """A prepared data set in its folder; labels and images are read when they are asked for."""

    folder: Path
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def opened(self) -> "RadiographDataset":
        """The arrays of the shards, mapped into memory."""
        from deepchest_cli.data.dataset import open_dataset

        return open_dataset(self.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the data set was prepared from, and how."""
        return self.opened.only.manifest

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings that are labeled."""
        return self.opened.findings

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each image: split, patient and what else is known, and each finding's label.

        A label is 1, 0 or, where it is not known, missing.
        """
        import pandas as pd

        opened = self.opened
        columns = {name: column for name, column in opened.columns.items() if column.ndim == 1}
        labels = pd.DataFrame(opened.labels, columns=list(opened.findings), dtype="UInt8")
        return pd.concat([pd.DataFrame(columns), labels.where(opened.known == 1)], axis=1)

    @cached_property
    def counts(self) -> "pd.DataFrame":
        """A row for each finding: its positives in each split, among those that are known."""
        import pandas as pd

        splits = self.table["split"]
        counted = {
            split: self.table.loc[splits == split, list(self.findings)].sum()
            for split in ("train", "validation", "test")
        }
        return pd.DataFrame(counted).astype(int).rename_axis("finding")

    def images(self, rows: Iterable[int]) -> "NDArray[np.uint8]":
        """Return the images (N, S, S) of some rows of `table`, grayscale.

        rows: their numbers, or for each row of `table` whether it is meant. Raises `UsageError`
        for others.
        """
        import numpy as np

        chosen = np.asarray(rows if isinstance(rows, Sized) else list(rows))
        if chosen.dtype == bool and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        count = len(self)
        whole = chosen.ndim == 1 and (chosen.dtype.kind in "iu" or not len(chosen))
        if not whole or np.any((chosen < -count) | (chosen >= count)):
            raise UsageError(
                f"{self.folder} has {count_of(count, 'row')}, and rows should be their numbers or "
                f"{count} booleans. Found {rows!r:.100}.",
                "For instance: images(range(8)) or images(dataset.table['split'] == 'test')",
            )
        return self.opened.gather(chosen.astype(np.int64))

    def __len__(self) -> int:
        return len(self.opened.labels)

    def __str__(self) -> str:
        return str(self.folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        title = f"{self.folder}: {len(self):,} radiographs of {self.opened.size} px"
        return titled_table(title, self.counts, self.warnings)


@takes_flags_of(PrepareConfig)
def prepare(
    source: AnyPath | None = None,
    data: AnyPath | None = None,
    *,
    progress: bool | Receive = False,
    **options: "Unpack[PrepareOptions]",
) -> Dataset | list[Dataset]:
    """Convert radiographs in any of their usual forms, or synthetic ones, to shards.

    source: the folder of the radiographs and their tables. data: the folder for the shards.
    progress: as of `train`. options: the flags of `deepchest prepare`, in the form of keywords.
    Returns the data set; a list where there are several, of two sites or sizes. An interrupt keeps
    the finished shards, and the same call goes on. Raises `UsageError` for what cannot be prepared,
    and what the command reports as an error.

    >>> dataset = prepare(demo=True, images=1200, size=64, validation_fraction=0.25)
    >>> dataset.counts
    """
    named = with_given(options, source=source, data=data)
    config = configuration(PrepareConfig, "prepare", named)
    refuse_contradictions(config)
    report = recorder(progress)
    made: list[Preparation] = []
    with interruptible() as stop:
        for site in sites_of(config, data_folder(config)):
            draw(site, report, stop)
            made += convert(plan_site(site, report), site, report, stop)
    said = tuple(report.notes), tuple(report.warnings)
    found = [Dataset(one.folder, *said) for one in made]
    return found[0] if len(found) == 1 else found


def load_dataset(folder: str | PathLike[str] = DEFAULT_DATA) -> Dataset:
    """Return a prepared data set; of the default folder, the demo's where that alone is there.

    Raises `UsageError` where there is none, and `DeepChestError` where a shard is damaged.

    >>> dataset = load_dataset("data/demo-shards")
    >>> dataset.images(dataset.table["split"] == "test")
    """
    (found,), _ = find_data((fspath(folder),))
    dataset = Dataset(Path(found))
    _ = dataset.opened  # raises
    return dataset
