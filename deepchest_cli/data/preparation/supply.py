"""What to decode for each row that is waited for: places by rows, then archives in order."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.finding_images import REFUSED
from deepchest_cli.data.images import Stream, twice
from deepchest_cli.data.preparation.decoding import Payload
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import DeepChestError, UsageError

Say = Callable[[str], None]


def supply(plan: Plan, wanted: NDArray[np.bool_], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows (N,) with what to decode; for a row that has nothing, the plan says why."""
    waiting = set()
    for row in np.flatnonzero(wanted).tolist():
        place = plan.place(row)
        if place is None:
            waiting.add(row)
        else:
            yield row, place
    if waiting:
        yield from _Streaming(plan, waiting, say).run()


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
        title = self.plan.images.name_of(stream)
        for name, payload, accepted in stream.walk(self._is_wanted):
            found = self.plan.images.matcher.find(name)
            if found is None:
                self.surplus.append(name)
                continue
            source, _ = found
            if not accepted:
                self.refused.add(source)
            elif source in self.seen:
                raise twice(name, self.seen[source], title)
            else:
                self.seen[source] = title
                if payload is not None:
                    row = self.row_of[source]
                    self.waiting.discard(row)
                    yield row, payload

    def _is_wanted(self, name: str) -> bool:
        found = self.plan.images.matcher.find(name)
        return found is not None and self.row_of.get(found[0]) in self.waiting

    def _give_up(self, row: int) -> None:
        """Say why no archive has the image of a row, where it is not merely missing."""
        if int(self.plan.source_rows[row]) in self.refused:
            self.plan.streamed.reasons[row] = REFUSED
        elif self.damaged:
            self.plan.streamed.reasons[row] = f"not found, and {', '.join(self.damaged)} is damaged"
