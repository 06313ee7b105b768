"""``domainqa engine``: the vLLM server of a home: start it and stay with it, stop it, look at it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.errors import ConfigError, EngineUnavailableError, StateError
from service.cli import output, session
from service.cli.options import JsonOutput
from service.cli.waiting import Waiting

if TYPE_CHECKING:  # too slow to import for a help text
    from service.engine.command import Plan
    from service.engine.record import EngineFolder, EngineRecord
    from service.engine.supervisor import StartProgress

app = typer.Typer(no_args_is_help=True, help="The vLLM server of a profile whose generation.engine is vllm.")

_POLL_S = 0.2
_LINE_EVERY_S = 10.0
_STOP_MARGIN_S = 15.0


@app.command("up")
def up(
    ctx: typer.Context,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave it running in the background once it serves.")
    ] = False,
) -> None:
    """Start the engine and keep it running until Ctrl-C."""
    own = session.of(ctx)
    plan = plan_of(own)
    if detach:
        _detach(own, plan)
    else:
        _stay(own, plan)


@app.command("down")
def down(ctx: typer.Context) -> None:
    """Stop the engine and whatever keeps it running."""
    from service.engine.locking import is_held
    from service.engine.running import live_record

    folder = _folder(session.of(ctx))
    record = live_record(folder)
    if record is None or not record.supervisor.is_alive():
        stop_leftovers(folder)
        output.note("the engine is not running")
        return
    if record.owner == "serve":
        raise StateError(
            f"the engine belongs to the running `domainqa serve` (process {record.supervisor.pid}); stop that"
        )
    record.supervisor.signal(signal.SIGTERM)
    timeout_s = session.of(ctx).settings().engine.stop_timeout_s + _STOP_MARGIN_S
    deadline = time.monotonic() + timeout_s
    with Waiting() as waiting:
        waiting.say("stopping the engine")
        while record.supervisor.is_alive() or is_held(folder.lock):
            if time.monotonic() > deadline:
                raise StateError(
                    f"the engine's supervisor (process {record.supervisor.pid}) did not end within {timeout_s:g} s"
                )
            time.sleep(_POLL_S)
    output.note("the engine has stopped")


@app.command("status")
def status(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """Say whether the engine serves; exits with 1 where it doesn't."""
    from service.engine.running import live_record

    record = live_record(_folder(session.of(ctx)))
    if as_json:
        output.print_json(_as_json(record))
    elif record is None:
        output.print_text("not running")
    else:
        _print(record)
    if record is None or record.state != "ready":
        raise typer.Exit(1)


@app.command("logs")
def logs(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what the server writes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="So many of the last lines.")] = 50,
) -> None:
    """Show what the server has written."""
    from service.engine import logfile

    folder = _folder(session.of(ctx))
    if not folder.log.is_file() and not follow:
        raise StateError(f"there is no {folder.log}; no engine was started for this home")
    for line in logfile.last_lines(folder.log, lines):
        sys.stdout.write(f"{output.printable(line)}\n")
    if follow:
        for line in logfile.follow(folder.log, lambda: True):
            sys.stdout.write(f"{output.printable(line)}\n")
            sys.stdout.flush()


def stop_leftovers(folder: "EngineFolder") -> None:
    """What was left by a supervisor that was killed with its guardian."""
    from service.engine.locking import OsLock

    lock = OsLock(folder.lock)
    if folder.path.is_dir() and lock.try_acquire():
        folder.end_leftovers()
        lock.release()


def plan_of(own: session.Session) -> "Plan":
    """What to start for these settings, its model fetched. Raises ``ConfigError`` where they name no engine of ours."""
    from rag import models
    from service.engine import installation

    settings = own.settings()
    if settings.generation.engine != "vllm":
        raise ConfigError(
            f"generation.engine is {settings.generation.engine!r} in the profile {settings.profile}, so there is no "
            "engine to run; choose a profile such as --profile vllm-cpu, or set generation.engine to 'vllm'"
        )
    folder = models.cached(settings.generation.model, models.default_cache())
    # Looks for vLLM before gigabytes are fetched for it.
    found = installation.plan(settings, folder or Path(settings.generation.model))
    if folder is not None:
        return found
    own.provide(embedder=False, chat=True)
    return installation.plan(settings, models.resolve(settings.generation.model, models.default_cache()))


class Progress:
    """How a start goes, on stderr: a moving line on a terminal, a line now and then elsewhere."""

    def __init__(self, say: Callable[[str], None], moving: bool) -> None:
        self._say = say
        self._every_s = 0.0 if moving else _LINE_EVERY_S
        self._told_at = 0.0

    def __call__(self, progress: "StartProgress") -> None:
        if not 0 <= progress.seconds - self._told_at < self._every_s:
            self._told_at = progress.seconds
            self._say(str(progress))


