"""A small OpenAI-compatible server on a loopback port, which does what its script says."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

MODEL = "served"


def chunk(text=None, reason=None, usage=None) -> bytes:
    choices = [] if usage else [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
    return f"data: {json.dumps(body | {'usage': usage})}\n\n".encode()


USAGE = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 8}}
ANSWER = (chunk("Hel"), chunk("lo"), chunk(reason="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n")


def says(*parts: bytes, pause_s: float = 0.0):
    """Answers with these parts of an event stream."""

    async def respond(server: "ModelServer", request: Request):
        async def body():
            try:
                for part in parts:
                    yield part
                    server.sent += 1
                    await asyncio.sleep(pause_s)
            finally:
                server.ended.set()

        return StreamingResponse(body(), media_type="text/event-stream")

    return respond


def answers_whole(text="Hello", reason="stop", usage=USAGE, choices=None):
    """Answers a request that is not streamed."""

    async def respond(server: "ModelServer", request: Request):
        message = {"role": "assistant", "content": text}
        own = [{"index": 0, "message": message, "finish_reason": reason}] if choices is None else choices
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": own, "usage": usage}
        return JSONResponse(body)

    return respond


def never_answers():
    """Until whoever asked goes away."""

    async def respond(server: "ModelServer", request: Request):
        while not await request.is_disconnected():  # noqa: ASYNC110 - it is no event
            await asyncio.sleep(0.01)
        server.ended.set()
        return JSONResponse({})

    return respond


def fails(status: int, message: str = "out of order", headers=None, **error):
    async def respond(server: "ModelServer", request: Request):
        return JSONResponse({"error": {"message": message, "type": "error", **error}}, status, headers=headers)

    return respond


def breaks_after(*parts: bytes):
    """Drops the connection in the middle of the stream."""

    async def respond(server: "ModelServer", request: Request):
        async def body():
            for part in parts:
                yield part
            await asyncio.sleep(0.05)
            raise ConnectionResetError

        return StreamingResponse(body(), media_type="text/event-stream")

    return respond


class ModelServer:
    """``script`` holds what the next requests get, the last entry for ever; ``asked`` what they said."""

    def __init__(self) -> None:
        self.script: list[Callable] = [says(*ANSWER)]
        self.asked: list[dict] = []
        self.headers: list[dict] = []
        self.sent = 0
        self.ended = threading.Event()
        self.models: list[dict] = [{"id": MODEL, "object": "model", "max_model_len": 2048}]
        self.tokenizes = True
        self.tokenized: list[dict] = []
        self.url = ""

    async def chat(self, request: Request):
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await step(self, request)

    async def tokenize(self, request: Request):
        body = await request.json()
        if not self.tokenizes:
            return JSONResponse({"detail": "Not Found"}, 404)
        self.tokenized.append(body)
        text = body.get("prompt") or " ".join(message["content"] for message in body["messages"])
        return {"count": len(text.split()), "max_model_len": 2048, "tokens": []}


@contextmanager
def serving():
    """Yields a function that makes the server forget everything and gives what it now goes by."""
    current = ModelServer()
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        return await current.chat(request)

    @app.get("/v1/models")
    async def models():
        return {"object": "list", "data": current.models}

    @app.post("/tokenize")
    async def tokenize(request: Request):
        return await current.tokenize(request)

    def fresh() -> ModelServer:
        nonlocal current
        current = ModelServer()
        current.url = f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}/v1"
        return current

    config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not web.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield fresh
    finally:
        web.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
