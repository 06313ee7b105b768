"""Many requests through one chat model, for evaluation and synthesis: bounded, in order, resumable.

Knows nothing of servers: any ``ChatModel`` will do, and one that answers whole is not asked to stream. What a batch
has finished lies in its journal and is never asked again; see ``rag.generation.journal`` for the file.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from rag.errors import DomainQAError, EngineBusyError, EngineError, EngineUnavailableError, UsageError
from rag.generation.journal import BatchRequest, BatchResult, Journal, request_key
from rag.interfaces import AnswersWhole, ChatModel
from rag.types import Generated, Usage

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
BUSY_PATIENCE_S = 900.0
"""A request that was told "busy" for so long altogether is given up."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Where a batch stands, told after every request that ended. ``resumed`` were answered by an earlier run."""

    total: int
    resumed: int
    answered: int
    failed: int
    completion_tokens: int
    seconds: float
    """Since this run began, as are ``completion_tokens`` and ``answered``."""

    @property
    def done(self) -> int:
        return self.resumed + self.answered

    @property
    def remaining(self) -> int:
        return self.total - self.done - self.failed

    @property
    def tokens_per_s(self) -> float:
        return self.completion_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """At the pace so far; ``None`` while there is none."""
        ended = self.answered + self.failed
        return self.seconds / ended * self.remaining if ended else None


async def generate_batch(
    model: ChatModel,
    requests: Sequence[BatchRequest],
    out: Path | None = None,
    concurrency: int = 8,
    retries: int = 8,
    progress: Callable[[BatchProgress], None] | None = None,
) -> list[BatchResult]:
    """One result for each request, in their order; ``out`` is the journal that a later run resumes from.

    At most ``concurrency`` requests are under way. An ``EngineError`` is tried again ``retries`` times, each wait
    about twice the one before; a busy engine is waited for as long as it says, which costs no try. Whatever else we
    raise on purpose, and a request that ran out of tries, is recorded as failed with its reason, and asked again by
    the next run. When a request runs out of tries with the engine unreachable and nothing was answered meanwhile, the
    rest is not asked and fails with the same reason: what is finished is kept, and a later run goes on from there.

    Raises ``UsageError`` for an id that stands twice, ``StateError`` for a journal that cannot be used. Cancelling
    ends every request under way; the journal keeps what was finished.
    """
    _check(requests, concurrency, retries)
    keys = [request_key(request, model.name) for request in requests]
    with Journal.open(out) if out is not None else nullcontext() as journal:
        results = {key: result for key in keys if journal is not None and (result := journal.answered.get(key))}
        batch = _Batch(model, retries, len(requests), results, journal, progress)
        waiting = iter([(key, request) for key, request in zip(keys, requests, strict=True) if key not in results])
        await batch.run(waiting, min(concurrency, len(requests) - len(results)))
        if journal is not None:
            journal.put_in_order(keys)
    return [results[key] for key in keys]


def _check(requests: Sequence[BatchRequest], concurrency: int, retries: int) -> None:
    if concurrency < 1 or retries < 0:
        raise UsageError(f"concurrency is {concurrency} and retries {retries}; there must be at least 1 and 0")
    seen: set[str] = set()
    for request in requests:
        if request.id in seen:
            raise UsageError(f"the id {request.id!r} stands twice in the batch; ids tell its results apart")
        seen.add(request.id)


class _Batch:
    """The state of one run."""

    def __init__(
        self,
        model: ChatModel,
        retries: int,
        total: int,
        results: dict[str, BatchResult],
        journal: Journal | None,
        progress: Callable[[BatchProgress], None] | None,
    ) -> None:
        self._model = model
        self._retries = retries
        self._results = results
        self._journal = journal
        self._tell = progress
        self._started = time.monotonic()
        self._last_answer = self._started
        self._gone: EngineUnavailableError | None = None
        self._progress = BatchProgress(total, len(results), 0, 0, 0, 0.0)

    async def run(self, waiting: Iterator[tuple[str, BatchRequest]], workers: int) -> None:
        """Each worker takes the next request when it is free, so order is lost here and a slow one blocks nobody."""

        async def work() -> None:
            for key, request in waiting:
                self._end(key, await self._answer(request))

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: str, result: BatchResult) -> None:
        if self._journal is not None:
            self._journal.append(key, result)
        self._results[key] = result
        self._progress = replace(
            self._progress,
            answered=self._progress.answered + result.ok,
            failed=self._progress.failed + (not result.ok),
            completion_tokens=self._progress.completion_tokens + result.usage.completion_tokens,
            seconds=time.monotonic() - self._started,
        )
        if self._tell is not None:
            self._tell(self._progress)

    async def _answer(self, request: BatchRequest) -> BatchResult:
        begun = time.monotonic()
        tries, busy_s, wait_s = 0, 0.0, FIRST_WAIT_S
        while self._gone is None:
            tries += 1
            try:
                result = await self._once(request)
            except EngineBusyError as error:
                tries -= 1
                busy_s += error.retry_after_s
                if busy_s > BUSY_PATIENCE_S:
                    return _failed(request, error, tries)
                # Later by chance, never sooner: those who were sent away together should not come back together.
                await asyncio.sleep(error.retry_after_s * (1 + 0.25 * random.random()))  # noqa: S311
            except EngineError as error:
                if tries > self._retries:
                    if isinstance(error, EngineUnavailableError) and self._last_answer <= begun:
                        self._gone = error
                    return _failed(request, error, tries)
                away_s = error.retry_after_s or 0.0 if isinstance(error, EngineUnavailableError) else 0.0
                await asyncio.sleep(max(away_s, wait_s * (0.5 + 0.5 * random.random())))  # noqa: S311
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except DomainQAError as error:
                return _failed(request, error, tries)
            else:
                self._last_answer = time.monotonic()
                return replace(result, tries=tries)
        return _failed(request, self._gone, tries)

    async def _once(self, request: BatchRequest) -> BatchResult:
        started = time.perf_counter()
        if isinstance(self._model, AnswersWhole):
            answer = await self._model.complete(request.messages, request.sampling, request.adapter)
        else:
            answer = await self._joined(request)
        if answer.finish_reason == "cancelled":
            raise EngineUnavailableError(f"{self._model.name} was closed before the answer's end")
        seconds = time.perf_counter() - started
        return BatchResult(request.id, answer.text, answer.finish_reason, answer.usage or Usage(), seconds)

    async def _joined(self, request: BatchRequest) -> Generated:
        text: list[str] = []
        async with aclosing(self._model.stream(request.messages, request.sampling, request.adapter)) as pieces:
            async for piece in pieces:
                text.append(piece.text)
                if piece.finish_reason is not None:
                    return replace(piece, text="".join(text))
        raise AssertionError(f"{self._model.name} ended its stream without a finish reason")


def _failed(request: BatchRequest, error: DomainQAError, tries: int) -> BatchResult:
    return BatchResult(request.id, tries=tries, error=str(error), error_kind=type(error).__name__)
