"""Asking an engine whether it serves, and whether it lives. Blocking and quick: a second or two at most."""

from dataclasses import dataclass
from typing import Literal

import httpx

from rag.interfaces import Endpoint

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """``ready``: it serves the model under its name. ``not yet``: ask again. ``never``: asking again is no use."""

    outcome: Literal["ready", "not yet", "never"]
    why: str = ""


def is_served(endpoint: Endpoint, model: str) -> Served:
    try:
        answer = httpx.get(f"{endpoint.base_url}/models", headers=_headers(endpoint), timeout=_TIMEOUT_S)
    except httpx.HTTPError:
        return Served("not yet")
    if answer.status_code in (401, 403):
        return Served("never", "it refuses the key that it was given in VLLM_API_KEY, or another server has its port")
    if answer.status_code != 200:
        return Served("not yet")
    try:
        names = [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Served("never", f"what answers at {endpoint.base_url} is no OpenAI-compatible server")
    if model not in names:
        return Served("never", f"it serves {', '.join(names) or 'nothing'}, but generation.model is {model}")
    return Served("ready")


def is_responsive(endpoint: Endpoint) -> bool:
    """Any answer will do: a server that is overloaded, or has no such address, lives."""
    try:
        return httpx.get(f"{endpoint.base_url.removesuffix('/v1')}/health", timeout=_TIMEOUT_S).status_code != 503
    except httpx.HTTPError:
        return False


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
