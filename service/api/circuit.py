"""A circuit breaker before an engine that keeps failing: it is left alone for a while, then tried with one question.

closed     questions pass; ``failures`` in ``window_s``, with no success among them, open it
open       questions are refused at once, with the time to come back
half_open  after ``open_s``: one question passes as a probe; its success closes the circuit, its failure opens it again

Belongs to one event loop. Knows nothing of HTTP.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rag.errors import EngineBusyError, EngineError, EngineTimeoutError, EngineUnavailableError

CircuitState = Literal["closed", "open", "half_open"]
STATES: tuple[CircuitState, ...] = ("closed", "open", "half_open")


class Attempt:
    """One question to the engine. Whoever asks says what came; a client that goes away leaves it undecided."""

    def __init__(self) -> None:
        self.text_came = False
        """An engine that gives text works: what then takes too long is only slow."""
        self.works: bool | None = None


class Circuit:
    def __init__(
        self, failures: int, window_s: float, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._window_s = window_s
        self._open_s = open_s
        self._clock = clock
        self._failed_at: deque[float] = deque(maxlen=failures)
        self._reason = ""
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> CircuitState:
        if self._opened_at is None:
            return "closed"
        return "open" if self._clock() < self._opened_at + self._open_s else "half_open"

    def readiness(self) -> str:
        """``ok``, or why questions are refused. Half open is ok: who balances load must send us the probe."""
        return self._refusal() if self.state == "open" else "ok"

    def check(self) -> None:
        """Raises ``EngineUnavailableError`` with the time to come back while nothing is let through."""
        if self.state == "open" or (self.state == "half_open" and self._probing):
            raise EngineUnavailableError(self._refusal(), self._wait_s())

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Raises as ``check`` does. Learns from ``Attempt.works`` and from the engine errors that pass through."""
        self.check()
        probe = self.state == "half_open"
        self._probing |= probe
        attempt = Attempt()
        try:
            yield attempt
        except EngineError as error:
            busy = isinstance(error, EngineBusyError)
            if not busy and not (attempt.text_came and isinstance(error, EngineTimeoutError)):
                attempt.works = False
                self._reason = str(error)
            raise
        finally:
            if probe:
                self._probing = False
            # Of those let through before it opened, none says anything about the engine of now.
            if attempt.works is not None and (probe or self._opened_at is None):
                self._learn(attempt.works)

    def _learn(self, works: bool) -> None:
        if works:
            self._failed_at.clear()
            self._opened_at = None
            return
        now = self._clock()
        self._failed_at.append(now)
        full = len(self._failed_at) == self._limit and now - self._failed_at[0] <= self._window_s
        if full or self._opened_at is not None:
            self._opened_at = now

    def _wait_s(self) -> float:
        assert self._opened_at is not None
        return max(0.0, self._opened_at + self._open_s - self._clock())

    def _refusal(self) -> str:
        return (
            f"the engine keeps failing and is left alone for {self._wait_s():.0f} s more; "
            f"the last failure: {self._reason}"
        )
