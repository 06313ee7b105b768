"""What must be known of a model server before it is asked: its window, and how to count its tokens."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

import openai
from openai import OpenAI

from rag.config import GenerationSettings
from rag.errors import ConfigError
from rag.generation.server_address import NO_ACCOUNT, Link
from rag.generation.server_tokens import ApproximateTokenCounter, ServerTokenCounter
from rag.interfaces import Endpoint, TokenCounter
from rag.models import cached, default_cache

_TIMEOUT_S = 10.0


class ServerProbe:
    """Asks once and remembers; a server that isn't there yet is asked again the next time. Thread-safe, blocking."""

    def __init__(
        self,
        settings: GenerationSettings,
        link: Callable[[], Link],
        local_tokens: Callable[[], TokenCounter | None] | None,
    ) -> None:
        """``link`` finds the server before each request; where it isn't there, the error is raised from here."""
        self._settings = settings
        self._link = link
        self._local_tokens = local_tokens or (lambda: _cached_tokens(settings.model))
        self._client: OpenAI | None = None
        self._linked_to: Endpoint | None = None
        self._window: int | None = None
        self._tokens: TokenCounter | None = None
        self._lock = Lock()
        self._client_lock = Lock()

    def window(self) -> int:
        """The server's ``max_model_len``, or less where the settings say so."""
        with self._lock:
            if self._window is None:
                self._window = self._find_window()
            return self._window

    def tokens(self) -> TokenCounter:
        with self._lock:
            if self._tokens is None:
                self._tokens = self._find_tokens()
            return self._tokens

    def close(self) -> None:
        with self._client_lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _find_window(self) -> int:
        model, wanted = self._settings.model, self._settings.window
        # A server without this address is one that doesn't tell.
        listed = _entries(self._ask("GET", "models"))
        served = next((entry for entry in listed if entry.get("id") == model), {})
        limit = served.get("max_model_len")
        if not isinstance(limit, int):
            if wanted is None:
                names = ", ".join(str(entry.get("id")) for entry in listed) or "none"
                raise ConfigError(
                    f"the model server at {self._link().url} does not tell the window of {model} "
                    f"(models it lists: {names}); set generation.window"
                )
            return wanted
        if wanted is not None and wanted > limit:
            raise ConfigError(
                f"generation.window is {wanted}, but the model server at {self._link().url} serves {model} with {limit}"
            )
        return wanted or limit

    def _find_tokens(self) -> TokenCounter:
        model = self._settings.model
        if _count(self._ask("POST", "tokenize", {"model": model, "prompt": "a"})) is not None:
            return ServerTokenCounter(model, self._tokenize)
        return self._local_tokens() or ApproximateTokenCounter()

    def _tokenize(self, body: Mapping[str, object]) -> int:
        count = _count(self._ask("POST", "tokenize", body))
        if count is None:
            raise self._link().errors.translate(
                ValueError("`/tokenize` gave no count, though it did before"), self._settings.model
            )
        return count

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> object:
        """The parsed answer; ``None`` where the server has no such address. vLLM's `/tokenize` is beside `/v1`."""
        link = self._link()
        client = self._connected(link)
        try:
            if method == "GET":
                return client.get(f"/{path}", cast_to=object, options={"headers": link.headers})
            root = link.url.rstrip("/").removesuffix("/v1")
            return client.post(f"{root}/{path}", body=body, cast_to=object, options={"headers": link.headers})
        except openai.APIError as error:
            if isinstance(error, openai.APIStatusError) and error.status_code in (404, 405, 501):
                return None
            failure = link.errors.translate(error, self._settings.model)
        raise failure

    def _connected(self, link: Link) -> OpenAI:
        with self._client_lock:
            if self._client is None:
                self._client = OpenAI(
                    api_key=link.key,
                    base_url=link.url,
                    default_headers=NO_ACCOUNT,  # type: ignore[arg-type]
                    timeout=_TIMEOUT_S,
                    max_retries=self._settings.retries,
                )
            elif self._linked_to != link.endpoint:
                self._client = self._client.with_options(api_key=link.key, base_url=link.url)
            self._linked_to = link.endpoint
            return self._client


def _entries(answer: object) -> list[dict[str, object]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _count(answer: object) -> int | None:
    count = answer.get("count") if isinstance(answer, dict) else None
    return count if isinstance(count, int) else None


def _cached_tokens(model: str) -> TokenCounter | None:
    """The tokenizer of a model in the cache or in a local folder. Nothing is fetched for it."""
    folder: Path | None = cached(model, default_cache())
    if folder is None:
        return None
    from rag.generation.tokens import LocalTokenCounter, load_tokenizer  # brings transformers

    return LocalTokenCounter(load_tokenizer(folder, model), model)
