"""Conversations over the real flow: what is stored, what the model is told next, and who may see it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from rag import prompting
from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, Settings
from rag.errors import EngineFaultError
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.question import Question
from rag.types import Generated, Message, Sampling, Usage
from service.api.app import create_app
from service.api.identity import Principal, principal_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATH = "/v1/chat/completions"
OIL = "The oil of the pump is red."
BOLT = "Tighten the casing bolts to 42 Nm."


def citing_first(messages: Sequence[Message]) -> str:
    return f"{OIL[:-1]} [1]."


def library_in(tmp_path: Path, model: ScriptedModel) -> Library:
    files = tmp_path / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "oil.txt").write_text(OIL)
    (files / "bolt.txt").write_text(BOLT)
    settings = Settings(
        answering=AnsweringSettings(unsupported="mark", min_probability=0),
        generation=GenerationSettings(max_answer_tokens=20),
    )
    library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(), chat_model=model)
    library.ingest([files])
    return library


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        yield client


def asking(text: str, conversation: str | None = "new", **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "conversation": conversation, **more}


async def ask(client: httpx.AsyncClient, text: str, conversation: str = "new", **more: object) -> dict[str, object]:
    response = await client.post(PATH, json=asking(text, conversation, **more))
    assert response.status_code == 200, response.text
    if not more.get("stream"):
        return response.json()["choices"][0]["message"]["domainqa"]
    chunks = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: {")]
    return next(chunk["domainqa"] for chunk in map(json.loads, chunks) if "domainqa" in chunk)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_is_made_continued_and_read_back(tmp_path: Path, stream: bool) -> None:
    model = ScriptedModel(citing_first)
    library = library_in(tmp_path, model)
    async with client_of(create_app(library)) as client:
        first = await ask(client, "Which colour has the oil of the pump?", stream=stream)
        second = await ask(client, "And the casing bolts?", first["conversation"], stream=stream)
        assert second["conversation"] == first["conversation"]
        read = (await client.get(f"/v1/conversations/{first['conversation']}")).json()
        page = (await client.get("/v1/conversations")).json()
    assert [each["id"] for each in page["data"]] == [first["conversation"]]
    assert read["title"] == "Which colour has the oil of the pump?"
    assert (read["turns"], read["collection"]) == (2, "default")
    one, two = read["data"]
    assert (one["id"], two["id"]) == (first["turn"], second["turn"])
    assert one["citations"] == first["citations"]
    assert one["evidence"] == first["evidence"]
    assert one["timings"] == first["timings"]
    assert (one["strategy"], one["engine_model"], one["supported"]) == ("rag", "scripted", first["supported"])
    assert one["answer"] == citing_first([])


async def test_what_the_model_read_before_is_the_beginning_of_what_it_reads_next(tmp_path: Path) -> None:
    model = ScriptedModel(citing_first)
    library = library_in(tmp_path, model)
    async with client_of(create_app(library)) as client:
        first = await ask(client, "Which colour has the oil of the pump?")
        body = asking("And the casing bolts?", first["conversation"])
        body["messages"] = [
            {"role": "user", "content": "something unheard of"},
            {"role": "assistant", "content": "something unheard of"},
            *body["messages"],
        ]
        assert (await client.post(PATH, json=body)).status_code == 200
    before, after = model.asked
    assert after[: len(before)] == before
    assert after[len(before)] == Message("assistant", citing_first([]))
    assert not any("unheard" in message.content for message in after)


async def test_an_answer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first, EngineFaultError("broken"), citing_first))
    async with client_of(create_app(library)) as client:
        first = await ask(client, "Which colour has the oil?")
        failed = await client.post(PATH, json=asking("And the bolts?", first["conversation"]))
        assert failed.status_code == 502
        await ask(client, "And the bolts?", first["conversation"])
        read = (await client.get(f"/v1/conversations/{first['conversation']}")).json()
        assert [each["question"] for each in read["data"]] == ["Which colour has the oil?", "And the bolts?"]
    library = library_in(tmp_path / "home", ScriptedModel(EngineFaultError("broken")))
    async with client_of(create_app(library)) as client:
        assert (await client.post(PATH, json=asking("Which oil?"))).status_code == 502
        assert (await client.get("/v1/conversations")).json()["data"] == []


class Blocking(ScriptedModel):
    """Says nothing before it is let."""

    def __init__(self) -> None:
        super().__init__(citing_first)
        self.go = asyncio.Event()
        self.asking = asyncio.Event()

    async def stream(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None):  # type: ignore[no-untyped-def]
        self.asking.set()
        await self.go.wait()
        yield Generated(citing_first(messages), "stop", Usage(1, 1))


async def test_a_second_question_at_the_same_time_is_a_conflict_and_the_first_is_stored_once(tmp_path: Path) -> None:
    model = Blocking()
    library = library_in(tmp_path, model)
    async with client_of(create_app(library)) as client:
        model.go.set()
        first = await ask(client, "Which colour has the oil?")
        model.go.clear()
        model.asking.clear()
        running = asyncio.ensure_future(ask(client, "And the bolts?", first["conversation"]))
        await model.asking.wait()
        for stream in (False, True):
            second = await client.post(PATH, json=asking("And now?", first["conversation"], stream=stream))
            assert second.status_code == 409
            assert second.json()["error"]["code"] == "conflict"
        other = asyncio.ensure_future(ask(client, "Which colour has the oil?"))
        model.go.set()
        await asyncio.gather(running, other)
        assert (await client.get(f"/v1/conversations/{first['conversation']}")).json()["turns"] == 2


async def test_a_client_that_leaves_stores_nothing_and_frees_the_conversation(tmp_path: Path) -> None:
    model = Blocking()
    library = library_in(tmp_path, model)
    async with client_of(create_app(library)) as client:
        model.go.set()
        first = await ask(client, "Which colour has the oil?")
        model.go.clear()
        model.asking.clear()
        leaving = asyncio.ensure_future(ask(client, "And the bolts?", first["conversation"]))
        await model.asking.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        model.go.set()
        await ask(client, "And the bolts, again?", first["conversation"])
        read = (await client.get(f"/v1/conversations/{first['conversation']}")).json()
    assert [each["question"] for each in read["data"]] == ["Which colour has the oil?", "And the bolts, again?"]


async def test_what_no_longer_fits_the_window_is_left_out_from_the_beginning_and_stays_out(tmp_path: Path) -> None:
    model = ScriptedModel(citing_first, window=330)
    library = library_in(tmp_path, model)
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil of the pump?")
        for number in range(8):
            await ask(client, f"And what about number {number}, the {'long ' * 8}one?", said["conversation"])
        read = (await client.get(f"/v1/conversations/{said['conversation']}")).json()
    assert read["turns"] == 9
    stored = library.catalog.conversations.turns(library.catalog.conversations.get(said["conversation"]))
    firsts: list[int] = []
    for number, asked in enumerate(model.asked):
        told = [message.content for message in asked[1:-1] if message.role == "user"]
        firsts.append(number - len(told))
        before = stored[number - len(told) : number]
        # The oldest turns lose their passages before they go; all others are as they were.
        bare = [prompting.user_content(each.turn.question, ()) for each in before]
        whole = [each.turn.user for each in before]
        assert told in [bare[:at] + whole[at:] for at in range(len(before) + 1)]
    assert firsts == sorted(firsts), "what was left out stays out"
    changes = [one != other for one, other in pairwise(firsts)]
    assert 0 < sum(changes) < 8, "left out now and then, not a turn each time"


async def test_other_tenants_and_hidden_collections_are_not_there(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    library.catalog.create_tenant("other")
    app = create_app(library)
    async with client_of(app) as client:
        said = await ask(client, "Which colour has the oil?")
        rating = {"conversation": said["conversation"], "turn": said["turn"], "rating": "up"}
        for stranger in (Principal(tenant="other"), Principal(collections=frozenset({"archive"}))):
            app.dependency_overrides[principal_of] = lambda stranger=stranger: stranger
            at = f"/v1/conversations/{said['conversation']}"
            for response in (
                await client.get(at),
                await client.patch(at, json={"title": "mine"}),
                await client.delete(at),
                await client.post(PATH, json=asking("And?", said["conversation"])),
                await client.post("/v1/feedback", json=rating),
            ):
                assert response.status_code == 404
            assert (await client.get("/v1/conversations")).json()["data"] == []
        app.dependency_overrides.clear()
        assert (await client.get(at)).json()["turns"] == 1


async def test_pages_are_newest_first_and_cover_everything_once(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    async with client_of(create_app(library)) as client:
        ids = [(await ask(client, f"Oil {number}?"))["conversation"] for number in range(5)]
        await ask(client, "And again?", ids[1])
        newest_first = [ids[1], ids[4], ids[3], ids[2], ids[0]]
        found: list[str] = []
        after = None
        while True:
            parameters = {"limit": 2} | ({"after": after} if after else {})
            page = (await client.get("/v1/conversations", params=parameters)).json()
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            after = found[-1]
        assert found == newest_first
        assert (await client.get("/v1/conversations", params={"after": "conv_x"})).status_code == 404


async def test_renaming_and_deleting(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil?")
        at = f"/v1/conversations/{said['conversation']}"
        assert (await client.patch(at, json={"title": "Oil"})).json()["title"] == "Oil"
        assert (await client.patch(at, json={"title": ""})).status_code == 400
        await client.post(
            "/v1/feedback", json={"conversation": said["conversation"], "turn": said["turn"], "rating": "up"}
        )
        assert (await client.delete(at)).json() == {"id": said["conversation"], "deleted": True}
        for response in (await client.get(at), await client.delete(at)):
            assert response.status_code == 404
        assert (await client.post(PATH, json=asking("And?", said["conversation"]))).status_code == 404
    assert library.catalog.feedback.rated() == []


async def test_another_collection_is_another_conversation(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    library.create_collection("archive")
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil?", collection="default")
        response = await client.post(PATH, json=asking("And?", said["conversation"], collection="archive"))
        assert response.status_code == 400
        assert "'default'" in response.json()["error"]["message"]


async def test_feedback_is_kept_and_the_last_word_counts(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil?")
        rating = {"conversation": said["conversation"], "turn": said["turn"], "rating": "up"}
        assert (await client.post("/v1/feedback", json=rating)).status_code == 200
        changed = await client.post("/v1/feedback", json=rating | {"rating": "down", "comment": "It is blue."})
        assert (changed.json()["rating"], changed.json()["comment"]) == ("down", "It is blue.")
        (turn,) = (await client.get(f"/v1/conversations/{said['conversation']}")).json()["data"]
        assert (turn["rating"], turn["comment"]) == ("down", "It is blue.")
        assert (await client.post("/v1/feedback", json=rating | {"turn": "turn_x"})).status_code == 404
        assert (await client.post("/v1/feedback", json=rating | {"rating": "great"})).status_code == 400


async def test_a_purged_document_leaves_no_word_in_any_conversation(tmp_path: Path) -> None:
    model = ScriptedModel(citing_first)
    library = library_in(tmp_path, model)
    document = library.catalog.document_info(library.catalog.collection("default"), "oil.txt").id
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil of the pump?")
        assert library.catalog.conversations.with_document(document) == [said["conversation"]]
        assert library.catalog.purge_conversation_evidence(document) == 1
        assert library.catalog.purge_conversation_evidence(document) == 0
        assert library.catalog.conversations.with_document(document) == []
        library.remove_document("default", "oil.txt")
        read = (await client.get(f"/v1/conversations/{said['conversation']}")).json()
        assert "red" not in json.dumps(read)
        assert "oil.txt" not in json.dumps(read)
        assert read["data"][0]["purged"]
        assert read["data"][0]["question"] == "Which colour has the oil of the pump?"
        await ask(client, "And the casing bolts?", said["conversation"])
    assert not any("is red" in message.content for message in model.asked[-1][:-1])
    library.catalog.close()
    raw = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("catalog.sqlite*"))
    assert OIL.encode() not in raw


async def test_what_had_its_time_is_deleted(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    async with client_of(create_app(library)) as client:
        await ask(client, "Which colour has the oil?")
        conversations = library.catalog.conversations
        assert conversations.expire(datetime.now(UTC) - timedelta(days=1)) == 0
        assert conversations.expire(datetime.now(UTC) + timedelta(seconds=1)) == 1
        assert (await client.get("/v1/conversations")).json()["data"] == []


async def test_an_abstention_is_a_turn_too(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel("The documents do not say."))
    async with client_of(create_app(library)) as client:
        said = await ask(client, "Which colour has the oil?")
        (turn,) = (await client.get(f"/v1/conversations/{said['conversation']}")).json()["data"]
    assert (turn["abstained"], turn["citations"]) == (True, [])
    assert turn["nearest"] == said["nearest"]


async def test_what_is_stored_comes_back_equal(tmp_path: Path) -> None:
    library = library_in(tmp_path, ScriptedModel(citing_first))
    answer = await library.answerer.answer(Question("Which colour has the oil?"))
    library.catalog.conversations.add_turn("conv_1", "turn_1", "default", answer, new=True)
    (stored,) = library.catalog.conversations.turns(library.catalog.conversations.get("conv_1"))
    assert stored.turn == answer.turn
    assert stored.citations == answer.citations
    assert stored.nearest == answer.nearest
    assert stored.usage == answer.usage
