import json
from types import SimpleNamespace

import pytest


@pytest.fixture
def search(cli, scripts: SimpleNamespace):
    cli.library = scripts.library()
    return lambda *arguments: cli("search", *arguments)


def test_hits_as_json(cli, search, scripts: SimpleNamespace) -> None:
    result = search("casing bolts", "--json", "--collection", "archive", "--top-k", "3")
    assert result.exit_code == 0
    [hit] = json.loads(result.stdout)["hits"]
    assert cli.library.searched == [("casing bolts", "archive", 3)]
    assert scripts.document.text[hit["start"] : hit["end"]] == hit["text"]
    assert (hit["document"], hit["document_id"], hit["title"], hit["page"]) == (
        "pumps/zp-40.md",
        "doc-1",
        "ZP-40 manual",
        1,
    )
    assert hit["channels"]["dense"] == {"rank": 1, "score": 0.7, "normalised": 1.0}


def test_hits_for_people(search, scripts: SimpleNamespace) -> None:
    result = search("casing bolts")
    head, heading, snippet = result.stdout.splitlines()[:3]
    assert head.split() == ["1.", "ZP-40", "manual,", "page", "1", "0.900", "pumps/zp-40.md"]
    assert heading.strip() == "Maintenance"
    assert snippet.strip() == scripts.passage


def test_the_profile_says_how_many(cli, search) -> None:
    search("bolts", "--profile", "gpu")
    assert cli.library.searched == [("bolts", "default", 8)], "the scripted library's own settings"


@pytest.mark.parametrize("top_k", ["0", "-1", "201", "many"])
def test_a_number_out_of_range_is_wrong_usage(search, top_k: str) -> None:
    result = search("bolts", "--top-k", top_k)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--top-k" in result.stderr or "top_k" in result.stderr


def test_an_unknown_collection_is_told_in_one_line(search) -> None:
    result = search("bolts", "--collection", "nowhere\x1b[31m", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: there is no collection 'nowhere\\x1b[31m'\n"
