import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rag.types import Dropped, Explanation, FusedPlace, Neighbour, PackingBudget, Rewriting


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


@pytest.fixture
def explained(cli, scripts: SimpleNamespace):
    """A library whose explanation follows a script."""
    library = scripts.library()
    [first] = library.search("bolts", "default", 1)
    second = replace(first, chunk=replace(first.chunk, id="c2"), score=0.2, fused=FusedPlace(1, 0.9))
    first = replace(first, score=0.8, score_name="reranked", fused=FusedPlace(2, 0.4))
    explanation = Explanation(
        rewriting=Rewriting("casing bolts", "question"),
        hits=(first, replace(second, score_name="reranked")),
        enough=True,
        evidence=scripts.cited.evidence,
        dropped=(Dropped("c2", "pumps/zp-40.md", "near-duplicate", "c1", 0.93),),
        neighbours=(Neighbour("c3", "pumps/zp-40.md", "c1"),),
        packing=PackingBudget(600, 40, {1: 40}),
        prompt_tokens=120,
        timings={"retrieval": 0.25, "reranking": 0.5},
    )
    asked = []

    async def explain(query, collection, top_k):
        asked.append((query, collection, top_k))
        return explanation

    library.explain, library.asked, library.warm_up = explain, asked, lambda: None
    cli.library = library
    return lambda *arguments: cli("search", *arguments, "--explain")


def test_an_explanation_for_people(cli, explained) -> None:
    result = explained("casing bolts", "--top-k", "2")
    assert result.exit_code == 0
    assert cli.library.asked == [("casing bolts", "default", 2)]
    words = " ".join(result.stdout.split())
    for told in (
        "Searched for: casing bolts",
        "#2 0.400",
        "#1 0.700",
        "[1]",
        "93%",
        "40 of 600 tokens",
        "the whole prompt has 120",
        "neighbour: c3 beside c1",
    ):
        assert told in words, told
    assert "reranking 500 ms" in words


def test_an_explanation_as_json_is_complete(explained) -> None:
    result = explained("casing bolts", "--json")
    told = json.loads(result.stdout)
    assert set(told) == {
        "query", "collection", "rewriting", "hits", "enough_evidence", "evidence", "dropped", "neighbours", "packing",
        "prompt_tokens", "timings",
    }  # fmt: skip
    assert [(hit["score_name"], hit["fused"]["rank"]) for hit in told["hits"]] == [("reranked", 2), ("reranked", 1)]
    assert told["evidence"][0]["tokens"] == 40
    assert told["dropped"][0] == {
        "chunk": "c2", "document": "pumps/zp-40.md", "reason": "near-duplicate", "because": "c1", "similarity": 0.93,
        "tokens": None,
    }  # fmt: skip
