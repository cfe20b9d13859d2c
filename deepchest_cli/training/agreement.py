"""How the processes of a run stop together: after a signal to one of them, or where one fails.

A process that ended alone would leave the others waiting for it, and one that saved alone would
save another step than they have come to.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import torch

from deepchest_cli.errors import DeepChestError
from deepchest_cli.interruption import StopRequest
from deepchest_cli.training.distributed import DistributedContext

Item = TypeVar("Item")

FAILED = 1000  # above the exit codes of signals: a failure is told before them


class StoppedError(Exception):
    """All processes have agreed to stop at the same place; each of them raises this."""

    def __init__(self, code: int, failure: BaseException | None = None) -> None:
        super().__init__(code, failure)
        self.code = code  # `FAILED`, or the exit code of a signal
        self.failure = failure  # of this process; None: there is none, or it is another's


class Agreement:
    """What processes tell each other, batch by batch: to go on, or why to stop.

    On GPUs the answer to a vote is read with the next vote: no step waits for the exchange, and a
    run stops after the next batch. Elsewhere it stops after the current one, which may be slow.
    """

    def __init__(
        self, distributed: DistributedContext, stop: StopRequest, device: torch.device
    ) -> None:
        self.distributed = distributed
        self.stop = stop
        self.delay = int(device.type == "cuda" and distributed.world_size > 1)  # in votes
        self.unread: deque[Callable[[], int]] = deque()

    def batches(self, coming: Iterator[Item]) -> Iterator[Item]:
        """Yield what comes as long as every process has its batch and none has to stop.

        Raises `StoppedError` in all of them, with the model as it is after the last batch.
        """
        held: deque[tuple[Item | None, Exception | None]] = deque()
        while True:
            item, failure = None, None
            try:
                item = next(coming, None)
            except Exception as error:
                failure = error
            held.append((item, failure))
            code = self._vote(self._code(failure))
            if len(held) <= self.delay:  # the first, of which nothing is known yet
                continue
            item, failure = held.popleft()
            if code or item is None:
                self._settle()
            if code:
                raise StoppedError(code, failure)
            if item is None:
                return
            yield item

    @contextmanager
    def together(self, batches: int = 0, heed: bool = True) -> Iterator[Callable[..., None]]:
        """End a block in all processes where it has to end in one.

        It yields a check for the block to call after each batch of its work, at most `batches`
        times; nothing else may be exchanged by then. Raises `StoppedError` in all processes where
        one fails, or, unless `heed` is False, has received a signal.
        """
        left, code, failure = batches, 0, None

        def check(*_: object) -> None:
            nonlocal left, code
            left -= 1
            code = self._vote(self._code(None))
            if code:
                raise StoppedError(code)

        try:
            yield check
        except StoppedError:
            pass
        except (Exception, SystemExit) as error:  # code of one's own may raise either
            failure = error
        try:
            while not code and left >= 0:  # the batches of others, and a vote on what came after
                left -= 1
                code = self._vote(self._code(failure, heed))
            code = max(code, self._settle())
        except RuntimeError as lost:  # another process has ended meanwhile
            raise failure or lost from None
        if code:
            raise StoppedError(code, failure) from failure

    def raise_failure(self, failure: BaseException | None) -> NoReturn:
        """Raise this process's failure, or the first of those that others have."""
        told = failure if isinstance(failure, DeepChestError) else None
        if failure is not None and told is None:
            told = DeepChestError(f"{type(failure).__name__}: {failure}")
        failures = self.distributed.all_gather_object(told)
        if failure is not None:
            raise failure from failure.__cause__
        rank, other = next((n, error) for n, error in enumerate(failures) if error is not None)
        other.message = f"Process {rank} of {len(failures)} has failed: {other.message}"
        raise other

    def _code(self, failure: BaseException | None, heed: bool = True) -> int:
        """Return why this process has to stop; 0: it goes on."""
        return FAILED if failure is not None else (heed and self.stop.exit_code) or 0

    def _vote(self, code: int) -> int:
        """Share a code; return the largest of all processes, of an earlier vote if delayed."""
        self.unread.append(self.distributed.start_maximum(code))
        return self.unread.popleft()() if len(self.unread) > self.delay else 0

    def _settle(self) -> int:
        """Return the largest code of votes that are not read yet."""
        codes = [answer() for answer in self.unread]
        self.unread.clear()
        return max(codes, default=0)
