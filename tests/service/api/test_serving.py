"""Taking a port, refusing what is unsafe, and ending gracefully."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request

import httpx
import pytest

from rag.errors import ConfigError
from service.api.app import check_bind
from service.api.serving import bind, url_of

# Runs in a process of its own, since signals belong to a process's main thread.
PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from rag.adapters import KnownAdapters
from rag.config import Settings
from service.api.serving import serve

async def aclose():
    print("closed", flush=True)

library = SimpleNamespace(settings=Settings(), answerer=None, adapters=KnownAdapters({}), aclose=aclose,
    home=Path("."), catalog=SimpleNamespace(keys=SimpleNamespace(list=lambda: [], exist=lambda: False)))
serve(library, "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
print("returned", flush=True)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_may_be_bound(host):
    check_bind(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "example.com", "localhost.example.com", "*"])
def test_other_hosts_are_refused(host):
    with pytest.raises(ConfigError, match="no access keys"):
        check_bind(host)
    with pytest.raises(ConfigError):
        bind(host, 0)


def test_a_busy_port_is_one_clear_line():
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: Address already in use") as caught:
            bind("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_the_address_is_where_it_listens():
    with bind("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
    if socket.has_ipv6:
        try:
            listener = bind("::1", 0)
        except ConfigError:
            pytest.skip("this machine has no IPv6")
        with listener:
            assert url_of(listener).startswith("http://[::1]:")


# An answer of three words, each a moment after the one before.
SLOW_PROGRAM = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from rag.adapters import KnownAdapters
from rag.config import ServerSettings, Settings
from rag.types import Answer, Finished, TextDelta, Usage
from service.api.serving import serve

async def aclose():
    print("closed", flush=True)

class Answerer:
    async def stream(self, question):
        for word in ("one ", "two ", "three"):
            yield TextDelta(word)
            await asyncio.sleep(0.4)
        yield Finished(Answer(
            "one two three", False, "base", "m", (), (), (), None, None, "stop", Usage(1, 1), {"total": 1.0}))

settings = Settings(server=ServerSettings(drain_s=float(sys.argv[1])))
library = SimpleNamespace(settings=settings, answerer=Answerer(), adapters=KnownAdapters({}), aclose=aclose,
    home=Path("."), catalog=SimpleNamespace(keys=SimpleNamespace(list=lambda: [], exist=lambda: False)))
serve(library, "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize(("drain_s", "ends_with"), [("5", "[DONE]"), ("0.3", '"stopping"}}')])
def test_a_running_stream_ends_within_the_drain_or_is_cut_and_told(drain_s, ends_with):
    process = subprocess.Popen([sys.executable, "-c", SLOW_PROGRAM, drain_s], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = {"messages": [{"role": "user", "content": "?"}], "stream": True}
        with httpx.stream("POST", f"{url}v1/chat/completions", json=body, timeout=10) as response:
            lines = response.iter_lines()
            while "one" not in next(lines):
                pass
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}healthz")
            *_, last = [line for line in lines if line]
        process.wait(20)
    assert last.endswith(ends_with)


@pytest.mark.parametrize(
    ("sent", "code", "returns"), [(signal.SIGINT, 0, True), (signal.SIGTERM, -signal.SIGTERM, False)]
)
def test_a_signal_ends_it_gracefully(sent, code, returns):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}healthz", timeout=10) as response:
            assert response.status == 200
        process.send_signal(sent)
        rest = process.stdout.read().split()
        assert process.wait(20) == code
    assert rest == (["closed", "returned"] if returns else ["closed"])
