"""The registry of adapters: a folder each below ``HOME/adapters``, and which of them each label stands for.

A name carries the hash of the content it stands for, so under one name there is never another content: engines keep
what they computed with an adapter by its name. A folder is filled beside its place and renamed into it in one step;
the labels are one small file that is replaced in one step. Every change holds a lock; readers need none. Nothing here
knows an engine: whoever serves adapters compares with ``list``.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from finetune.fitting import CONFIG, WEIGHTS, Base, base_misfits, in_words, read_adapter, same_model
from rag.errors import ModelError, NotFoundError, StateError, UsageError
from rag.types import AdapterKind, AdapterManifest, Exposure, Failure, Gate

FOLDER = "adapters"
MANIFEST = "manifest.json"
LABELS = "labels.json"

_LOCK = ".lock"
_STAGED = ".staged-"
_REMOVED = ".removed-"
_LOCK_TIMEOUT_S = 60.0
_HASH_CHARACTERS = 12
# A name is part of a model's name in requests, and of a module's in torch, where a dot would divide it.
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_NAME = re.compile(rf"{_LABEL.pattern}-[0-9a-f]{{{_HASH_CHARACTERS}}}")


class _ManifestFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    manifest: AdapterManifest


class _LabelsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    labels: dict[str, list[str]] = {}
    """The names that were promoted, oldest first: the last one is current."""


class AdapterRegistry:
    """The adapters of one home. May be used by several processes and threads at once."""

    def __init__(self, home: Path) -> None:
        """Makes nothing on disk until the first change."""
        self.root = home / FOLDER
        self._read: dict[str, tuple[tuple[int, int], AdapterManifest]] = {}

    # --- reading ----------------------------------------------------------------------------------

    def list(self) -> tuple[AdapterManifest, ...]:
        """What is registered, by label, oldest first; ``broken`` has those whose manifest cannot be read."""
        found = (self._manifest(name) for name in self._names())
        manifests = [each for each in found if isinstance(each, AdapterManifest)]
        return tuple(sorted(manifests, key=lambda each: (each.label, each.created_at, each.name)))

    def broken(self) -> tuple[Failure, ...]:
        found = (self._manifest(name) for name in self._names())
        return tuple(each for each in found if isinstance(each, Failure))

    def get(self, name: str) -> AdapterManifest:
        """Raises ``NotFoundError`` naming what there is, ``StateError`` for a damaged manifest."""
        manifest = self._manifest(name) if _NAME.fullmatch(name) else None
        if manifest is None:
            known = ", ".join(self._names()) or "none"
            raise NotFoundError(f"there is no adapter {name!r} in the registry; there are: {known}")
        if isinstance(manifest, Failure):
            raise StateError(f"the adapter {name} is damaged: {manifest.reason}; remove it and register it again")
        return manifest

    def folder(self, name: str) -> Path:
        """Where the adapter's files are, to be read only."""
        return self.root / name

    def labels(self) -> Mapping[str, Sequence[str]]:
        """The names each label has stood for, oldest first; the last one is current."""
        return self._labels().labels

    def resolve(self, reference: str) -> str | None:
        """The name that a name or a label stands for, or ``None`` for neither.

        Raises ``NotFoundError`` for a label that has adapters and no current one.
        """
        if _NAME.fullmatch(reference):
            return reference if self._manifest(reference) is not None else None
        history = self._labels().labels.get(reference)
        if history:
            return history[-1]
        waiting = [each.name for each in self.list() if each.label == reference]
        if waiting:
            raise NotFoundError(
                f"no adapter was promoted for the label {reference!r}; run `domainqa adapters promote {reference} "
                f"NAME` with one of: {', '.join(waiting)}"
            )
        return None

    def verify(self, name: str) -> None:
        """Raises ``ModelError`` where the files are not those that were registered. Reads every byte."""
        manifest = self.get(name)
        try:
            found = content_hash(self.folder(name))
        except OSError as error:
            raise ModelError(f"the adapter {name} is damaged ({error}); remove it and register it again") from error
        if found != manifest.content_hash:
            raise ModelError(
                f"the files of the adapter {name} in {self.folder(name)} were changed after it was registered; "
                "remove it and register what is there under a name of its own"
            )

    # --- changing ---------------------------------------------------------------------------------

    def register(
        self,
        folder: Path,
        label: str,
        base: Base,
        *,
        kind: AdapterKind = "other",
        prompt_fingerprint: str | None = None,
        mix_hash: str | None = None,
        waiver: str | None = None,
        exposure: Exposure = Exposure(),  # noqa: B008 - frozen
        gates: Sequence[Gate] = (),
        any_base_name: bool = False,
    ) -> AdapterManifest:
        """Copy the adapter that peft saved in ``folder`` and give it its name. It answers to its label once promoted.

        The same content with the same details is registered once. ``any_base_name`` takes the caller's word that the
        adapter belongs to ``base``, though its configuration names another. Raises ``ModelError`` with the reason for
        an adapter that is broken or doesn't fit.
        """
        if not _LABEL.fullmatch(label) or _NAME.fullmatch(label):
            raise UsageError(
                f"{label!r} is no label for an adapter: use up to 48 of a-z, 0-9, - and _, the first of them a letter "
                f"or digit, and no {_HASH_CHARACTERS} hex digits at its end"
            )
        with self.changing():
            staged = self.root / f"{_STAGED}{uuid.uuid4().hex}"
            staged.mkdir()
            _copy(folder, staged)
            adapter = read_adapter(staged)
            trained_on = adapter.config.base_model_name_or_path
            if trained_on and not any_base_name and not same_model(trained_on, base.reference):
                raise ModelError(
                    f"the adapter in {folder} was trained on {trained_on}, but it is to be registered for "
                    f"{base.reference}; name its own base with --base"
                )
            if reasons := base_misfits(adapter, base):
                raise ModelError(f"the adapter in {folder} does not fit {base.reference}: {in_words(reasons)}")
            _write(staged / CONFIG, _canonical_config(staged / CONFIG, base.reference))
            found = content_hash(staged)
            manifest = AdapterManifest(
                name=f"{label}-{found[:_HASH_CHARACTERS]}",
                label=label,
                content_hash=found,
                base=base.reference,
                base_type=base.model_type,
                base_hash=base.weights_hash,
                rank=adapter.rank,
                alpha=adapter.config.lora_alpha,
                target_modules=adapter.target_modules,
                created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                kind=kind,
                prompt_fingerprint=prompt_fingerprint,
                mix_hash=mix_hash,
                waiver=waiver,
                exposure=exposure,
                gates=tuple(gates),
            )
            if (known := self._registered_before(manifest)) is not None:
                return known
            _write(staged / MANIFEST, _ManifestFile(manifest=manifest).model_dump_json(indent=1).encode())
            for path in staged.iterdir():
                path.chmod(0o444)  # a reminder; `verify` is what finds a change
            _sync(staged)
            staged.rename(self.folder(manifest.name))
            _sync(self.root)
            return manifest

    def promote(self, label: str, name: str, *, despite_gates: bool = False) -> AdapterManifest:
        """Make ``name`` what the label stands for. Refuses an adapter that missed a gate, unless told."""
        with self.changing():
            manifest = self.get(name)
            if manifest.label != label:
                raise UsageError(f"the adapter {name} has the label {manifest.label!r}, not {label!r}")
            missed = [gate.name for gate in manifest.gates if not gate.passed]
            if missed and not despite_gates:
                raise UsageError(
                    f"the adapter {name} missed its gates ({', '.join(missed)}); train another, or promote it with "
                    "--despite-gates"
                )
            stored = self._labels()
            history = stored.labels.setdefault(label, [])
            if history[-1:] != [name]:
                history.append(name)
                self._store(stored)
            return manifest

    def rollback(self, label: str) -> AdapterManifest:
        """Make the label stand for what it stood for before."""
        with self.changing():
            stored = self._labels()
            history = stored.labels.get(label, [])
            if len(history) < 2:
                known = ", ".join(sorted(name for name, names in stored.labels.items() if len(names) > 1)) or "none"
                raise NotFoundError(
                    f"the label {label!r} has no earlier adapter to go back to; labels that have: {known}"
                )
            manifest = self.get(history[-2])
            history.pop()
            self._store(stored)
            return manifest

    def remove(self, name: str, *, even_if_current: bool = False) -> None:
        """Forget the adapter and delete its files. A damaged one can be removed too.

        A label's current adapter is only removed when told to: the label then stands for the one before, if any.
        """
        with self.changing():
            if not _NAME.fullmatch(name) or not self.folder(name).is_dir():
                self.get(name)  # raises
            stored = self._labels()
            current_for = [label for label, names in stored.labels.items() if names[-1:] == [name]]
            if current_for and not even_if_current:
                raise UsageError(
                    f"the adapter {name} is the current one of the label {current_for[0]!r}; promote another, roll "
                    "back, or remove it with --force"
                )
            kept = {label: _without(names, name) for label, names in stored.labels.items()}
            kept = {label: names for label, names in kept.items() if names}
            if kept != stored.labels:
                self._store(_LabelsFile(labels=kept))
            self.folder(name).rename(self.root / f"{_REMOVED}{uuid.uuid4().hex}")
            _sync(self.root)

    # --- files ------------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, and clear away what this change or an interrupted one leaves unfinished."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / _LOCK, timeout=_LOCK_TIMEOUT_S):
                self._sweep()
                try:
                    yield
                finally:
                    self._sweep()
        except Timeout as error:
            raise StateError(
                f"another process has been changing {self.root} for {_LOCK_TIMEOUT_S:g} s; try again when it is done"
            ) from error
        except OSError as error:
            raise StateError(f"{self.root} cannot be changed ({error}); make room, or mend its permissions") from error

    def _sweep(self) -> None:
        for pattern in (f"{_STAGED}*", f"{_REMOVED}*"):
            for path in self.root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _names(self) -> Sequence[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def _manifest(self, name: str) -> AdapterManifest | Failure | None:
        """Remembered while the file stays the same; ``None`` where there is none, or no longer."""
        path = self.folder(name) / MANIFEST
        try:
            stat = path.stat()
            version = (stat.st_mtime_ns, stat.st_ino)
            known = self._read.get(name)
            if known is not None and known[0] == version:
                return known[1]
            manifest = _ManifestFile.model_validate_json(path.read_bytes()).manifest
        except FileNotFoundError:
            return Failure(name, f"there is no {MANIFEST}") if self.folder(name).is_dir() else None
        except (OSError, ValidationError) as error:
            return Failure(name, f"its {MANIFEST} cannot be read: {_first_line(error)}")
        if manifest.name != name:
            return Failure(name, f"its {MANIFEST} is that of {manifest.name}")
        self._read[name] = (version, manifest)
        return manifest

    def _registered_before(self, manifest: AdapterManifest) -> AdapterManifest | None:
        known = self._manifest(manifest.name)
        if known is None:
            return None
        if isinstance(known, AdapterManifest) and replace(manifest, created_at=known.created_at) == known:
            return known
        raise UsageError(
            f"the adapter {manifest.name} is registered already, with other details (its base, kind, gates or what "
            "it was trained on); remove it first, or use another label"
        )

    def _labels(self) -> _LabelsFile:
        try:
            return _LabelsFile.model_validate_json((self.root / LABELS).read_bytes())
        except FileNotFoundError:
            return _LabelsFile()
        except ValidationError as error:
            raise StateError(
                f"{self.root / LABELS} cannot be read ({_first_line(error)}); mend it, or delete it and promote the "
                "adapters again"
            ) from error

    def _store(self, labels: _LabelsFile) -> None:
        staged = self.root / f"{_STAGED}{uuid.uuid4().hex}"
        _write(staged, labels.model_dump_json(indent=1).encode())
        staged.replace(self.root / LABELS)
        _sync(self.root)


def content_hash(folder: Path) -> str:
    """SHA-256 over the SHA-256 of the weights and of the configuration, each as its file's bytes are."""
    parts = []
    for name in (WEIGHTS, CONFIG):
        with (folder / name).open("rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _canonical_config(path: Path, base: str) -> bytes:
    """The configuration so that the same training gives the same bytes.

    peft keeps the modules as a set, in any order, and the base as the path it was loaded from.
    """
    config = json.loads(path.read_bytes())
    config["base_model_name_or_path"] = base
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    return (json.dumps(config, sort_keys=True, indent=1) + "\n").encode()


def _copy(source: Path, target: Path) -> None:
    """The two files that make an adapter; what else lies in a training's folder is left there."""
    for name in (WEIGHTS, CONFIG):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / WEIGHTS).is_file():
        read_adapter(source)  # raises with the reason
    with (target / WEIGHTS).open("rb+") as file:
        os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without(names: Sequence[str], name: str) -> "list[str]":
    """The history without ``name``, and without what then would follow itself."""
    kept: list[str] = []
    for each in names:
        if each != name and kept[-1:] != [each]:
            kept.append(each)
    return kept


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"
    return str(error)
