import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from rag.errors import ConfigError, EngineUnavailableError, StateError
from service.engine.identity import ProcessIdentity, identity_of, own_identity
from service.engine.locking import is_held
from service.engine.logfile import last_lines
from service.engine.record import EngineFolder, EngineRecord
from service.engine.running import RunningEngine


def is_running(pid: int) -> bool:
    return identity_of(pid) is not None


def workers_of(folder: EngineFolder) -> list[int]:
    line = next(line for line in last_lines(folder.log, 100) if line.startswith("workers "))
    return [int(word) for word in line.split()[1:]]


def ask(endpoint) -> int:
    return httpx.get(f"{endpoint.base_url}/models", headers={"Authorization": f"Bearer {endpoint.key}"}).status_code


def test_it_starts_tells_and_stops(engines) -> None:
    supervisor = engines(environment={"FAKE_SLOWNESS_S": "3"})
    supervisor.start()
    assert supervisor.state().startswith("starting, ")
    with pytest.raises(EngineUnavailableError, match="starting, "):
        supervisor.endpoint()
    endpoint = supervisor.wait_ready(20)
    assert (supervisor.state(), ask(endpoint)) == ("ok", 200)
    assert any(re.search(r"engine is starting, [1-9]\d* s: serving fake-model on", line) for line in engines.progress)
    assert RunningEngine(engines.home, "fake-model").endpoint() == endpoint
    pid = supervisor.record().engine.pid
    supervisor.stop()
    assert not is_running(pid)
    assert supervisor.state() == "stopped"
    folder = EngineFolder.of(engines.home)
    assert folder.read().state == "stopped"
    assert folder.key() is None
    assert not is_held(folder.lock)
    with pytest.raises(EngineUnavailableError, match="domainqa engine up"):
        RunningEngine(engines.home, "fake-model").endpoint()


def test_a_server_of_another_model_is_not_taken_for_ours(engines) -> None:
    with engines() as supervisor:
        supervisor.wait_ready(20)
        with pytest.raises(EngineUnavailableError, match=r"serves fake-model, but generation\.model is other-model"):
            RunningEngine(engines.home, "other-model").endpoint()


def test_killed_it_is_started_again_with_another_key(engines, eventually) -> None:
    with engines() as supervisor:
        first = supervisor.wait_ready(20)
        os.kill(supervisor.record().engine.pid, signal.SIGKILL)
        eventually(lambda: supervisor.state() != "ok")
        second = supervisor.wait_ready(20)
        assert ask(second) == 200
        assert second.key != first.key
        assert supervisor.record().restarts == 1
    assert "killed by SIGKILL" in " ".join(engines.notes)


def test_the_waits_between_restarts_double(engines, eventually) -> None:
    with engines(environment={"FAKE_LIFETIME_S": "0.1"}, max_quick_deaths=6) as supervisor:
        eventually(lambda: supervisor.state().startswith("given up: "))
    waits = [note.rpartition("again in ")[2] for note in engines.notes if "again in" in note]
    assert waits == ["0.05 s", "0.1 s", "0.2 s", "0.4 s", "0.4 s"]


def test_quick_deaths_end_it_with_the_servers_own_words(engines) -> None:
    with engines("dies at once", max_quick_deaths=2) as supervisor:
        with pytest.raises(EngineUnavailableError) as caught:
            supervisor.wait_ready(20)
        told = str(caught.value)
        assert "exit code 3" in told
        assert "ValueError: the weights are upside down" in told
        assert "2 times in a row" in told
        assert "domainqa engine logs" in told
        assert supervisor.state().startswith("given up: ")
        assert len([line for line in last_lines(EngineFolder.of(engines.home).log, 100) if "ValueError" in line]) == 2
        with pytest.raises(EngineUnavailableError):
            supervisor.wait()


