"""What is measured, in Prometheus' form. ``docs/metrics.md`` lists it, and a test compares the two.

Labels have few values, none of them a user's word: a strategy that nobody defined is `other`, so is an unknown route.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from rag.errors import (
    EngineBusyError,
    EngineError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    UsageError,
)
from rag.types import Answer
from service.api.circuit import STATES, Circuit
from service.api.errors import RateLimitError, StoppingError
from service.api.places import Places
from service.jobs.runner import JobRunner

OTHER = "other"
NONE = "none"
STEPS = (
    "rewriting",
    "retrieval",
    "reranking",
    "packing",
    "prompting",
    "generation",
    "extracting",
    "citing",
    "conflicts",
)

_ANSWER_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 240)
_STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry, so that several applications in one process don't count together."""

    def __init__(self) -> None:
        # A second series for each, with its time of birth, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "domainqa_http_requests",
            "Requests by route and status; by strategy where a question was asked.",
            ("route", "status", "strategy"),
            registry=self.registry,
        )
        self._answers = Counter(
            "domainqa_answers", "Questions by what became of them.", ("strategy", "outcome"), registry=self.registry
        )
        self._answer_s = Histogram(
            "domainqa_answer_seconds",
            "From a question's arrival to its whole answer, waiting included.",
            ("strategy",),
            buckets=_ANSWER_S,
            registry=self.registry,
        )
        self._first_token_s = Histogram(
            "domainqa_time_to_first_token_seconds",
            "From a question's arrival to the model's first token, waiting included.",
            ("strategy",),
            buckets=_ANSWER_S,
            registry=self.registry,
        )
        self._wait_s = Histogram(
            "domainqa_answer_wait_seconds",
            "How long answered questions waited for a place.",
            buckets=_ANSWER_S,
            registry=self.registry,
        )
        self._step_s = Histogram(
            "domainqa_step_seconds",
            "Duration of the steps of an answer.",
            ("step",),
            buckets=_STEP_S,
            registry=self.registry,
        )
        self._running = Gauge("domainqa_answers_running", "Answers under way.", registry=self.registry)
        self._waiting = Gauge("domainqa_answers_waiting", "Questions waiting for a place.", registry=self.registry)
        self._prompt_tokens = Counter("domainqa_prompt_tokens", "Tokens the model read.", registry=self.registry)
        self._cached_tokens = Counter(
            "domainqa_cached_prompt_tokens",
            "Tokens of prompts that the engine had in its prefix cache; counted in the prompt tokens too.",
            registry=self.registry,
        )
        self._completion_tokens = Counter(
            "domainqa_completion_tokens", "Tokens the model wrote.", registry=self.registry
        )
        self._rewritings = Counter(
            "domainqa_rewritings",
            "Search queries by who made them; rules_instead where the model's wouldn't do.",
            ("by",),
            registry=self.registry,
        )
        self._citations = Counter("domainqa_citations", "Citations given.", registry=self.registry)
        self._unsupported = Counter(
            "domainqa_unsupported_citations",
            "Citations whose quote does not support the sentence.",
            registry=self.registry,
        )
        self._engine_errors = Counter(
            "domainqa_engine_errors", "Answers that the engine failed, by how.", ("kind",), registry=self.registry
        )
        self._not_authenticated = Counter(
            "domainqa_authentication_failures",
            "Requests without a good key; nothing tells which.",
            ("reason",),
            registry=self.registry,
        )
        self._limited = Counter(
            "domainqa_rate_limited",
            "Requests refused because their key had used up its minute, by what it ran out of.",
            ("limit",),
            registry=self.registry,
        )
        self._circuit = Gauge(
            "domainqa_circuit_state",
            "1 for the state of the circuit before the engine, 0 for the others.",
            ("state",),
            registry=self.registry,
        )

        self._jobs = Gauge("domainqa_jobs", "Jobs that have not ended, by state.", ("state",), registry=self.registry)
        self._failed_documents = Gauge(
            "domainqa_job_failed_documents",
            "Documents that could not be read, over the jobs that are still remembered.",
            registry=self.registry,
        )
        self._ingest_deaths = Gauge(
            "domainqa_ingest_process_deaths",
            "How often the ingest process died by itself since the service began.",
            registry=self.registry,
        )

    def watch(self, places: Places, circuit: Circuit) -> None:
        """What these are like is read when metrics are."""
        self._running.set_function(lambda: places.running)
        self._waiting.set_function(lambda: places.waiting)
        for state in STATES:
            self._circuit.labels(state).set_function(lambda state=state: float(circuit.state == state))  # type: ignore[misc]

    def watch_jobs(self, runner: JobRunner) -> None:
        """What the catalog knows of jobs is asked for when metrics are."""
        for state in ("queued", "running"):
            self._jobs.labels(state).set_function(lambda state=state: getattr(runner.counts(), state))  # type: ignore[misc]
        self._failed_documents.set_function(lambda: runner.counts().failed_files)
        self._ingest_deaths.set_function(lambda: runner.deaths)

    def requested(self, route: str, status: int, strategy: str) -> None:
        self._requests.labels(route, str(status), strategy).inc()

    def not_authenticated(self, reason: Literal["missing", "invalid"]) -> None:
        self._not_authenticated.labels(reason).inc()

    def limited(self, limit: Literal["requests", "tokens"]) -> None:
        self._limited.labels(limit).inc()

    @contextmanager
    def answering(self, strategy: str) -> Iterator["Watch"]:
        """Counts what becomes of a question, also by the error that passes through."""
        watch = Watch()
        started = time.monotonic()
        try:
            yield watch
        except (GeneratorExit, asyncio.CancelledError):
            self._answers.labels(strategy, watch.outcome or "cancelled").inc()
            raise
        except Exception as error:
            if watch.is_admitted and isinstance(error, EngineError):
                self._engine_errors.labels(_kind(error)).inc()
            self._answers.labels(strategy, _outcome(error, admitted=watch.is_admitted)).inc()
            raise
        else:
            self._answers.labels(strategy, watch.outcome or "cancelled").inc()
        finally:
            if watch.answer is not None:
                self._answer_s.labels(strategy).observe(time.monotonic() - started)
                self._finished(strategy, watch.answer)

    def _finished(self, strategy: str, answer: Answer) -> None:
        waited_s = answer.timings.get("waiting", 0.0)
        self._wait_s.observe(waited_s)
        if (first_s := answer.timings.get("first_token")) is not None:
            self._first_token_s.labels(strategy).observe(waited_s + first_s)
        for step in STEPS:
            if step in answer.timings:
                self._step_s.labels(step).observe(answer.timings[step])
        self._prompt_tokens.inc(answer.usage.prompt_tokens)
        self._cached_tokens.inc(answer.usage.cached_tokens or 0)
        self._completion_tokens.inc(answer.usage.completion_tokens)
        if answer.rewriting is not None:
            self._rewritings.labels("rules_instead" if answer.rewriting.note else answer.rewriting.by).inc()
        self._citations.inc(len(answer.citations))
        self._unsupported.inc(sum(not citation.supported for citation in answer.citations))


class Watch:
    """What a question came to so far."""

    def __init__(self) -> None:
        self.is_admitted = False
        self.answer: Answer | None = None

    def admitted(self) -> None:
        self.is_admitted = True

    def finished(self, answer: Answer) -> None:
        self.answer = answer

    @property
    def outcome(self) -> str | None:
        if self.answer is None:
            return None
        if self.answer.abstained:
            return "abstained"
        return "fallback" if self.answer.fallback is not None else "answered"


def _outcome(error: Exception, *, admitted: bool) -> str:
    if isinstance(error, EngineTimeoutError):
        return "timeout"
    if isinstance(error, UsageError):
        return "invalid"
    if isinstance(error, StoppingError):
        return "cut" if admitted else "refused"
    if isinstance(error, EngineBusyError | RateLimitError) or (isinstance(error, EngineError) and not admitted):
        return "refused"
    return "failed"


def _kind(error: EngineError) -> str:
    for family, kind in _KINDS:
        if isinstance(error, family):
            return kind
    return OTHER


_KINDS: tuple[tuple[type[EngineError], str], ...] = (
    (EngineBusyError, "busy"),
    (EngineUnavailableError, "unavailable"),
    (EngineTimeoutError, "timeout"),
    (EngineFaultError, "fault"),
)
