# The one list of tasks: CI and hooks call it, so no check lives in a second place.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.set-up

.PHONY: help demo family test test-slow wheel-test lint bench docs site clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1  /p' $(MAKEFILE_LIST) | awk '{printf "%-16s", $$1" "$$2; $$1=$$2=""; print substr($$0,3)}'

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	@touch $@

demo: $(SETUP)  ## fetches a small real model, converts, checks, records it, and lets it speak from both formats
	$(BIN)/python -m tools.demo

test: $(SETUP) lint  ## everything that a bare clone can test; says what it skipped and why
	$(BIN)/python -m tools.demo --fetch-only
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not slow' -n 2 --dist worksteal  # two workers: torch's threads would only wait for one another

test-slow: $(SETUP)  ## kill sweeps, fuzzing, full-size models, every malformed file under limits
	$(BIN)/python -m tools.demo --fetch-only --all
	$(BIN)/pytest -m slow

wheel-test: $(SETUP)  ## builds sdist and wheel, installs the wheel alone in a fresh environment, runs every command
	$(BIN)/python -m tools.wheel_test

family: $(SETUP)  ## NAME=seed_oss: proves one family: round trip, both readings, transformers, llama.cpp, pages
	@test -n "$(NAME)" || { echo "make family NAME=…, a model_type or general.architecture, as seed_oss"; exit 2; }
	$(BIN)/pytest -k "$(NAME)" tests/converter tests/runtime tests/verification
	$(BIN)/python -m tests.converter.architectures.test_architectures_page
	$(BIN)/python -m tests.runtime.test_runtime_page

lint: $(SETUP)  ## ruff, mypy, import contracts, declared dependencies, spelling; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry base commands converter fleet formats registry runtime sources verification
	$(BIN)/codespell

bench: $(SETUP)  ## prints the tables of docs/benchmarks.md
	@for file in benchmarks/*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit; done

docs: $(SETUP)  ## makes the generated pages again; fails if one differed
	$(BIN)/python -m tests.commands.test_cli_page
	$(BIN)/python -m tests.verification.test_checks_page
	$(BIN)/python -m tests.verification.test_matrix
	$(BIN)/python -m tests.converter.architectures.test_architectures_page
	$(BIN)/python -m tests.runtime.test_runtime_page
	$(BIN)/python -m tests.formats.scan.test_rules_page
	$(BIN)/python -m tests.formats.quants.test_types_page
	$(BIN)/python -m tests.formats.tokenizer.tokenizers_page
	$(BIN)/python -m tools.loads_in
	git diff --exit-code --stat docs

site: $(SETUP)  ## the documentation as pages, in site/; fails for a link that leads nowhere
	$(BIN)/mkdocs build --quiet

clean:  ## removes the environment and what the demo made
	rm -rf .venv demo
