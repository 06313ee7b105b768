"""The registry's adapters as the answer flow asks for them, whichever engine answers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from finetune.adapters import AdapterRegistry
from finetune.fitting import in_words, read_adapter, read_base, vllm_misfits
from rag.config import Settings
from rag.errors import ModelError
from rag.interfaces import Endpoint, ModelServer
from rag.models import cached, default_cache, resolve
from rag.types import Adapter, AdapterManifest
from service.loading import AdapterLoader
from service.reconciling import Reconciler, misfit


class Readiness(Protocol):
    """What makes an engine ready for an adapter."""

    def require(self, manifest: AdapterManifest) -> None:
        """Returns when the adapter can be asked. Raises ``ModelError`` or ``EngineError`` where it can't."""
        ...

    def problems(self) -> Mapping[str, str]:
        """The adapters known not to be ready, with the reason."""
        ...


class RegisteredAdapters:
    """An ``AdapterSource`` over the registry. Thread-safe."""

    def __init__(self, registry: AdapterRegistry, readiness: Readiness) -> None:
        self.registry = registry
        self.readiness = readiness

    def names(self) -> Sequence[str]:
        problems = self.readiness.problems()
        names = [each.name for each in self.registry.list() if each.name not in problems]
        labels = [label for label, history in self.registry.labels().items() if history[-1] in names]
        return sorted([*names, *labels])

    def find(self, reference: str) -> Adapter | None:
        name = self.registry.resolve(reference)
        if name is None:
            return None
        self.readiness.require(self.registry.get(name))
        return Adapter(name, str(self.registry.folder(name).resolve()))


class LocalReadiness:
    """For the engine in this process, which loads a folder itself: each adapter is checked once."""

    def __init__(self, registry: AdapterRegistry, model: str) -> None:
        self._registry = registry
        self._model = model
        self._checked: dict[tuple[str, str], str | None] = {}
        self._lock = Lock()

    def require(self, manifest: AdapterManifest) -> None:
        key = (manifest.name, manifest.created_at)
        with self._lock:
            if key not in self._checked:
                base = read_base(resolve(self._model, default_cache()), self._model)
                self._checked[key] = misfit(self._registry, manifest, base, self._model)
            reason = self._checked[key]
        if reason is not None:
            raise ModelError(f"the adapter {manifest.name} cannot be served: {reason}")

    def problems(self) -> Mapping[str, str]:
        with self._lock:
            return {name: reason for (name, _), reason in self._checked.items() if reason is not None}


def registered_adapters(home: Path, settings: Settings, server: ModelServer | None = None) -> RegisteredAdapters:
    """The adapters of a home for the engine of its settings. ``server`` is where the engine `vllm` is found."""
    registry = AdapterRegistry(home)
    if settings.generation.engine == "local":
        return RegisteredAdapters(registry, LocalReadiness(registry, settings.generation.model))
    loader = AdapterLoader(server or _ConfiguredServer(settings))
    reconciler = Reconciler(
        registry, loader, settings.generation.model, max_rank=_max_rank(settings), refusal=_refusal(settings)
    )
    return RegisteredAdapters(registry, reconciler)


def offline_problem(registry: AdapterRegistry, manifest: AdapterManifest, settings: Settings) -> str | None:
    """Why the engine of these settings can't serve the adapter, as far as it can be told without the engine."""
    model = settings.generation.model
    folder = cached(model, default_cache())
    try:
        reason = misfit(registry, manifest, read_base(folder, model) if folder is not None else None, model)
        if reason is not None or settings.generation.engine == "local":
            return reason
        reasons = vllm_misfits(read_adapter(registry.folder(manifest.name)), _max_rank(settings))
    except ModelError as error:
        return str(error)
    return _refusal(settings) or (in_words(reasons) if reasons else None)


def _max_rank(settings: Settings) -> int | None:
    """The limit of an engine that we start; nobody tells us another's."""
    ours = settings.generation.engine == "vllm" and not settings.engine.command
    return settings.engine.max_lora_rank if ours else None


def _refusal(settings: Settings) -> str | None:
    ours = settings.generation.engine == "vllm" and not settings.engine.command
    return "the engine is started without adapters; set engine.lora" if ours and not settings.engine.lora else None


@contextmanager
def watching(adapters: object) -> Iterator[None]:
    """Keep the engine's adapters equal to the registry for as long as the block runs, if there is an engine to keep."""
    readiness = adapters.readiness if isinstance(adapters, RegisteredAdapters) else None
    if not isinstance(readiness, Reconciler):
        yield
        return
    readiness.start()
    try:
        yield
    finally:
        readiness.stop()


class _ConfiguredServer:
    """The server at ``generation.base_url``, looked up when first asked: the client library is slow to import."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.generation
        self._server: ModelServer | None = None

    def endpoint(self) -> Endpoint:
        return self._found().endpoint()

    def state(self) -> str:
        return self._found().state()

    def _found(self) -> ModelServer:
        if self._server is None:
            from rag.generation.server_address import FixedServer

            self._server = FixedServer(self._settings, os.environ)
        return self._server
