"""vLLM's own addresses for adapters: which it serves, load one, unload one. Knows nothing of the registry.

They are there when the server was started with ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from rag.errors import EngineFaultError, EngineTimeoutError, EngineUnavailableError
from rag.interfaces import Endpoint, ModelServer

_LIST_TIMEOUT_S = 5.0
_LOAD_TIMEOUT_S = 120.0
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An entry of the server's list. An adapter has a ``parent``; its ``root`` is the folder it came from."""

    name: str
    root: str | None
    parent: str | None


class AdapterLoader:
    """Blocking and thread-safe. Raises the ``EngineError`` family only."""

    def __init__(self, server: ModelServer, transport: httpx.BaseTransport | None = None) -> None:
        self._server = server
        # No connection is kept: they would be asked for every few seconds, and nobody closes us in a command line.
        self._client = httpx.Client(transport=transport, limits=httpx.Limits(max_keepalive_connections=0))

    def endpoint(self) -> Endpoint:
        """Where the server is now; another one after each start of an engine of ours. Asks nobody."""
        return self._server.endpoint()

    def served(self) -> tuple[ServedModel, ...]:
        answer = self._ask("GET", "models", None, _LIST_TIMEOUT_S)
        try:
            entries = answer.json()["data"]
            return tuple(ServedModel(each["id"], each.get("root"), each.get("parent")) for each in entries)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineFaultError(f"the model server at {answer.url} gave no list of models") from error

    def load(self, name: str, folder: Path) -> None:
        """``folder`` is read by the server, so it must lie on the server's machine too."""
        self._ask("POST", "load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}, _LOAD_TIMEOUT_S)

    def unload(self, name: str) -> None:
        self._ask("POST", "unload_lora_adapter", {"lora_name": name}, _LOAD_TIMEOUT_S)

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None, timeout_s: float) -> httpx.Response:
        endpoint = self._server.endpoint()
        url = f"{endpoint.base_url.rstrip('/')}/{path}"
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        try:
            answer = self._client.request(method, url, json=body, headers=headers, timeout=timeout_s)
        except httpx.TimeoutException as error:
            raise EngineTimeoutError(f"{url} did not answer within {timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise EngineUnavailableError(f"{url} cannot be reached: {error}") from error
        if answer.is_success:
            return answer
        message = _message(answer, endpoint.key)
        # vLLM's routes for adapters say more than this when something of theirs isn't found.
        if answer.status_code in (404, 405) and body is not None and message in ("Not Found", "Method Not Allowed"):
            raise EngineFaultError(
                f"the model server at {endpoint.base_url} loads no adapters while it runs; it must be a vLLM that was "
                "started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )
        if answer.status_code == 503:
            raise EngineUnavailableError(f"{url} is not ready: {message}")
        raise EngineFaultError(f"{url} answered {answer.status_code}: {message}")


def _json(answer: httpx.Response) -> Mapping[str, object]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _message(answer: httpx.Response, key: str | None) -> str:
    """The server's own words, in one line, without our key."""
    body = _json(answer)
    error = body.get("error")
    said = error.get("message") if isinstance(error, dict) else body.get("detail")
    line = " ".join((said if isinstance(said, str) else answer.text).split())
    if key:
        line = line.replace(key, "***")
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
