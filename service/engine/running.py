"""The engine that another process runs for this home, found by its state file. Starts none and stops none."""

from pathlib import Path

from rag.errors import EngineUnavailableError
from rag.interfaces import Endpoint
from service.engine.record import EngineFolder, EngineRecord


class RunningEngine:
    """A ``ModelServer`` for commands that come and go, such as ``ask``."""

    def __init__(self, home: Path, model: str) -> None:
        self._home = home
        self._model = model
        self._folder = EngineFolder.of(home)

    def __repr__(self) -> str:
        return f"the engine of {self._home}"

    def endpoint(self) -> Endpoint:
        record = live_record(self._folder)
        if record is None:
            raise EngineUnavailableError(
                f"no engine runs for {self._home}; start it with `domainqa engine up`, or ask through `domainqa serve`"
            )
        if record.state != "ready":
            raise EngineUnavailableError(f"the engine is not ready: {record.words()}")
        if record.model != self._model:
            raise EngineUnavailableError(
                f"the engine of {self._home} serves {record.model}, but generation.model is {self._model}; "
                "start it again with this profile: `domainqa engine down`, then `domainqa engine up`"
            )
        return Endpoint(record.base_url, self._folder.key())

    def state(self) -> str:
        record = live_record(self._folder)
        return "not running; `domainqa engine up` starts it" if record is None else record.words()


def live_record(folder: EngineFolder) -> EngineRecord | None:
    """What the home's engine does, if anybody still sees to it."""
    record = folder.read()
    if record is None or record.state == "stopped":
        return None
    if record.state != "failed" and not record.supervisor.is_alive():
        return None
    return record
