"""Asks the questions of a run: each arm's, each once, some of them at once; appends a record as each answer comes.

First a sample is asked one question at a time, arm by arm, so that its timings are latencies and not waits for others;
its answers count like all others. What an earlier process answered is not asked again, but for what failed in the
engine. An engine that is gone is waited for; when it stays away the run stops, and the same command goes on with it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from rag.answering import ORACLE, Answerer
from rag.build import Library
from rag.errors import (
    DoesNotFitError,
    EngineBusyError,
    EngineError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from rag.evaluation.arms import settings_of
from rag.evaluation.costs import money
from rag.evaluation.examples import Examples
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.recording import GoldReader, blank, filled
from rag.evaluation.records import AnswerLog, AnswerRecord, ArmRecord, RunRecord, SpanRecord
from rag.question import Question
from rag.types import Span

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    concurrency: int = 1
    alone: int = 8
    """Questions of each arm that are asked while the engine answers nothing else."""
    patience_s: float = 600.0
    """How long one question waits for an engine that is gone or full."""
    attempts: int = 3
    """For a question that the engine times out on or fails at."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``left_s`` is ``None`` before it can be told."""

    done: int
    total: int
    arm: str
    faults: int
    cost: float
    left_s: float | None


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class _Tally:
    total: int
    cost: float
    done: int = 0
    faults: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Arm to the machine's seconds of each answer of this process."""