def test_a_long_life_makes_quick_deaths_forgotten(engines, eventually) -> None:
    settings = {"max_quick_deaths": 2, "quick_death_s": 0.2}
    with engines(environment={"FAKE_LIFETIME_S": "0.8"}, **settings) as supervisor:
        eventually(lambda: supervisor.record() is not None and supervisor.record().restarts >= 3)


def test_a_command_that_cannot_be_run_is_told(engines) -> None:
    with (
        engines(command=["/nowhere/vllm"], max_quick_deaths=1) as supervisor,
        pytest.raises(EngineUnavailableError, match="/nowhere/vllm cannot be started"),
    ):
        supervisor.wait_ready(20)


def test_a_server_that_is_never_ready_is_killed(engines, eventually) -> None:
    with engines("never ready", start_timeout_s=0.5, max_quick_deaths=1) as supervisor:
        with pytest.raises(EngineUnavailableError, match=r"engine\.start_timeout_s"):
            supervisor.wait_ready(20)
        assert supervisor.record().engine is None


def test_a_server_that_hangs_is_started_again(engines, eventually) -> None:
    environment = {"FAKE_HANGS_AFTER_S": "0.5"}
    with engines(environment=environment, unresponsive_after_s=1.0) as supervisor:
        supervisor.wait_ready(20)
        eventually(lambda: any("did not answer for" in note for note in engines.notes))


def test_a_server_of_the_wrong_model_is_given_up_at_once(engines) -> None:
    with engines(command=[*engines.plan().engine.command[:3], "another-model"]) as supervisor:
        with pytest.raises(EngineUnavailableError, match=r"it serves another-model, but generation\.model is"):
            supervisor.wait_ready(20)
        assert supervisor.record().restarts == 0


