# One command per chore, the same by hand and in CI. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Extra arguments for pytest, e.g. make test ARGS="-k resume -x".
ARGS ?=
# Test files that run at the same time. Fewer leave a part of two cores unused, since tests wait.
JOBS ?= 4
# Device for `make bench`: cpu or cuda.
DEVICE ?= auto
# Rounds of `make chaos`: what draws them, the number of the first, and how many.
SEED ?= 1
FIRST ?= 1
ROUNDS ?= 20

.DEFAULT_GOAL := help
.PHONY: help install demo up test tests test-long chaos check-deaths check-bucket check-nodes check-model check-mutants check-readers lint format bench bench-gpu protos protos-check sync sync-check map-check tables golden-curves clean

help: ## List the chores
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## Create .venv with everything, pinned (a torch already in it is kept)

# Torch goes first and alone: a torch that satisfies the pin is kept, whatever its build. On a
# machine without a GPU, TORCH_INDEX may name an index of CPU-only builds.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## Train a small GPT on real text through the whole stack
	$(BIN)/python -P examples/demo.py

up: $(STAMP) ## Start the whole stack on this machine
	$(BIN)/training-engine up

# Both at once: mypy needs one core for a minute or more.
test: $(STAMP) ## Checks and tests
	$(MAKE) --no-print-directory -j 2 lint tests

# Files in the order of their folders: chaos and e2e, the longest, come first, so that what is left at
# the end are many short ones, and no process works alone.
tests: $(STAMP) ## The tests alone
	$(BIN)/python -P -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: $(STAMP) ## The tests that `make test` leaves out for their length
	$(BIN)/python -P -m pytest -v -m long $(ARGS)

chaos: $(STAMP) ## Break a real stack in ROUNDS ways that SEED draws; ends with what was broken
	$(BIN)/python tests/chaos --seed $(SEED) --first $(FIRST) --rounds $(ROUNDS) $(ARGS)

DEATHS = tests/chaos/test_deaths.py tests/chaos/test_kills.py::test_redis_away

check-deaths: $(STAMP) ## Freeze, cut off and slow down workers, for as long as in life
	$(BIN)/python -P -m pytest -v --as-in-life $(DEATHS) $(ARGS)

check-bucket: $(STAMP) ## All tests of chaos with the artifacts in a bucket behind a failing network
	$(BIN)/python -P -m pytest -v --over-bucket tests/chaos $(ARGS)

check-nodes: $(STAMP) ## Twenty kills of jobs over several nodes, without a folder in common
	$(BIN)/python -P -m pytest -v -s tests/chaos/test_gang_kills.py $(ARGS)

check-model: $(STAMP) ## Visit all states of a job, more of them than the tests do
	$(BIN)/python -P tests/model/check_model.py

check-mutants: $(STAMP) ## Change each condition of the scripts; what notices it?
	$(BIN)/python -P tests/model/check_mutants.py $(ARGS)

check-readers: $(STAMP) ## Other projects' software reads what we export; installs it, pinned
	$(BIN)/python -P tests/readers $(ARGS)

lint: $(STAMP) protos-check sync-check map-check ## Ruff, mypy, import-linter, buf, generated files, the map
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@image=$$(mktemp --suffix .binpb) && trap 'rm -f "$$image"' EXIT && \
	  $(PROTOC) --include_imports --include_source_info --descriptor_set_out="$$image" protos/training_engine/v1/*.proto && \
	  $(BIN)/buf lint "$$image" --config protos/buf.yaml

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Benchmarks; DEVICE=cuda on a GPU
	$(BIN)/python -m benchmarks --device $(DEVICE) $(ARGS)

bench-gpu: $(STAMP) ## The tests and benchmarks for a GPU, within eight minutes
	$(BIN)/python -m benchmarks.on_gpu $(ARGS)

# google/api/*.proto, of the package googleapis-common-protos.
GOOGLE_PROTOS = $(shell $(BIN)/python -P -c 'from google.api import http_pb2; print(http_pb2.__file__.rsplit("/", 3)[0])')
PROTOC = $(BIN)/python -m grpc_tools.protoc -I protos -I $(GOOGLE_PROTOS)
PROTO_FLAGS = --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) \
  --mypy_grpc_out=$(1) --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc

METRIC_NAMES = $(BIN)/python -P worker/generate_metric_names.py
DESCRIPTIONS = $(BIN)/python -P client/generate_descriptions.py $(1)/training_engine/v1/descriptions.json

protos: $(STAMP) ## Regenerate the stubs, the descriptions, the SDK's records, calls and methods
	$(PROTOC) $(call PROTO_FLAGS,client) protos/training_engine/v1/*.proto
	$(call DESCRIPTIONS,client)
	$(BIN)/python client/generate_records.py
	$(BIN)/python client/generate_calls.py
	$(BIN)/python client/generate_methods.py
	$(BIN)/python -P client/generate_sync.py
	$(METRIC_NAMES) worker/app/training/metric_names.py

protos-check: $(STAMP)
	@generated=$$(mktemp -d) && trap 'rm -rf "$$generated"' EXIT && \
	  $(PROTOC) $(call PROTO_FLAGS,$$generated) protos/training_engine/v1/*.proto && \
	  $(call DESCRIPTIONS,$$generated) && \
	  diff -r --exclude='__init__.py' --exclude='__pycache__' --exclude='py.typed' "$$generated/training_engine/v1" client/training_engine/v1 && \
	  $(METRIC_NAMES) "$$generated/metric_names.py" && \
	  diff "$$generated/metric_names.py" worker/app/training/metric_names.py || \
	  { echo "The committed stubs differ from the protos; run: make protos"; exit 1; }
	@$(BIN)/python client/generate_records.py --check
	@$(BIN)/python client/generate_calls.py --check
	@$(BIN)/python client/generate_methods.py --check

sync: $(STAMP) ## Rewrite the blocking SDK from the asyncio SDK
	$(BIN)/python -P client/generate_sync.py

sync-check: $(STAMP)
	@$(BIN)/python -P client/generate_sync.py --check

tables: $(STAMP) ## Rewrite the tables of docs/ from code and protos
	for each in docs/generate_*.py; do $(BIN)/python -P $$each || exit 1; done

map-check: $(STAMP)
	@$(BIN)/python -P -m pytest --quiet --no-header tests/unit/test_map.py

golden-curves: $(STAMP) ## Write the first losses of the examples again, for this processor
	$(BIN)/python -P tests/golden/write_curves.py

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
