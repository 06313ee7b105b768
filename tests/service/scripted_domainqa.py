"""The whole command line over small fakes for the models: `python scripted_domainqa.py serve --port 0`.

For tests that need a process of its own; catalog, indexes, flow and protocols are the real ones.
"""

from service.cli.main import main
from service.cli.session import Session


def open_library(home, settings, progress, server):
    from rag.build import Library
    from rag.fakes import FakeEmbedder, ScriptedModel

    model = ScriptedModel("The casing bolts are tightened to 42 Nm [1].")
    return Library(home, settings, embedder=FakeEmbedder(), chat_model=model, progress=progress)


if __name__ == "__main__":
    main(Session(open_library=open_library, provide_models=lambda references, offline: None))
