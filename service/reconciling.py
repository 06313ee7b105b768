"""Keeps a vLLM server's adapters equal to the registry: the registry is the truth, whatever happens to the server.

What the server has is read from its own list each time, so that a restart, ours or anybody's, needs no special case.
Only adapters that lie in this registry are ever unloaded.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, RLock, Thread

from finetune.adapters import AdapterRegistry
from finetune.fitting import Base, base_misfits, in_words, read_adapter, read_base, same_model, vllm_misfits
from rag.errors import DomainQAError, EngineError, EngineUnavailableError, ModelError
from rag.interfaces import Endpoint
from rag.models import cached, default_cache
from rag.types import AdapterManifest, Failure
from service.loading import AdapterLoader, ServedModel

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often the registry is looked at; that costs microseconds."""
_ASK_S = 5.0
"""How often a server that somebody else runs is asked, for we don't hear of its restarts."""
_STOP_S = 5.0
_RETRY_S = 60.0
"""When an adapter that the server failed to load is tried again without being asked for."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one comparison did, by the adapters' names. ``failed`` has the reason of each."""

    loaded: tuple[str, ...] = ()
    unloaded: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why an adapter is not served, and when to try again. ``final``: nothing changes until it or the base does."""

    reason: str
    final: bool
    again_at: float = math.inf


class Reconciler:
    """Thread-safe. ``start`` watches registry and server until ``stop``; without it, ``require`` does what it must."""

    def __init__(
        self,
        registry: AdapterRegistry,
        loader: AdapterLoader,
        model: str,
        *,
        max_rank: int | None = None,
        refusal: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``model`` is the base as the server names it; ``max_rank`` its limit, ``None`` where nobody told us.

        ``refusal`` is why this server takes no adapters at all.
        """
        self._registry = registry
        self._loader = loader
        self._model = model
        self._max_rank = max_rank
        self._refusal = refusal
        self._now = now
        self._lock = RLock()
        self._at: Endpoint | None = None
        """Where the server was at the last comparison; ``None`` where that failed."""
        self._served: frozenset[str] = frozenset()
        self._problems: dict[tuple[str, str, str], _Problem] = {}
        self._reasons: dict[str, str] = {}
        self._wake = Event()
        self._stopped = Event()
        self._thread: Thread | None = None
        self._thread_lock = Lock()

    # --- comparing --------------------------------------------------------------------------------

    def reconcile(self, *, try_again: bool = False) -> Reconciled:
        """Compare once. One adapter's failure doesn't stop the others; a server that can't be asked fails them all.

        ``try_again`` also loads what the server failed to load a moment ago.
        """
        with self._lock:
            manifests = self._registry.list()
            try:
                at = self._loader.endpoint()
                served = self._loader.served()
            except EngineError as error:
                self._at, self._served = None, frozenset()
                # Another server may come up in its place: what this one failed to do says nothing.
                self._problems = {key: problem for key, problem in self._problems.items() if problem.final}
                return self._done(Reconciled(failed=tuple(Failure(each.name, str(error)) for each in manifests)))
            result = self._compare(manifests, served, try_again)
            self._at, self._served = at, frozenset((*result.loaded, *result.kept))
            return self._done(result)

    def _compare(
        self, manifests: tuple[AdapterManifest, ...], served: tuple[ServedModel, ...], try_again: bool
    ) -> Reconciled:
        by_name = {each.name: each for each in served}
        ours = {each.name for each in served if each.parent is not None and self._is_ours(each)}
        registered = {each.name for each in manifests}
        loaded, unloaded, kept = [], [], []
        failed = list(self._registry.broken())
        for name in sorted(ours - registered - {failure.source for failure in failed}):
            try:
                self._loader.unload(name)
                unloaded.append(name)
            except EngineError as error:
                failed.append(Failure(name, f"it cannot be unloaded: {error}"))
        for manifest in manifests:
            name = manifest.name
            if name in ours:
                kept.append(name)
            elif name in by_name:
                failed.append(Failure(name, f"the server has another model of this name, from {by_name[name].root}"))
            elif (reason := self._load(manifest, served, try_again)) is None:
                loaded.append(name)
            else:
                failed.append(Failure(name, reason))
        return Reconciled(tuple(loaded), tuple(unloaded), tuple(kept), tuple(failed))

    def _load(self, manifest: AdapterManifest, served: tuple[ServedModel, ...], try_again: bool) -> str | None:
        """Why it was not loaded, ``None`` if it was."""
        root = next((each.root for each in served if each.name == self._model and each.parent is None), None)
        try:
            base = served_base(root, self._model)
        except ModelError as error:
            return str(error)
        key = (manifest.name, manifest.created_at, base.weights_hash if base is not None else str(root))
        known = self._problems.get(key)
        if known is not None and not (try_again and not known.final) and self._now() < known.again_at:
            return known.reason
        problem = None
        try:
            reason = self._refusal or misfit(self._registry, manifest, base, self._model)
            reason = reason or _joined(vllm_misfits(read_adapter(self._registry.folder(manifest.name)), self._max_rank))
            if reason:
                problem = _Problem(reason, final=True)
            else:
                self._loader.load(manifest.name, self._registry.folder(manifest.name).resolve())
        except ModelError as error:
            problem = _Problem(str(error), final=True)
        except EngineError as error:
            problem = _Problem(str(error), final=False, again_at=self._now() + _RETRY_S)
        if problem is None:
            self._problems.pop(key, None)
            return None
        self._problems[key] = problem
        return problem.reason

    def _is_ours(self, model: ServedModel) -> bool:
        return model.root is not None and Path(model.root) == self._registry.folder(model.name).resolve()

    def _done(self, result: Reconciled) -> Reconciled:
        reasons = {failure.source: failure.reason for failure in result.failed}
        for name in result.loaded:
            logger.info("loaded the adapter %s", name)
        for name in result.unloaded:
            logger.info("unloaded the adapter %s", name)
        for name, reason in reasons.items():
            if self._reasons.get(name) != reason:
                logger.warning("the adapter %s is not served: %s", name, reason)
        self._reasons = reasons
        return result

    # --- asking -----------------------------------------------------------------------------------

    def problems(self) -> Mapping[str, str]:
        """The adapters that were not served at the last comparison, with the reason."""
        return dict(self._reasons)

    def require(self, manifest: AdapterManifest) -> None:
        """Make sure that the server has it. Raises ``ModelError`` where it doesn't fit, else ``EngineError``."""
        if manifest.name in self._served and self._loader.endpoint() == self._at:
            return
        with self._lock:
            if manifest.name in self._served and self._loader.endpoint() == self._at:
                return  # another request waited for the same
            self.reconcile(try_again=True)
            if manifest.name in self._served:
                return
            reason = self._reasons.get(manifest.name, "it is no longer registered")
            final = any(
                key[0] == manifest.name and each.final and each.reason == reason for key, each in self._problems.items()
            )
        if self._at is not None and final:
            raise ModelError(f"the adapter {manifest.name} cannot be served: {reason}")
        raise EngineUnavailableError(f"the adapter {manifest.name} is not loaded: {reason}")

    # --- watching ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Watch on a thread of our own."""
        with self._thread_lock:
            assert self._thread is None, "it is watching already"
            self._stopped.clear()
            self._thread = Thread(target=self._watch, name="reconciling", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Compare soon: the server has started, or the registry has changed."""
        self._wake.set()

    def stop(self) -> None:
        """Idempotent. Waits a little for a load that is under way."""
        with self._thread_lock:
            thread, self._thread = self._thread, None
        self._stopped.set()
        self._wake.set()
        if thread is not None:
            thread.join(_STOP_S)

    def _watch(self) -> None:
        seen: object = None
        asked_at = -math.inf
        woken = True
        while not self._stopped.is_set():
            try:
                state = (self._registry.list(), self._endpoint())
                # Without an adapter there is nothing that a restart could lose.
                due = state[0] and self._now() - asked_at >= _ASK_S
                if woken or due or state != seen:
                    asked_at = self._now()
                    self.reconcile()
                    seen = state
            except DomainQAError as error:
                logger.warning("the adapters cannot be compared: %s", error)
            except Exception:
                logger.exception("unexpected error while adapters were compared; trying again")
            woken = self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _endpoint(self) -> Endpoint | None:
        try:
            return self._loader.endpoint()
        except EngineError:
            return None


def served_base(root: str | None, reference: str) -> Base | None:
    """The base model that is served, if its files lie on this machine. ``root`` is where the server says it is."""
    folder = Path(root) if root is not None else None
    if folder is None or not folder.is_absolute() or not (folder / "config.json").is_file():
        folder = cached(reference, default_cache())
    return read_base(folder, reference) if folder is not None else None


def misfit(registry: AdapterRegistry, manifest: AdapterManifest, base: Base | None, reference: str) -> str | None:
    """Why the adapter can't be put on this base, or ``None``. Reads every byte of the adapter.

    Where the base's files are elsewhere (``None``), only its name can be compared.
    """
    if base is None:
        if not same_model(manifest.base, reference):
            return f"it was made for {manifest.base}, but {reference} is served"
    elif manifest.base_type != base.model_type:
        return f"it was made for a model of type {manifest.base_type}, but {reference} is of type {base.model_type}"
    elif manifest.base_hash != base.weights_hash:
        return (
            f"it was made for {manifest.base} with the weights {manifest.base_hash[:12]}, but {reference} is served "
            f"with the weights {base.weights_hash[:12]}; serve its own base, or register it for this one with --base"
        )
    try:
        registry.verify(manifest.name)
        adapter = read_adapter(registry.folder(manifest.name))
    except DomainQAError as error:
        return str(error)
    return _joined(base_misfits(adapter, base)) if base is not None else None


def _joined(reasons: list[str]) -> str | None:
    return in_words(reasons) if reasons else None
