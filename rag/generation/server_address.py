"""Where a model server is and what a client of it must be given: one that stays put, or one that comes and goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from openai import Omit, omit

from rag.config import GenerationSettings
from rag.errors import ConfigError
from rag.generation.server_errors import Translator
from rag.interfaces import Endpoint, ModelServer

# What the library would otherwise take from this machine's environment and send to any server.
NO_ACCOUNT: dict[str, str | Omit] = {"OpenAI-Organization": omit, "OpenAI-Project": omit}
# And what it wants to be told with each request that goes without a key.
_NO_KEY: dict[str, str | Omit] = {"Authorization": omit}


class FixedServer:
    """A server that somebody else runs, at ``generation.base_url``."""

    def __init__(self, settings: GenerationSettings, environment: Mapping[str, str]) -> None:
        """Raises ``ConfigError`` for an address that is none."""
        key = environment.get(settings.api_key_env) or None
        self._endpoint = Endpoint(_checked_url(settings.base_url), key)

    def __repr__(self) -> str:
        return self._endpoint.base_url

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def state(self) -> str:
        return "ok"


@dataclass(frozen=True, slots=True)
class Link:
    """One look at where the server is, valid for one request."""

    endpoint: Endpoint
    errors: Translator

    @staticmethod
    def to(server: ModelServer, key_name: str | None) -> "Link":
        """``key_name`` is the variable that the operator keeps the key in; ``None`` where the server is ours."""
        endpoint = server.endpoint()
        return Link(endpoint, Translator(endpoint.base_url, endpoint.key, key_name))

    @property
    def url(self) -> str:
        return self.endpoint.base_url

    @property
    def key(self) -> str:
        """Given even where there is none: the ``openai`` library would look for one of its own in the environment."""
        return self.endpoint.key or "none"

    @property
    def headers(self) -> dict[str, str | Omit]:
        """To go with each request."""
        return {} if self.endpoint.key else _NO_KEY


def _checked_url(url: str | None) -> str:
    if url is None:
        raise ConfigError("generation.base_url is not set; the engine 'openai' needs a server's address")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"generation.base_url ({parts.scheme}://***@{parts.hostname}) holds credentials; "
            "put the key into the environment variable named by generation.api_key_env"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"generation.base_url is {url!r}; it should read like http://127.0.0.1:8000/v1")
    return url
