"""What an OpenAI-compatible server's failures mean to our caller, told without the engine's key."""

import email.utils
import time
from dataclasses import dataclass

import openai

from rag.errors import (
    DoesNotFitError,
    DomainQAError,
    EngineBusyError,
    EngineFaultError,
    EngineUnavailableError,
    NotFoundError,
    NotSupportedError,
)
from rag.types import Sampling

_RETRY_AFTER_S = 1.0
_LONGEST_MESSAGE = 300
_NOT_SUPPORTED = (400, 422, 501)
"""What servers answer to a `response_format` they don't know. The request is otherwise one of ours, and right."""


class StreamCutShort(Exception):
    """The server closed the stream before it said why the answer ends."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Knows the server's address, and the key in order to keep it out of what is said.

    ``key_name`` is the variable that the operator keeps the key in; ``None`` where we run the server ourselves.
    """

    url: str
    key: str | None
    key_name: str | None

    def __repr__(self) -> str:
        return f"Translator({self.url!r})"

    def translate(
        self,
        error: Exception,
        model: str,
        adapter: str | None = None,
        sampling: Sampling | None = None,
        begun: bool = False,
    ) -> DomainQAError:
        """To be raised outside the ``except`` block: the library's error may quote the request.

        ``begun``: a part of the answer had come already.
        """
        if isinstance(error, openai.APIStatusError):
            return self._of_status(error, model, adapter, sampling is not None and sampling.json_schema is not None)
        if isinstance(error, openai.APIConnectionError):
            what = "broke off in the middle of the answer" if begun else "cannot be reached"
            # The supervisor, which starts it again, says more as soon as it has seen that it died.
            advice = "ask again" if self.key_name is None else "start it, or mend generation.base_url"
            return EngineUnavailableError(
                f"the model server at {self.url} {what} ({self._clean(str(error.__cause__ or error))}); {advice}"
            )
        if isinstance(error, openai.APIError):
            return EngineFaultError(f"the model server at {self.url} failed: {self._message(error)}")
        if isinstance(error, StreamCutShort):
            return EngineFaultError(
                f"the model server at {self.url} closed the stream before the answer's end; "
                "see its log, and whether generation.base_url is the API's address (it mostly ends in /v1)"
            )
        return EngineFaultError(
            f"the model server at {self.url} answered what no OpenAI-compatible server does: "
            f"{type(error).__name__}: {self._clean(str(error))}"
        )

    def _of_status(
        self, error: openai.APIStatusError, model: str, adapter: str | None, structured: bool
    ) -> DomainQAError:
        status, message = error.status_code, self._message(error)
        if status == 429:
            wait_s = retry_after_s(error.response.headers.get("retry-after"))
            return EngineBusyError(
                f"the model server at {self.url} is busy ({message}); come back in {wait_s:g} s", wait_s
            )
        if status == 404 and adapter is not None:
            return NotFoundError(f"the model server at {self.url} has no adapter {adapter!r}: {message}")
        if error.code == "context_length_exceeded" or (status == 400 and "maximum context length" in message):
            return DoesNotFitError(f"the prompt does not fit the window of {model}: {message}")
        if structured and status in _NOT_SUPPORTED:
            return NotSupportedError(
                f"the model server at {self.url} refused a request for JSON of a schema with {status}: {message}"
            )
        if status == 503:
            return EngineUnavailableError(f"the model server at {self.url} is not ready: {message}")
        refused = status in (401, 403) and self.key_name is not None
        hint = f"; the key is read from the environment variable {self.key_name}" if refused else ""
        return EngineFaultError(f"the model server at {self.url} answered {status}: {message}{hint}")

    def _message(self, error: openai.APIError) -> str:
        """The server's own words where its body has them."""
        body = error.body
        own = body.get("message") if isinstance(body, dict) else None
        return self._clean(own if isinstance(own, str) and own else error.message)

    def _clean(self, text: str) -> str:
        line = " ".join(text.split())
        if self.key:
            line = line.replace(self.key, "***")
        return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def is_transient(error: Exception) -> bool:
    """Whether another try may help. A busy server is not asked again: our caller knows better whether to wait."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (408, 409) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | StreamCutShort)


def retry_after_s(header: str | None) -> float:
    """Seconds from a `Retry-After` header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return _RETRY_AFTER_S
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return _RETRY_AFTER_S
    return seconds if 0 <= seconds < 86_400 else _RETRY_AFTER_S
