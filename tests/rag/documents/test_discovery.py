from pathlib import Path

import pytest

from rag.documents.discovery import discover
from rag.errors import UsageError
from rag.types import Failure


def _make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, "utf-8")


def _sources(*paths: Path) -> list[str]:
    return [file.source for file in discover(paths)]


def test_folders_are_walked_in_the_order_of_their_sources(tmp_path: Path) -> None:
    _make(tmp_path, "b/x.md", "a.md", "b-1.md", "b/a/z.md")
    assert _sources(tmp_path) == sorted(["a.md", "b-1.md", "b/a/z.md", "b/x.md"])


def test_hidden_files_and_lock_files_are_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "a.md", ".hidden.md", ".git/config", "~$a.docx", "d/~$b.docx")
    assert _sources(tmp_path) == ["a.md"]


def test_a_file_given_by_itself_goes_by_its_name(tmp_path: Path) -> None:
    _make(tmp_path, "deep/down/a.md")
    assert _sources(tmp_path / "deep/down/a.md") == ["a.md"]


def test_a_path_given_twice_is_read_once(tmp_path: Path) -> None:
    _make(tmp_path, "a.md", "b.md")
    assert _sources(tmp_path, tmp_path, tmp_path / "a.md") == ["a.md", "b.md"]


def test_two_files_of_one_source_are_an_error_that_names_both(tmp_path: Path) -> None:
    _make(tmp_path, "one/a.md", "two/a.md")
    with pytest.raises(UsageError) as error:
        discover([tmp_path / "one", tmp_path / "two"])
    assert str(tmp_path / "one/a.md") in str(error.value)
    assert str(tmp_path / "two/a.md") in str(error.value)


def test_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere"):
        discover([tmp_path / "nowhere"])


def test_links_that_leave_the_folder_are_skipped_and_reported(tmp_path: Path) -> None:
    _make(tmp_path, "in/a.md", "in/sub/b.md", "out/secret.md")
    (tmp_path / "in/link.md").symlink_to(tmp_path / "out/secret.md")
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/gone.md").symlink_to(tmp_path / "in/nothing.md")
    (tmp_path / "in/inside.md").symlink_to(tmp_path / "in/a.md")
    (tmp_path / "in/sub/loop").symlink_to(tmp_path / "in")
    skipped: list[Failure] = []
    sources = [file.source for file in discover([tmp_path / "in"], skipped)]
    assert sources == ["a.md", "inside.md", "sub/b.md"]
    assert [failure.source for failure in skipped] == ["folder", "gone.md", "link.md"]
