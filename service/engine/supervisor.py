"""Keeps a home's engine running: starts it, waits until it serves, starts it again when it dies, stops it.

One thread does all of it, so that any program can have one, with an event loop or without. Of two supervisors on one
home one holds the lock and the other follows it, taking its place when it goes. Knows nothing of what is asked of the
engine.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rag.errors import ConfigError, EngineUnavailableError, StateError
from rag.interfaces import Endpoint
from service.engine import probing
from service.engine.command import Plan
from service.engine.identity import own_identity
from service.engine.locking import OsLock
from service.engine.logfile import last_lines_of_run
from service.engine.ports import EnginePort
from service.engine.process import EngineProcess, exit_words
from service.engine.record import EngineFolder, EngineRecord, EngineState, Owner, base_url
from service.engine.running import live_record
from service.engine.words import plain, telling

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_PROBE_EVERY_S = 0.5
_HEALTH_EVERY_S = 5.0
_TELLING_LINES = 80
_SHOWN_LINES = 20
_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class StartProgress:
    """How a start goes: seconds since it began, and the last thing the server said."""

    seconds: float
    last_line: str

    def __str__(self) -> str:
        said = f": {self.last_line}" if self.last_line else ""
        return f"the engine is starting, {self.seconds:.0f} s{said}"


@dataclass(frozen=True, slots=True)
class Observers:
    """Called from the supervisor's thread: ``note`` with what happens, ``progress`` each second of a start."""

    note: Callable[[str], None] = lambda _: None
    progress: Callable[[StartProgress], None] = lambda _: None