@pytest.mark.parametrize("fault", ["", "ignores SIGTERM", "has workers"])
def test_a_stop_leaves_no_process(engines, fault: str) -> None:
    with engines(fault, stop_timeout_s=1.0) as supervisor:
        supervisor.wait_ready(20)
        pids = [supervisor.record().engine.pid]
        if fault == "has workers":
            pids += workers_of(EngineFolder.of(engines.home))
            assert len(pids) == 3
        assert all(map(is_running, pids))
    assert not any(map(is_running, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to the guardian")
def test_a_death_takes_the_workers_along(engines, eventually) -> None:
    with engines("has workers") as supervisor:
        supervisor.wait_ready(20)
        workers = workers_of(EngineFolder.of(engines.home))
        os.kill(supervisor.record().engine.pid, signal.SIGKILL)
        eventually(lambda: not any(map(is_running, workers)))
        supervisor.wait_ready(20)


SUPERVISED = """
import sys
from pathlib import Path
from rag.config import EngineSettings
from service.engine.command import Hardware, Plan
from service.engine.supervisor import Supervisor
fake, home = sys.argv[1:]
engine = EngineSettings(port=0, command=[sys.executable, fake, "{port}", "{name}"],
                        environment={"FAKE_FAULT": "has workers"}, stop_timeout_s=1.0)
plan = Plan(engine, "fake-model", Path("/nowhere"), Path(sys.executable), Hardware("other"))
supervisor = Supervisor(Path(home), plan, "serve")
supervisor.start()
supervisor.wait_ready()
print(supervisor.record().engine.pid, flush=True)
supervisor.wait()
"""


@pytest.fixture
def other_process(engines):
    """A process that supervises an engine of this home; it tells the engine's pid."""
    fake = engines.plan().engine.command[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, fake, str(engines.home)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def test_nothing_outlives_a_supervisor_that_was_killed(engines, other_process, eventually) -> None:
    process, engine = other_process
    folder = EngineFolder.of(engines.home)
    pids = [engine, *workers_of(folder)]
    assert all(map(is_running, pids))
    process.kill()
    eventually(lambda: not any(map(is_running, pids)))
    eventually(lambda: not is_held(folder.lock))
    assert RunningEngine(engines.home, "fake-model").state().startswith("not running")


def test_of_two_on_a_home_the_second_is_refused_or_follows(engines, other_process, eventually) -> None:
    process, engine = other_process
    same = {"environment": {"FAKE_FAULT": "has workers"}}
    with pytest.raises(StateError, match="the engine already runs: fake-model at"):
        engines(**same, stop_timeout_s=1.0).start()
    with pytest.raises(StateError, match="an engine with other settings runs"):
        engines(owner="serve").start()
    with engines(**same, owner="serve") as follower:
        assert ask(follower.wait_ready(20)) == 200
        assert follower.record().engine.pid == engine
        # Whoever ran it is gone: we run it from now on.
        process.kill()
        eventually(lambda: follower.record().supervisor == own_identity())
        assert ask(follower.wait_ready(20)) == 200


def test_one_that_follows_stops_nothing(engines, other_process) -> None:
    _, engine = other_process
    with engines(environment={"FAKE_FAULT": "has workers"}, owner="serve") as follower:
        follower.wait_ready(20)
    assert is_running(engine)
    assert EngineFolder.of(engines.home).read().state == "ready"
    assert RunningEngine(engines.home, "fake-model").state() == "ok"


def test_a_port_of_another_program_is_told_before_anything_starts(engines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"engine.port {port} on 127.0.0.1 is taken by another program"):
            engines(port=port).start()
    assert EngineFolder.of(engines.home).read() is None
    with engines(port=port) as supervisor:  # nothing was left locked
        assert supervisor.wait_ready(20).base_url == f"http://127.0.0.1:{port}/v1"


def test_two_homes_never_share_a_port(engines, tmp_path: Path) -> None:
    with engines("never ready") as first:
        # It has bound nothing yet, and has its port nevertheless.
        while first.record() is None:
            time.sleep(0.01)
        port = first.record().port
        with pytest.raises(ConfigError, match=f"engine.port {port} on 127.0.0.1 is the port of an engine in another"):
            engines(home=tmp_path / "other", port=port).start()


def test_a_process_that_got_the_pid_of_an_old_engine_lives_on(engines) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        folder = EngineFolder.of(engines.home)
        folder.make()
        now = identity_of(stranger.pid)
        before = ProcessIdentity(stranger.pid, f"{now.started}0")
        record = EngineRecord("ready", 0.0, "serve", before, "127.0.0.1", 1, "m", "f", engine=before)
        folder.write(record)
        assert folder.read() == record
        with engines() as supervisor:
            supervisor.wait_ready(20)
        assert stranger.poll() is None
        assert not before.signal(signal.SIGKILL, group=True)
        # The same file with the right start time: this one is ours to end.
        folder.write(EngineRecord("ready", 0.0, "serve", before, "127.0.0.1", 1, "m", "f", engine=now))
        with engines() as supervisor:
            assert stranger.wait(10) == -signal.SIGKILL
            supervisor.wait_ready(20)


def test_the_key_is_nowhere_but_in_its_file(engines, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with engines("tells its key") as supervisor:
        endpoint = supervisor.wait_ready(20)
        folder = EngineFolder.of(engines.home)
        files = {path.name: path for path in folder.path.iterdir()}
        assert files["key"].read_text() == endpoint.key
        assert {path.stat().st_mode & 0o777 for name, path in files.items() if name in ("key", "state.json")} == {0o600}
        assert folder.path.stat().st_mode & 0o777 == 0o700
        told = [path.read_bytes() for name, path in files.items() if name != "key"]
        told += [
            repr(endpoint).encode(),
            repr(supervisor).encode(),
            caplog.text.encode(),
            *map(str.encode, engines.notes),
        ]
        for pid in (supervisor.record().engine.pid, os.getpid()):
            told.append(Path(f"/proc/{pid}/cmdline").read_bytes() if sys.platform == "linux" else b"")
        assert not any(endpoint.key.encode() in content for content in told)
        assert "the key is ***" in last_lines(folder.log, 10)