def _moving(waiting: Waiting) -> Progress:
    return Progress(waiting.say, output.stderr().is_terminal)


def _stay(own: session.Session, plan: "Plan") -> None:
    from service.engine.supervisor import Observers, Supervisor

    with Waiting() as waiting:

        def note(text: str) -> None:
            waiting.stop()
            output.note(text)

        supervisor = Supervisor(own.home_folder(), plan, "engine up", Observers(note, _moving(waiting)))
        end_on_sigterm()
        try:
            supervisor.start()
            supervisor.wait_ready()
            waiting.stop()
            output.print_text(supervisor.endpoint().base_url)
            output.note("Ctrl-C stops the engine")
            supervisor.wait()
        except EngineUnavailableError:
            waiting.stop()
            for line in supervisor.log_lines():
                output.note(line)
            raise
        except KeyboardInterrupt:
            waiting.say("stopping the engine")
            raise
        finally:
            supervisor.stop()


def end_on_sigterm() -> None:
    """As with Ctrl-C, so that what must be stopped at the end is."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    # Once: a second signal must not cut short what stops the engine.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _detach(own: session.Session, plan: "Plan") -> None:
    """A process of its own does what ``engine up`` does; we leave when it serves."""
    from service.engine.running import live_record

    folder = _folder(own)
    folder.make()
    running = live_record(folder)
    if running is not None and running.state != "failed":
        if running.fingerprint != plan.fingerprint:
            raise StateError(
                f"an engine with other settings runs ({running.model} on port {running.port}); "
                "stop it with `domainqa engine down`"
            )
        output.note("the engine runs already")
    with folder.supervisor_log.open("w") as log, Waiting() as waiting:
        child: subprocess.Popen[bytes] | None = None
        if running is None or running.state == "failed":
            child = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "service.cli.main", *_options(own), "engine", "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = _until_ready(folder, child, _moving(waiting))
    output.print_text(record.base_url)
    output.note("`domainqa engine down` stops it")


def _until_ready(
    folder: "EngineFolder", child: "subprocess.Popen[bytes] | None", progress: Callable[["StartProgress"], None]
) -> "EngineRecord":
    from service.engine.logfile import last_lines_of_run
    from service.engine.running import live_record
    from service.engine.supervisor import StartProgress
    from service.engine.words import plain

    began = time.monotonic()
    while True:
        record = live_record(folder)
        if record is not None and (child is None or record.supervisor.pid == child.pid):
            if record.state == "ready":
                return record
            if record.state == "failed":
                raise EngineUnavailableError(f"the engine is {record.words()}")
        if (child is not None and child.poll() is not None) or (child is None and record is None):
            said = folder.supervisor_log.read_text("utf-8", "replace").strip().splitlines()
            raise EngineUnavailableError(
                f"the engine's supervisor has ended: {said[-1].removeprefix('error: ') if said else 'it said nothing'}"
            )
        line = last_lines_of_run(folder.log, 1)
        progress(StartProgress(time.monotonic() - began, plain(line[0]) if line else ""))
        time.sleep(_POLL_S)


def _options(own: session.Session) -> list[str]:
    """This command line's global options, for a process of ours."""
    options = ["--home", str(own.home_folder().absolute())]
    if own.config is not None:
        options += ["--config", str(own.config.absolute())]
    if own.profile is not None:
        options += ["--profile", own.profile]
    return [*options, "--offline"] if own.is_offline() else options


def _folder(own: session.Session) -> "EngineFolder":
    from service.engine.record import EngineFolder

    return EngineFolder.of(own.home_folder())


def _print(record: "EngineRecord") -> None:
    output.print_text(record.words())
    rows = [
        ("model", record.model),
        ("address", record.base_url),
        ("since", _time(record.since)),
        ("restarts", str(record.restarts)),
        ("started by", f"domainqa {record.owner} (process {record.supervisor.pid})"),
    ]
    for name, value in rows:
        output.print_text(f"{name:<12}{output.one_line(value)}")


def _as_json(record: "EngineRecord | None") -> output.Json:
    if record is None:
        return {"state": "not running"}
    return {
        "state": record.state,
        "detail": record.words(),
        "since": _time(record.since),
        "base_url": record.base_url,
        "model": record.model,
        "restarts": record.restarts,
        "owner": record.owner,
        "supervisor_pid": record.supervisor.pid,
        "engine_pid": None if record.engine is None else record.engine.pid,
        "reason": record.reason,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
