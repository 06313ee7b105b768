"""Whom a service without keys answers: this machine, and no page but our own.

It listens on loopback, so a web page elsewhere must not be able to use it through the reader's browser: the Host
header must name this machine (against DNS rebinding), and a request that changes or costs something must not come
from another page (against cross-site requests). Where keys are demanded none of this is needed: a page elsewhere has
no key, and browsers add none by themselves.
"""

import ipaddress

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import Scope

from service.api.errors import refusal

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_LONGEST_PORT = 5


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Origins:
    def __init__(self, host: str) -> None:
        """``host`` is what we listen on."""
        self._hosts = {*LOOPBACK_NAMES, f"[{host}]" if ":" in host else host.lower()}

    def refusal(self, scope: Scope) -> JSONResponse | None:
        """``None`` for a request of this machine's."""
        client = scope.get("client")
        if client is not None and not is_loopback(client[0]):
            return refusal(403, "without keys this service answers its own machine only", "host")
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if _name(host) not in self._hosts:
            return refusal(403, f"this service does not answer to the host name {_name(host)[:100]!r}", "host")
        if scope["method"] not in SAFE_METHODS:
            origin = headers.get("origin")
            if origin is not None and origin.lower().partition("://")[2] != host:
                return refusal(403, f"requests from the page {origin[:100]!r} are not accepted", "origin")
            if origin is None and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return refusal(403, "requests from other pages are not accepted", "origin")
        return None


def _name(host: str) -> str:
    """The host without its port; IPv6 addresses keep their brackets."""
    name, separator, port = host.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= _LONGEST_PORT
    return name if separator and is_port else host
