"""Models from a hub: downloads one repository's weights and tokenizer into a folder."""

from pathlib import Path
from threading import Event, Thread

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from rag.errors import ModelError, NotFoundError
from rag.models.cache import Progress, ProgressCallback, folder_size

_KINDS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.jinja")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*", "original/*", "*.gguf", "*.onnx", "*training_args.bin", "optimizer*")
_POLL_S = 0.5


def download(
    repository: str, revision: str | None, folder: Path, progress: ProgressCallback, endpoint: str | None = None
) -> str:
    """Fill ``folder`` and return the commit. An interrupted download goes on from where it stopped.

    ``endpoint`` is the hub's address; ``HF_ENDPOINT`` or the public hub when ``None``.
    """
    try:
        info = HfApi(endpoint=endpoint).model_info(repository, revision=revision, files_metadata=True)
        names = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        # The same weights often come twice; pickled ones are only taken where there are no others.
        duplicates = ("*.bin",) if any(name.endswith(".safetensors") for name in names) else ()
        total = sum(size for name, size in names.items() if _wanted(name, _OTHER_RUNTIMES + duplicates))
        bars_were_off = are_progress_bars_disabled()
        disable_progress_bars()
        finished = Event()
        watcher = Thread(target=_watch, args=(repository, folder, total, progress, finished), daemon=True)
        watcher.start()
        try:
            snapshot_download(
                repository,
                revision=info.sha,
                local_dir=folder,
                allow_patterns=list(_KINDS),
                ignore_patterns=list(_OTHER_RUNTIMES + duplicates),
                endpoint=endpoint,
            )
        finally:
            finished.set()
            watcher.join()
            if not bars_were_off:
                enable_progress_bars()
    except GatedRepoError as error:
        raise ModelError(
            f"{repository} must be unlocked on its hub page first; accept its terms there and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise NotFoundError(f"the hub has no model {repository}{at}, or HF_TOKEN may not see it") from error
    except Exception as error:  # the hub's client raises its own HTTP library's errors, OSError and Rust ones
        raise ModelError(
            f"{repository} could not be fetched from the hub ({str(error).splitlines()[0] if str(error) else error!r});"
            f" run `domainqa models fetch {repository}` where there is a network, or name a local folder that holds it"
        ) from error
    return info.sha or "unknown"


def _wanted(name: str, ignored: tuple[str, ...]) -> bool:
    path = Path(name)
    return any(path.match(kind) for kind in _KINDS) and not any(path.match(pattern) for pattern in ignored)


def _watch(reference: str, folder: Path, total: int, progress: ProgressCallback, finished: Event) -> None:
    while not finished.wait(_POLL_S):
        progress(Progress(reference, "downloading", min(folder_size(folder), total), total))