class Supervisor:
    """A ``ModelServer``. ``start`` and ``state`` return at once, ``wait_ready`` and ``stop`` block.

    With ``owner`` "engine up" a second one on a home is an error; with "serve" it follows the first.
    """

    def __init__(self, home: Path, plan: Plan, owner: Owner, observers: Observers | None = None) -> None:
        self._folder = EngineFolder.of(home)
        self._plan = plan
        self._settings = plan.engine
        self._observers = observers or Observers()
        self._owner: Owner = owner
        self._record: EngineRecord | None = None
        self._endpoint: Endpoint | None = None
        self._start_seconds: float | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._lock = OsLock(self._folder.lock)
        self._port = EnginePort(plan.engine.host, plan.engine.port)
        # A daemon: a program that ends without `stop` must end. The guardian then stops the engine.
        self._thread = threading.Thread(target=self._run, name="engine-supervisor", daemon=True)

    # --- what its owner does -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Raises ``StateError`` where an engine with other settings has the home, or ``owner`` may not follow,
        ``ConfigError`` where the port is taken."""
        self._folder.make()
        if self._take_lock():
            try:
                self._folder.end_leftovers()
                self._port.take()
            except BaseException:
                self._lock.release()
                raise
        self._thread.start()

    def wait_ready(self, timeout_s: float | None = None) -> Endpoint:
        """The address once it serves. Raises ``EngineUnavailableError`` when it has given up, or at the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._endpoint is not None or self._has_ended(), timeout_s)
        return self.endpoint()

    def wait(self) -> None:
        """Until ``stop`` was called, or "engine up" has given up: ``EngineUnavailableError`` says why."""
        while self._thread.is_alive():
            self._thread.join(_POLL_S)  # in pieces, so that Ctrl-C comes through
        if not self._stopping.is_set():
            self.endpoint()

    def stop(self) -> None:
        """Stop what was started here, and nothing else; returns when it is gone."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- the server, as the chat model sees it -----------------------------------------------------

    def __repr__(self) -> str:
        return f"the engine of {self._folder.path.parent}"

    def endpoint(self) -> Endpoint:
        endpoint, record = self._endpoint, self._record
        if endpoint is not None:
            return endpoint
        raise EngineUnavailableError(f"the engine is not ready: {self.state()}", self._retry_after_s(record))

    def state(self) -> str:
        endpoint, record = self._endpoint, self._record
        if endpoint is not None:
            return "ok"
        if record is None:
            return "starting, 0 s"
        if record.state == "ready":  # and yet not for us
            return "stopping" if self._lock.descriptor is not None else "an engine with other settings runs"
        return record.words()

    def record(self) -> EngineRecord | None:
        return self._record

    def log_lines(self) -> list[str]:
        """The server's last words, to be shown as they are."""
        return last_lines_of_run(self._folder.log, _SHOWN_LINES)

    def _retry_after_s(self, record: EngineRecord | None) -> float | None:
        """As long as the last start took, less what has passed of this one."""
        if self._start_seconds is None or record is None or record.state not in ("starting", "restarting"):
            return None
        return max(1.0, self._start_seconds - (time.time() - record.since))

    def _has_ended(self) -> bool:
        return self._stopping.is_set() or (self._record is not None and self._record.state == "failed")

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._lock.descriptor is None and not self._follow():
                    continue
                self._folder.end_leftovers()
                self._supervise()
                self._give_up_places()
                if self._owner == "engine up":
                    return
                # Given up; should somebody else start one, it is followed.
                while not self._stopping.wait(_PROBE_EVERY_S) and not self._another_runs():
                    pass
        except Exception as error:
            # A bug, or a full disk. Whoever waits must hear of it.
            logger.exception("the engine's supervisor failed")
            self._tell("failed", f"its supervisor failed: {error}")
        finally:
            if self._lock.descriptor is not None:
                self._give_up_places()
            with self._changed:
                self._changed.notify_all()

    def _supervise(self) -> None:
        """Until it is stopped or has given up. The locks are held."""
        deaths = restarts = 0
        wait_s = self._settings.first_restart_wait_s
        while not self._stopping.is_set():
            reason, lived_s, hopeless = self._one_life(restarts)
            if self._stopping.is_set():
                break
            quick = lived_s < self._settings.quick_death_s
            if not quick:
                deaths, wait_s = 0, self._settings.first_restart_wait_s
            deaths += 1
            said = telling(last_lines_of_run(self._folder.log, _TELLING_LINES))
            words = f"; it said: {said}" if said else ""
            if hopeless or (quick and deaths >= self._settings.max_quick_deaths):
                times = f"; it died quickly {deaths} times in a row" if deaths > 1 else ""
                self._tell("failed", f"{reason}{words}{times}; see `domainqa engine logs`")
                self._observers.note(f"the engine is given up: {reason}{words}")
                return
            self._tell("restarting", reason)
            self._observers.note(f"the engine died: {reason}{words}; it is started again in {wait_s:g} s")
            self._stopping.wait(wait_s)
            wait_s = min(2 * wait_s, self._settings.longest_restart_wait_s)
            restarts += 1
        self._tell("stopped", None)

    def _one_life(self, restarts: int) -> tuple[str, float, bool]:
        """Start it, and watch it to its end: why it ended, how long it served, whether another start is no use."""
        try:
            self._port.take()
        except ConfigError as error:
            return str(error), 0.0, False
        endpoint = Endpoint(base_url(self._settings.host, self._port.number), self._folder.new_key())
        assert endpoint.key is not None
        began = time.monotonic()
        self._publish(self._new_record("starting", restarts))
        process = EngineProcess(
            self._plan.argv(self._port.number),
            self._plan.environment(os.environ, endpoint.key),
            self._folder.log,
            max_log_bytes=int(self._settings.max_log_mb * 1e6),
            stop_timeout_s=self._settings.stop_timeout_s,
            locks=[each for each in (self._lock.descriptor, self._port.descriptor) if each is not None],
        )
        try:
            assert self._record is not None
            self._publish(replace(self._record, engine=process.identity))
            failure, hopeless = self._until_ready(process, endpoint, began)
            if failure is not None:
                return failure, 0.0, hopeless
            self._start_seconds = time.monotonic() - began
            self._tell_ready(endpoint)
            served_since = time.monotonic()
            reason = self._watch(process, endpoint)
            self._endpoint = None
            if not self._stopping.is_set():
                self._tell("restarting", reason)
            return reason, time.monotonic() - served_since, False
        finally:
            self._endpoint = None
            process.stop()

    def _until_ready(self, process: EngineProcess, endpoint: Endpoint, began: float) -> tuple[str | None, bool]:
        """``None`` once it serves, else why it doesn't, and whether another start is no use."""
        told = asked = -float("inf")
        while not self._stopping.wait(_POLL_S):
            now = time.monotonic()
            code = process.poll()
            if code is not None:
                return f"it ended before it was ready ({exit_words(code)}, after {now - began:.0f} s)", False
            if now - began > self._settings.start_timeout_s:
                return f"it was not ready after engine.start_timeout_s ({self._settings.start_timeout_s:g} s)", False
            if now - asked >= _PROBE_EVERY_S:
                served = probing.is_served(endpoint, self._plan.name)
                asked = time.monotonic()
                if served.outcome == "ready" and process.poll() is None:
                    return None, False
                if served.outcome == "never":
                    return served.why, True
            if now - told >= 1.0:
                lines = last_lines_of_run(self._folder.log, 1)
                self._observers.progress(StartProgress(now - began, plain(lines[0]) if lines else ""))
                told = now
        return "it was stopped", False

    def _watch(self, process: EngineProcess, endpoint: Endpoint) -> str:
        """Until it ends, or doesn't answer for too long. Returns why."""
        answered = asked = time.monotonic()
        while not self._stopping.wait(_POLL_S):
            code = process.poll()
            now = time.monotonic()
            if code is not None:
                return f"it ended ({exit_words(code)})"
            if now - asked >= min(_HEALTH_EVERY_S, self._settings.unresponsive_after_s / 4):
                if probing.is_responsive(endpoint):
                    answered = time.monotonic()
                asked = time.monotonic()
                if asked - answered > self._settings.unresponsive_after_s:
                    return f"it did not answer for {asked - answered:.0f} s"
        return "it was stopped"

    def _tell_ready(self, endpoint: Endpoint) -> None:
        self._tell("ready", None)
        with self._changed:
            self._endpoint = endpoint
            self._changed.notify_all()
        self._observers.note(f"the engine serves {self._plan.name} at {endpoint.base_url}")

    # --- following another supervisor --------------------------------------------------------------

    def _follow(self) -> bool:
        """Use the engine of whoever has the lock. True once we have it ourselves."""
        told = False
        while not self._stopping.wait(_POLL_S):
            if self._lock.try_acquire():
                with self._changed:
                    self._endpoint = None
                return True
            record = self._folder.read()
            self._record = record
            endpoint = self._endpoint_of(record)
            if endpoint is not None and not told:
                self._observers.note(f"using the engine that runs at {endpoint.base_url}")
                told = True
            if endpoint != self._endpoint:
                with self._changed:
                    self._endpoint = endpoint
                    self._changed.notify_all()
        return False

    def _endpoint_of(self, record: EngineRecord | None) -> Endpoint | None:
        if record is None or record.state != "ready" or record.fingerprint != self._plan.fingerprint:
            return None
        return Endpoint(record.base_url, self._folder.key())

    def _another_runs(self) -> bool:
        record = live_record(self._folder)
        return record is not None and record.state != "failed"

    def _take_lock(self) -> bool:
        """False where another engine of the same settings is to be followed."""
        deadline = time.monotonic() + self._settings.stop_timeout_s + _MARGIN_S
        while not self._lock.try_acquire():
            record = live_record(self._folder)
            if record is not None and record.state != "failed":
                self._check_other(record)
                return False
            # Somebody begins this moment, or the engine of a supervisor that was killed is being ended.
            if time.monotonic() > deadline:
                raise StateError(f"{self._folder.lock} is held, but nobody says by whom; see which process has it open")
            time.sleep(_POLL_S)
        return True

    def _check_other(self, record: EngineRecord) -> None:
        if record.fingerprint != self._plan.fingerprint:
            raise StateError(
                f"an engine with other settings runs in {self._folder.path.parent} ({record.model} on port "
                f"{record.port}, started by `domainqa {record.owner}`); stop it, or use another --home"
            )
        if self._owner == "engine up":
            raise StateError(
                f"the engine already runs: {record.model} at {record.base_url}, started by `domainqa {record.owner}`"
            )

    # --- places and records ------------------------------------------------------------------------

    def _give_up_places(self) -> None:
        self._folder.forget_key()
        self._port.release()
        self._lock.release()

    def _new_record(self, state: EngineState, restarts: int) -> EngineRecord:
        return EngineRecord(
            state=state,
            since=time.time(),
            owner=self._owner,
            supervisor=own_identity(),
            host=self._settings.host,
            port=self._port.number,
            model=self._plan.name,
            fingerprint=self._plan.fingerprint,
            restarts=restarts,
        )

    def _tell(self, state: EngineState, reason: str | None) -> None:
        record = self._record or self._new_record(state, 0)
        engine = record.engine if state == "ready" else None
        self._publish(replace(record, state=state, since=time.time(), reason=reason, engine=engine))

    def _publish(self, record: EngineRecord) -> None:
        if self._lock.descriptor is not None:  # else the file is another's
            self._folder.write(record)
        with self._changed:
            self._record = record
            self._changed.notify_all()
