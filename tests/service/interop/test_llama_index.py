"""LlamaIndex' OpenAI-like client. It wants older libraries than ours, so it lives in an environment of its own."""

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-interop" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="`make interop` makes the environment of LlamaIndex")
def test_whole_and_streamed_sync_and_async(service):
    script = Path(__file__).with_name("llama_index_client.py")
    done = subprocess.run([PYTHON, script, service.url, service.question], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["usage"]["prompt_tokens"] > 0
    texts = {name: text for name, text in said.items() if name != "usage"}
    assert len(texts) == 6
    assert set(texts.values()) == {texts["whole"]}
    assert "42 Nm" in texts["whole"]
