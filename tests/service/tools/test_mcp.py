"""The official client against `domainqa mcp` in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters

from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder
from service.tools import outputs

pytestmark = pytest.mark.integration

PROGRAM = str(Path(__file__).parents[1] / "scripted_domainqa.py")
ROOT = str(Path(__file__).parents[3])
BOLTS = "The casing bolts of the gear pump are tightened to 42 Nm."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "files").mkdir()
    (folder / "files" / "pump.md").write_text(f"# Gear pump\n\n## Torque\n\n{BOLTS}\n")
    library = Library(folder / "home", Settings(), embedder=FakeEmbedder())
    library.ingest([folder / "files"])
    library.catalog.close()
    return folder / "home"


def command(home: Path, *arguments: str) -> StdioServerParameters:
    environment = {"PYTHONPATH": ROOT, "DOMAINQA_HOME": str(home), "DOMAINQA_EMBEDDING__MODEL": FakeEmbedder.model}
    return StdioServerParameters(command=sys.executable, args=[PROGRAM, "mcp", *arguments], env=environment)


def calls(server: StdioServerParameters, *requests: tuple[str, dict[str, object]], mode: str = "auto"):
    async def talk():
        async with Client(server, mode=mode, read_timeout_seconds=60) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, arguments) for name, arguments in requests]

    return anyio.run(talk)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_both_tools(home: Path, mode: str) -> None:
    tools, (found, answered, refused) = calls(
        command(home),
        ("search", {"query": "casing bolts", "top_k": 1}),
        ("ask", {"question": "How much are the casing bolts of the gear pump tightened?"}),
        ("ask", {"question": "Who won the football championship?"}),
        mode=mode,
    )
    assert {tool.name: "properties" in (tool.output_schema or {}) for tool in tools} == {"search": True, "ask": True}
    assert all(tool.annotations.read_only_hint for tool in tools)

    [passage] = found.structured_content["passages"]
    assert passage["document"] == "pump.md"
    assert BOLTS in passage["text"]
    assert passage["end"] - passage["start"] == len(passage["text"])

    answer = answered.structured_content
    assert not answer["abstained"]
    [citation] = answer["citations"]
    assert (citation["document"], citation["quote"], citation["supported"]) == ("pump.md", BOLTS, True)
    assert json.loads(answered.content[0].text) == answer

    assert refused.structured_content["abstained"]
    assert refused.structured_content["verdict"] == outputs.NOT_IN_THE_DOCUMENTS
    assert refused.structured_content["citations"] == []
    assert not any(each.is_error for each in (found, answered, refused))


def test_wrong_arguments_and_failures_reach_the_assistant(home: Path, running, scripts) -> None:
    with running(scripts.library()) as url:
        _, (empty, unknown) = calls(
            command(home, "--url", url, "--collection", "nowhere"),
            ("search", {"query": "", "top_k": 1}),
            ("search", {"query": "bolts"}),
        )
    assert empty.is_error
    assert unknown.is_error
    assert "there is no collection 'nowhere'" in unknown.content[0].text


def test_over_a_running_service(home: Path, running, scripts) -> None:
    library = scripts.library()
    with running(library) as url:
        _, (found, answered) = calls(
            command(home, "--url", url, "--collection", "archive"),
            ("search", {"query": "torque"}),
            ("ask", {"question": "Which torque?"}),
        )
    assert found.structured_content["passages"][0]["text"] == scripts.passage
    assert answered.structured_content["answer"] == scripts.cited.text
    assert answered.structured_content["verdict"] == outputs.NOT_ALL_SUPPORTED
    assert library.answerer.asked[0].collection == "archive"


def test_nothing_but_the_protocol_is_on_stdout(home: Path) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    ask = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    ask["params"] = {"name": "ask", "arguments": {"question": "How much are the casing bolts tightened?"}}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    parameters = command(home)
    with subprocess.Popen(
        [parameters.command, *parameters.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=parameters.env,
        text=True,
    ) as process:
        lines = []
        for message in (hello, ready, ask):
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            if "id" in message:
                lines.append(process.stdout.readline())
        process.stdin.close()
        lines += process.stdout.readlines()
        assert process.wait(30) == 0, process.stderr.read()
    assert [json.loads(line).get("id") for line in lines] == [1, 2]


def test_a_collection_that_is_not_there_is_told_at_once(home: Path) -> None:
    parameters = command(home, "--collection", "nowhere")
    done = subprocess.run(
        [parameters.command, *parameters.args],
        capture_output=True,
        text=True,
        env=parameters.env,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no collection 'nowhere'")
