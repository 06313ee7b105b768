"""The answer flow within the service's bounds: places and queue, deadline, circuit breaker, drain.

Asked like an ``Answerer``. Whatever is refused is refused before the first event. Belongs to one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace

from rag.answering import STRATEGIES, Answerer
from rag.config import Settings
from rag.question import Question
from rag.types import Answer, AnswerEvent, Finished, TextDelta
from service.api.buckets import Buckets
from service.api.circuit import Attempt, Circuit
from service.api.errors import StoppingError
from service.api.identity import THIS_MACHINE, Principal
from service.api.limits import Limit
from service.api.metrics import OTHER, Metrics
from service.api.places import Places
from service.api.spending import Spending

_WITHOUT_ENGINE = ("extractive",)


class Flow:
    def __init__(
        self, answerer: Answerer, settings: Settings, metrics: Metrics, buckets: Buckets | None = None
    ) -> None:
        bounds = settings.server
        self._answerer = answerer
        self._default_strategy = settings.answering.strategy
        self._deadline_s = bounds.request_deadline_s
        self._metrics = metrics
        self.places = Places(
            bounds.max_concurrent_answers or settings.generation.concurrency + bounds.threads, bounds.max_waiting
        )
        self.circuit = Circuit(bounds.circuit_failures, bounds.circuit_window_s, bounds.circuit_open_s)
        self._spending = Spending(buckets or Buckets(), settings, metrics)
        self._stopping = False
        self._waiting: set[Limit] = set()
        self._running: set[Limit] = set()
        metrics.watch(self.places, self.circuit)

    @property
    def stopping(self) -> bool:
        """Whether the service is on its way down: what merely watches should end."""
        return self._stopping

    def strategy_of(self, question: Question) -> str:
        """The strategy without its adapter, as metrics know it: a name nobody defined is `other`."""
        name = (question.strategy or self._default_strategy).partition("@")[0]
        return name if name in STRATEGIES else OTHER

    async def answer(self, question: Question, caller: Principal = THIS_MACHINE) -> Answer:
        """The answer that ``stream`` ends with."""
        async with aclosing(self.stream(question, caller)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.answer
        raise AssertionError("the stream ended without an answer")

    async def stream(self, question: Question, caller: Principal = THIS_MACHINE) -> AsyncGenerator[AnswerEvent, None]:
        """The answerer's events; the answer's ``timings`` tell the time in the queue too.

        Raises beside its errors ``EngineBusyError`` when places and queue are full, ``EngineUnavailableError`` while
        the circuit is open, ``EngineTimeoutError`` at the deadline, ``StoppingError`` once the service stops,
        ``RateLimitError`` while the caller's key has no tokens left. Answers within the caller's scope only.
        """
        strategy = self.strategy_of(question)
        scoped = replace(question, scope=caller.scope)
        limit = Limit(self._deadline_s)
        with self._metrics.answering(strategy) as watch:
            async with AsyncExitStack() as held:
                bill = held.enter_context(self._spending.paying(caller, question, strategy))
                waited_s = await self._admitted(limit, strategy, held)
                attempt = Attempt() if strategy in _WITHOUT_ENGINE else held.enter_context(self.circuit.attempt())
                watch.admitted()
                bill.begun = True
                held.enter_context(self._among(self._running, limit))
                events = await held.enter_async_context(aclosing(self._answerer.stream(scoped)))
                while (event := await limit.within(anext(events, None))) is not None:
                    if isinstance(event, TextDelta):
                        attempt.text_came = True
                    elif isinstance(event, Finished):
                        answer = event.answer
                        event = Finished(replace(answer, timings={"waiting": round(waited_s, 3), **answer.timings}))
                        watch.finished(event.answer)
                        bill.usage = answer.usage
                        # Without a model's name no engine was asked: the documents don't say.
                        attempt.works = True if answer.model else None
                    yield event

    def stop(self, drain_s: float) -> None:
        """Take no more questions. Those that wait are refused, those that run are cut after ``drain_s``."""
        self._stopping = True
        for limit in self._waiting:
            limit.cut(_refused())
        asyncio.get_running_loop().call_later(drain_s, self._cut)

    def _cut(self) -> None:
        for limit in self._running:
            limit.cut(StoppingError("the service stops, and this answer took too long to end before it; ask again"))

    async def _admitted(self, limit: Limit, strategy: str, held: AsyncExitStack) -> float:
        """Seconds waited for the place that ``held`` now holds."""
        if self._stopping:
            raise _refused()
        if strategy not in _WITHOUT_ENGINE:
            self.circuit.check()
        with self._among(self._waiting, limit):
            return await limit.within(held.enter_async_context(self.places.place()))

    @contextmanager
    def _among(self, limits: set[Limit], limit: Limit) -> Iterator[None]:
        limits.add(limit)
        try:
            yield
        finally:
            limits.discard(limit)


def _refused() -> StoppingError:
    return StoppingError("the service is stopping and takes no more questions; ask again in a moment")