class Asker:
    def __init__(
        self,
        library: Library,
        run: RunRecord,
        questions: Sequence[EvaluationQuestion],
        gold: GoldReader,
        examples: Examples,
        pace: Pace,
        on_progress: OnProgress,
    ) -> None:
        self._library = library
        self._run = run
        self._questions = questions
        self._gold = {question.id: gold.spans(question) for question in questions}
        self._examples = examples
        self._pace = pace
        self._on_progress = on_progress

    async def ask(self, log: AnswerLog, earlier: Iterable[AnswerRecord]) -> None:
        """Ask what ``earlier`` has no measurement of."""
        found = {record.key: record for record in earlier}
        answered = {key for key, record in found.items() if record.is_measured}
        open_ = {arm.name: [q for q in self._questions if (arm.name, q.id) not in answered] for arm in self._run.arms}
        cost = sum(money(record, self._run.prices) for record in found.values())
        tally = _Tally(len(self._run.arms) * len(self._questions), cost, done=len(answered))
        with ExitStack() as stack:
            flows = {}
            for arm in self._run.arms:
                answerer = self._library.answerer_for(settings_of(arm, self._library.settings))
                flows[arm.name] = stack.enter_context(closing(answerer))
            alone = {question.id for question in evenly(self._questions, self._pace.alone)}
            for question in self._questions:
                for arm in self._run.arms:
                    if question.id in alone and question in open_[arm.name]:
                        record = await self._asked(flows[arm.name], arm, question, found.get((arm.name, question.id)))
                        seconds = record.timings.get("total", 0.0)
                        self._keep(log, tally, record.model_copy(update={"alone": True, "machine_s": seconds}), open_)
            for arm in self._run.arms:
                left = [question for question in open_[arm.name] if question.id not in alone]
                await self._ask_arm(flows[arm.name], arm, left, found, log, tally, open_)

    async def _ask_arm(
        self,
        flow: Answerer,
        arm: ArmRecord,
        questions: Sequence[EvaluationQuestion],
        earlier: dict[tuple[str, str], AnswerRecord],
        log: AnswerLog,
        tally: _Tally,
        open_: dict[str, list[EvaluationQuestion]],
    ) -> None:
        waiting = list(await self._sharing_prefixes(flow, arm, questions) if arm.strategy == "stuffed" else questions)
        waiting.reverse()
        last = time.perf_counter()

        async def work() -> None:
            nonlocal last
            while waiting:
                question = waiting.pop()
                try:
                    record = await self._asked(flow, arm, question, earlier.get((arm.name, question.id)))
                except BaseException:
                    waiting.clear()
                    raise
                now = time.perf_counter()
                spent, last = now - last, now
                self._keep(log, tally, record.model_copy(update={"machine_s": round(spent, 6)}), open_)

        workers = [work() for _ in range(min(self._pace.concurrency, len(waiting)))]
        # Whoever fails takes no other one's answer along: what was asked is kept.
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _keep(
        self, log: AnswerLog, tally: _Tally, record: AnswerRecord, open_: dict[str, list[EvaluationQuestion]]
    ) -> None:
        log.append(record)
        open_[record.arm] = [each for each in open_[record.arm] if each.id != record.question]
        tally.done += 1
        tally.faults += not record.is_measured
        tally.cost += money(record, self._run.prices)
        tally.seconds.setdefault(record.arm, []).append(record.machine_s)
        known = {arm: sum(each) / len(each) for arm, each in tally.seconds.items()}
        usual = sum(known.values()) / len(known)
        left = sum(known.get(arm, usual) * len(each) for arm, each in open_.items())
        self._on_progress(Progress(tally.done, tally.total, record.arm, tally.faults, tally.cost, left))

    async def _sharing_prefixes(
        self, flow: Answerer, arm: ArmRecord, questions: Sequence[EvaluationQuestion]
    ) -> list[EvaluationQuestion]:
        """Those that are shown the same first documents next to each other, so that the engine reads these once."""
        places = asyncio.Semaphore(self._library.settings.server.threads)

        async def place(question: EvaluationQuestion) -> tuple[list[str], str]:
            try:
                async with places:
                    explained = await flow.explain(self._question(arm, question))
            except (DoesNotFitError, EngineError):
                return [], question.id  # it will be told when it is asked
            return [item.source for item in explained.evidence], question.id

        keys = await asyncio.gather(*(place(question) for question in questions))
        return [question for _, question in sorted(zip(keys, questions, strict=True), key=lambda pair: pair[0])]

    def _question(self, arm: ArmRecord, question: EvaluationQuestion) -> Question:
        shown = self._examples.messages(arm.examples, question.language) if arm.examples else ()
        return Question(
            question.question,
            self._run.collection,
            arm.strategy if arm.adapter is None else f"{arm.strategy}@{arm.adapter}",
            history=(*shown, *question.messages),
            seed=self._run.seed,
            gold=_given(self._gold[question.id]) if arm.strategy == ORACLE else None,
        )

    async def _asked(
        self, flow: Answerer, arm: ArmRecord, question: EvaluationQuestion, before: AnswerRecord | None
    ) -> AnswerRecord:
        """The record, of a fault too. Raises ``EngineUnavailableError`` once patience with the engine is over."""
        tried = 0 if before is None else before.attempts
        record = blank(self._run.name, arm, question, self._gold[question.id])
        asked = self._question(arm, question)
        started, wait_s, attempt = time.monotonic(), _FIRST_WAIT_S, 0
        while True:
            attempt += 1
            record = record.model_copy(update={"attempts": tried + attempt})
            try:
                return filled(record, await flow.answer(asked))
            except DoesNotFitError as error:
                return record.model_copy(update={"status": "does_not_fit", "error": str(error)})
            except (EngineBusyError, EngineUnavailableError) as error:
                told = error.retry_after_s or wait_s
                if time.monotonic() - started + told > self._pace.patience_s:
                    raise EngineUnavailableError(
                        f"{error}; the run stops after {self._pace.patience_s:g} s of waiting, and the same command "
                        "goes on where it stopped"
                    ) from error
            except (EngineTimeoutError, EngineFaultError) as error:
                if attempt >= self._pace.attempts:
                    return record.model_copy(update={"error": str(error)})
                told = wait_s
            await asyncio.sleep(told)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def evenly(questions: Sequence[EvaluationQuestion], limit: int | None) -> list[EvaluationQuestion]:
    """At most so many of the questions, evenly spaced, in their order."""
    count = min(len(questions) if limit is None else limit, len(questions))
    return [questions[at * len(questions) // count] for at in range(count)]


def _given(spans: Sequence[SpanRecord]) -> tuple[Span, ...]:
    return tuple(Span(each.document, each.start, each.end) for each in spans)
