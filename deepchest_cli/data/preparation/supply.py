"""What to decode for each row that a shard waits for: places by rows, then archives in order."""

from collections.abc import Callable, Iterator

from deepchest_cli.data.images import twice
from deepchest_cli.data.preparation.decoding import Payload
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.text import few
from deepchest_cli.errors import DeepChestError, UsageError

Say = Callable[[str], None]


def supply(plan: Plan, wanted: set[int], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows with what to decode: places by rows, then archives as they come."""
    places, streams = plan.images.places, plan.images.streams
    waiting: dict[str, int] = {}
    for row in sorted(wanted):
        place = places.get(plan.keys[row])
        if place is None and streams:
            waiting[plan.keys[row]] = row
        else:
            yield row, place
    if waiting:
        yield from _streamed(plan, waiting, say)
        yield from ((row, None) for row in waiting.values())


def _streamed(plan: Plan, waiting: dict[str, int], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield what archives hold of the rows that wait, each archive opened once, in order."""
    keys, rows = plan.images.keys, set(plan.keys)
    seen: dict[str, str] = {}
    surplus: list[str] = []
    refused = 0
    for stream in plan.images.streams:
        try:
            for name, payload, accepted in stream.walk(lambda name: keys(name) in waiting):
                key = keys(name)
                if not accepted:
                    refused += 1
                elif key in seen:
                    raise twice(name, seen[key], stream.title)
                else:
                    seen[key] = stream.title
                    if payload is not None:
                        yield waiting.pop(key), payload
                    elif key not in rows:
                        surplus.append(name)
        except UsageError:
            raise
        except DeepChestError as error:
            say(f"{error.message} What came before was whole.")
    if surplus:
        say(f"{len(surplus):,} images of archives have no row in the table: {few(surplus)}.")
    if refused:
        say(f"{refused} members of archives are no plain files, or lead outside; not used.")
