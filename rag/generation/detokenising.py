"""Token ids to text, piece by piece: whole characters only, and nothing from a stop string on."""

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"


class Detokeniser:
    """The pieces that ``push`` and ``finish`` give concatenate to the text of all tokens, cut before the first stop.

    A character whose bytes come in several tokens is held back until it is whole; bytes that never become one are
    left out. ``decode`` turns ids into text without special tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        self._ids: list[int] = []
        # What a token reads as may depend on those before it, so the window starts a little before the new ones.
        self._window_start = 0
        self._decoded_end = 0
        self._held = ""
        self.stopped = False
        """A stop string came: nothing more will be given."""

    def push(self, token_id: int) -> str:
        self._ids.append(token_id)
        before = self._decode(self._ids[self._window_start : self._decoded_end])
        after = self._decode(self._ids[self._window_start :])
        if after.endswith(_BROKEN) or len(after) <= len(before):
            return ""
        self._window_start = self._decoded_end
        self._decoded_end = len(self._ids)
        return self._release(after[len(before) :].replace(_BROKEN, ""))

    def finish(self) -> str:
        """The rest, once no more tokens come."""
        before = self._decode(self._ids[self._window_start : self._decoded_end])
        after = self._decode(self._ids[self._window_start :])
        text = self._release(after[len(before) :].replace(_BROKEN, ""))
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        text, self._held = self._held + text, ""
        found = [position for position in (text.find(stop) for stop in self._stop) if position >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
