"""Images in the order in which their files are best read, each archive once."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.images import REFUSED, Stream, twice
from deepchest_cli.data.preparation.decoding import Payload
from deepchest_cli.data.preparation.planning import Plan, Say
from deepchest_cli.data.shards import PLAN
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import DeepChestError, UsageError

Progress = Callable[[int, int], None]


def supply(plan: Plan, wanted: NDArray[np.bool_], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows (N,) with what to decode; for a row that has nothing, the plan says why."""
    waiting = set()
    for row in np.flatnonzero(wanted).tolist():
        place = plan.place(row)
        if place is None:
            waiting.add(row)
        else:
            yield row, place
    if waiting and plan.streamed.archives:
        yield from _read_known(plan, waiting)
    elif waiting:
        yield from _Streaming(plan, waiting, say).run()


def read_archives(plan: Plan, progress: Progress, say: Say) -> None:
    """Read all archives from beginning to end, to learn which rows' images they hold."""
    may_be_there = plan.streamed.rows
    streaming, found = _Streaming(plan, set(may_be_there), say), set()
    for row, _ in streaming.run():
        found.add(row)
        progress(len(found), len(may_be_there))
    sources = plan.source_rows.tolist()
    plan.streamed.archives = {row: streaming.seen[sources[row]] for row in found}
    plan.streamed.rows, plan.streamed.is_certain = found, True


def _read_known(plan: Plan, waiting: set[int]) -> Iterator[tuple[int, Payload]]:
    """Yield the rows that wait from the archives that are known to hold them, each as far as that.

    Raises `DeepChestError` for an archive that does not hold them any more.
    """
    find = _finder(plan)
    for stream in plan.images.streams:
        title, why = plan.images.name_of(stream), ""
        left = {row for row in waiting if plan.streamed.archives.get(row) == title}
        try:
            if left:
                yield from _read_rows(stream, left, find)
        except UsageError:
            raise
        except DeepChestError as error:
            why = f" {error.message}"
        if left:
            names = few(plan.table["image_index"][row] for row in sorted(left))
            raise DeepChestError(
                f"{title} does not hold {names}, as it did when the jobs were planned.{why}",
                f"Restore the archive; or remove {PLAN} from the folder of the shards and plan the "
                "jobs again.",
            )


def _finder(plan: Plan) -> Callable[[str], int | None]:
    """Return a function from the name of a file to the row that it is the image of."""
    row_of = {source: row for row, source in enumerate(plan.source_rows.tolist())}

    def find(name: str) -> int | None:
        found = plan.images.matcher.find(name)
        return None if found is None else row_of.get(found[0])

    return find


def _read_rows(
    stream: Stream, left: set[int], find: Callable[[str], int | None]
) -> Iterator[tuple[int, Payload]]:
    """Yield the rows that are left, and take them out, until none is left."""
    walk = stream.walk(lambda name: find(name) in left)
    for name, payload, _ in walk:
        row = find(name)
        if row is not None and payload is not None and row in left:
            left.remove(row)
            yield row, payload
        if not left:
            return


class _Streaming:
    """Reads archives, each opened once, in the order of their names."""

    def __init__(self, plan: Plan, waiting: set[int], say: Say) -> None:
        self.plan, self.waiting, self.say = plan, waiting, say
        self.row_of = {source: row for row, source in enumerate(plan.source_rows.tolist())}
        self.seen: dict[int, str] = {}  # row of the source to the archive that has it
        self.refused: set[int] = set()
        self.surplus: list[str] = []
        self.damaged: list[str] = []

    def run(self) -> Iterator[tuple[int, Payload]]:
        """Yield the rows that wait with the bytes that archives have of them."""
        for stream in self.plan.images.streams:
            try:
                yield from self._read(stream)
            except UsageError:
                raise
            except DeepChestError as error:
                self.damaged.append(self.plan.images.name_of(stream))
                self.say(error.message)
        if self.surplus:
            number = count_of(len(self.surplus), "image has", "images have")
            self.say(f"{number} no row in the table: {few(self.surplus)}.")
        self.plan.streamed.damaged = self.damaged
        for row in self.waiting:
            self._give_up(row)

    def _read(self, stream: Stream) -> Iterator[tuple[int, Payload]]:
        title, repeated = self.plan.images.name_of(stream), None
        for name, payload, accepted in stream.walk(self._is_wanted):
            found = self.plan.images.matcher.find(name)
            if found is None:
                self.surplus.append(name)
                continue
            source, _ = found
            if not accepted:
                self.refused.add(source)
            elif source in self.seen:
                repeated = repeated or twice(name, self.seen[source], title)
            else:
                self.seen[source] = title
                if payload is not None:
                    row = self.row_of[source]
                    self.waiting.discard(row)
                    yield row, payload
        if repeated is not None:  # and the archive is whole: damaged ones may repeat anything
            raise repeated

    def _is_wanted(self, name: str) -> bool:
        found = self.plan.images.matcher.find(name)
        return found is not None and self.row_of.get(found[0]) in self.waiting

    def _give_up(self, row: int) -> None:
        """Say why no archive has the image of a row, where it is not merely missing."""
        if int(self.plan.source_rows[row]) in self.refused:
            self.plan.streamed.reasons[row] = REFUSED
        elif self.damaged:
            self.plan.streamed.reasons[row] = f"not found, and {', '.join(self.damaged)} is damaged"
