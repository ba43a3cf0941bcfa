# `make up` runs Modelyard, `make test` checks it; both install what they need into .venv first.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Built, and built again when something of it has changed.
DASHBOARD := src/modelyard/dashboard/index.html
DASHBOARD_SOURCES := $(shell find dashboard/src dashboard/public -type f ! -name schema.ts) $(wildcard dashboard/*.*) docs/openapi.yaml
INSTALLED_DEV := $(VENV)/.installed-dev
CLIENTS := $(VENV)/clients
INSTALLED_CLIENTS := $(CLIENTS)/.installed
# Of each load of bench-peers, and how often each server has its turn.
SECONDS ?= 3
ROUNDS ?= 3

# The tests start hundreds of processes: each would compile all of Modelyard anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup dashboard up down test bench bench-peers soak schedules screenshots openapi lock clean

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(INSTALLED) $(DASHBOARD) ## Install Modelyard into .venv
	@echo "Modelyard is installed: $(BIN)/modelyard"

up: $(INSTALLED) $(DASHBOARD) ## Run Modelyard with two demo models; Ctrl-C ends it
	@$(BIN)/modelyard up --demo

down: $(INSTALLED) ## Stop a Modelyard that runs in the background
	@$(BIN)/modelyard down

test: $(INSTALLED_DEV) $(INSTALLED_CLIENTS) $(DASHBOARD) ## Check style, types and imports, and run all tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd dashboard && node_modules/.bin/prettier --check --log-level warn src
	@sh scripts/browser.sh
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

bench: $(INSTALLED_DEV) $(DASHBOARD) ## Measure speed and memory; fails when a goal is missed
	@$(BIN)/python -m bench

bench-peers: $(INSTALLED) ## Measure other model servers and ours in turns, into docs/benchmarks.md (about 20 minutes)
	@$(BIN)/python -m bench.peers.serving --seconds $(SECONDS) --rounds $(ROUNDS)

soak: $(INSTALLED_DEV) ## Drive the life cycle through 10,000 random histories (about 20 minutes)
	@MODELYARD_HISTORIES=10000 $(BIN)/pytest tests/control/test_yard_machine.py

schedules: $(INSTALLED_DEV) ## Compare schedules with the wall clock at every change of it from 2020 to 2040 (2 minutes)
	@MODELYARD_EVERY_CHANGE=1 $(BIN)/pytest -s tests/domain/test_schedules.py -k every_change

openapi: $(INSTALLED) ## Write docs/openapi.yaml anew
	@$(BIN)/python -m modelyard.api.describe > docs/openapi.new && mv docs/openapi.new docs/openapi.yaml

screenshots: $(INSTALLED_DEV) $(DASHBOARD) ## Take pictures of all screens of the dashboard into screenshots/, and the README's
	@sh scripts/browser.sh
	@$(BIN)/python -m tests.dashboard.screenshots --readme screenshots

dashboard: $(DASHBOARD) ## Build the dashboard into the package

lock: $(INSTALLED) ## Resolve the dependencies anew into requirements*.lock
	@$(BIN)/python scripts/lock.py

clean: ## Remove .venv and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): pyproject.toml requirements.lock scripts/setup.sh
	@sh scripts/setup.sh requirements.lock
	@touch $@

$(DASHBOARD): $(DASHBOARD_SOURCES) scripts/dashboard.sh | $(INSTALLED)
	@sh scripts/dashboard.sh

$(INSTALLED_DEV): $(INSTALLED) requirements-dev.lock
	@sh scripts/setup.sh requirements-dev.lock
	@touch $@

# The official clients of other servers, against which the protocols are tested: not to be had beside what we need.
$(INSTALLED_CLIENTS): $(INSTALLED) requirements-clients.lock scripts/setup.sh
	@sh scripts/setup.sh requirements-clients.lock $(CLIENTS)
	@touch $@
