"""What to decode for each row that a shard waits for: places by rows, then archives in order."""

from collections.abc import Callable, Iterator

from deepchest_cli.data.finding_images import REFUSED
from deepchest_cli.data.images import Stream, twice
from deepchest_cli.data.preparation.decoding import MISSING, Lost, Payload
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.text import few
from deepchest_cli.errors import DeepChestError, UsageError

Say = Callable[[str], None]


def supply(plan: Plan, wanted: set[int], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows with what to decode, or why there is nothing."""
    waiting = []
    for row in sorted(wanted):
        place = plan.place(row)
        if place is None and plan.images.streams:
            waiting.append(row)
        else:
            yield row, place or Lost(plan.reason(row))
    if waiting:
        yield from _Streaming(plan, set(waiting), say).run()


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
        """Yield the rows that wait with the bytes that archives have of them, then the others."""
        for stream in self.plan.images.streams:
            try:
                yield from self._read(stream)
            except UsageError:
                raise
            except DeepChestError as error:
                self.damaged.append(self.plan.images.name_of(stream))
                self.say(error.message)
        if self.surplus:
            listed = few(self.surplus)
            self.say(f"{len(self.surplus):,} images have no row in the table: {listed}.")
        self.plan.damaged[:] = self.damaged
        for row in sorted(self.waiting):
            yield row, Lost(self._reason(row))

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

    def _reason(self, row: int) -> str:
        if int(self.plan.source_rows[row]) in self.refused:
            return REFUSED
        if self.damaged:
            return f"not found, and {', '.join(self.damaged)} is damaged"
        return MISSING
