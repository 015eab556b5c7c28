# Everything a contributor runs. `make help` lists it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
ARGS   ?=
KILLS  ?= 1000
RUNS   ?= 10000
HISTORIES ?= 100
STEPS  ?= 60
SEED   ?=
STORE  ?= sqlite
# Test processes side by side: more than there are cores, since most tests wait for a disk, a
# deadline or another process. Each one has servers of its own.
WORKERS ?= 4
PARALLEL = --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder

# A stamp per lock file: an unchanged lock file is not installed twice.
DEV_STAMP   := $(VENV)/.dev-installed
BENCH_STAMP := $(VENV)/.bench-installed
# Signatures of webhooks and mail are also verified by JavaScript libraries that receivers use.
NODE_TESTS  := tests/delivery/node
NODE_STAMP  := $(NODE_TESTS)/node_modules/.installed
# The OpenAPI document is read by the tools that others make their clients with.
OPENAPI            := .venv-openapi
OPENAPI_STAMP      := $(OPENAPI)/.installed
# What checks and describes a release.
RELEASE       := .venv-release
RELEASE_STAMP := $(RELEASE)/.installed
PROJECT_URL   ?=
OPENAPI_NODE       := tests/http/node
OPENAPI_NODE_STAMP := $(OPENAPI_NODE)/node_modules/.installed
# The compose files are checked by a linter that knows their schema.
DEPLOY_NODE       := tests/deploy/node
DEPLOY_NODE_STAMP := $(DEPLOY_NODE)/node_modules/.installed
# Client libraries of other services run unchanged against Headrace.
CLIENTS            := .venv-clients
CLIENTS_STAMP      := $(CLIENTS)/.installed
CLIENTS_NODE       := tests/http/clients
CLIENTS_NODE_STAMP := $(CLIENTS_NODE)/node_modules/.installed
# Pages are checked for accessibility.
AXE         := tests/backoffice/node
AXE_STAMP   := $(AXE)/node_modules/.installed

# The newest PostgreSQL comes with the Python packages, the oldest one that is supported from here;
# its binaries are for one machine only, and without them the tests run on the newest alone.
OLD_POSTGRES       := tests/support/postgres14
OLD_POSTGRES_STAMP := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),$(OLD_POSTGRES)/node_modules/.installed)

# Compiled modules are kept, whatever the environment says: tests start thousands of processes, and
# compiling Headrace takes half of the time that each needs to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use it

.PHONY: install
install: $(DEV_STAMP) ## Make .venv with the locked packages and Headrace itself (PYTHON=python3.12 picks another Python)

.PHONY: serve
serve: $(DEV_STAMP) ## Start Headrace on port 8080 (ARGS="--port 9000" passes options on)
	$(BIN)/headrace serve $(ARGS)

##@ Check it

.PHONY: check
check: lint types imports ## Lint, types and import contracts

.PHONY: lint
lint: $(DEV_STAMP) ## Ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(DEV_STAMP) ## Mypy, strict, over src and tests
	$(BIN)/mypy

.PHONY: imports
imports: $(DEV_STAMP) ## Which package may import which
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(DEV_STAMP) ## Rewrite the code in the project's format and apply the safe fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: test
test: $(if $(strip $(ARGS)),,test-second-python) $(DEV_STAMP) system-packages $(NODE_STAMP) $(AXE_STAMP) $(OPENAPI_STAMP) $(OPENAPI_NODE_STAMP) $(CLIENTS_STAMP) $(CLIENTS_NODE_STAMP) $(OLD_POSTGRES_STAMP) ## Run the tests (ARGS="tests/unit -k cursor" picks some)
	$(BIN)/pytest $(or $(strip $(ARGS)),$(PARALLEL) -m "not long")

.PHONY: test-long
test-long: $(DEV_STAMP) system-packages ## Run the further seeds of random tests, which make test leaves out
	$(BIN)/pytest $(PARALLEL) -m long

.PHONY: test-python
test-python: ## Run unit, property and store tests on another Python (PYTHON=python3.13), in an environment of its own
	scripts/test-python $(PYTHON) $(PARALLEL) $(or $(ARGS),tests/unit tests/property tests/store)

# A part of `make test`, where there is a second Python.
.PHONY: test-second-python
test-second-python:
	@second=$$(scripts/second-python $(PYTHON)); if [ -z "$$second" ]; \
	  then echo "No second Python here: make test-python runs the tests on one"; \
	  else scripts/test-python "$$second" $(PARALLEL) tests/unit; fi

.PHONY: test-package
test-package: $(DEV_STAMP) ## Install the wheel with the locked packages on every Python at hand, and serve from it
	scripts/test-package

.PHONY: check-deploy
check-deploy: $(DEV_STAMP) $(RELEASE_STAMP) $(DEPLOY_NODE_STAMP) ## Lint the Dockerfile and the compose files, and try the alerts and the dashboard with Prometheus' own tool
	scripts/system-packages prometheus
	$(RELEASE)/bin/hadolint Dockerfile
	$(DEPLOY_NODE)/node_modules/.bin/dclint --config $(DEPLOY_NODE)/.dclintrc.yaml deploy/compose.yaml deploy/compose.postgres.yaml
	promtool check rules deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts.test.yml
	@mkdir -p build
	$(BIN)/python -m tests.deploy.dashboard > build/dashboard.yml
	promtool check rules build/dashboard.yml

.PHONY: licenses
licenses: $(DEV_STAMP) $(OPENAPI_STAMP) $(RELEASE_STAMP) $(BENCH_STAMP) ## Compare the licenses of all locked packages with those allowed
	$(BIN)/python scripts/check-licenses requirements/runtime.txt requirements/dev.txt requirements/bench.txt \
	  $$(find tests -name package-lock.json -not -path '*/node_modules/*')
	$(OPENAPI)/bin/python scripts/check-licenses requirements/openapi.txt
	$(RELEASE)/bin/python scripts/check-licenses requirements/release.txt

.PHONY: screenshots
screenshots: $(DEV_STAMP) system-packages $(AXE_STAMP) ## Take the screenshots in the docs again
	$(BIN)/pytest tests/backoffice/browser
	@mkdir -p docs/images
	@for image in $$(grep -oh 'images/[a-z0-9.-]*\.png' docs/*.md | sort -u); do \
	  cp "build/screenshots/$${image#images/}" "docs/$$image"; done

.PHONY: torture
torture: $(DEV_STAMP) system-packages ## Kill the server under load KILLS times (1000) and check for lost or duplicate events (STORE=postgresql: nodes and database)
	$(BIN)/python -m tests.torture --store $(STORE) --kills $(KILLS) $(ARGS)

.PHONY: torture-automations
torture-automations: $(DEV_STAMP) ## Kill workers while RUNS automation runs (10000) are open and check that every effect happened once (STORE=postgresql)
	$(BIN)/python -m tests.torture.automations --store $(STORE) --runs $(RUNS) $(ARGS)

.PHONY: histories
histories: $(DEV_STAMP) ## Random histories of contacts, merges, consent and erasure compared with a simple reference model (SEED=1 HISTORIES=100 STEPS=60)
	$(BIN)/python -m tests.histories --histories $(HISTORIES) --steps $(STEPS) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: automation-histories
automation-histories: $(DEV_STAMP) ## Random histories of automations against simple reference models on both stores (HISTORIES=100 of each kind)
	AUTOMATION_HISTORIES=$(HISTORIES) $(BIN)/pytest -q --timeout=0 tests/store/automations/test_against_naive.py \
	  tests/store/automations/test_guarded_histories.py tests/store/automations/test_invariants.py $(ARGS)

.PHONY: bench
bench: $(BENCH_STAMP) ## Measure against the baselines (STORE=postgresql starts one); writes JSON and a page with plots
	scripts/system-packages wrk
	$(BIN)/python -m bench --store $(STORE) $(ARGS)

.PHONY: figures
figures: $(BENCH_STAMP) ## Write the figures of the last bench into the README
	$(BIN)/python -m bench.report.readme $(ARGS)

##@ Release it

.PHONY: package
package: $(DEV_STAMP) ## Build wheel and source archive into dist/ (PROJECT_URL=https://… is the project's address in them)
	rm -rf dist
	PROJECT_URL=$(PROJECT_URL) $(BIN)/python -m hatchling build

.PHONY: sbom
sbom: $(DEV_STAMP) $(RELEASE_STAMP) ## Write build/headrace.cdx.json: all that an installation contains (SBOM, CycloneDX)
	rm -rf build/installation
	$(PYTHON) -m venv --without-pip build/installation
	$(PIP) --python build/installation/bin/python install --quiet --require-hashes -r requirements/runtime.txt
	$(PIP) --python build/installation/bin/python install --quiet --no-deps .
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/headrace.cdx.json build/installation
	rm -rf build/installation

##@ Maintain it

.PHONY: system-packages
system-packages: ## Install the tools that the tests need from outside Python, if absent
	@scripts/system-packages strace nodejs npm pgbouncer chromium nginx caddy

.PHONY: mail-server
mail-server: ## Install Debian's Postfix for the tests against a real mail server; it replaces another one
	@scripts/system-packages postfix

.PHONY: lock
lock: ## Renew the lock files in requirements/ (ARGS=--upgrade takes newer releases)
	PYTHON=$(PYTHON) scripts/lock $(ARGS)

.PHONY: examples
examples: $(DEV_STAMP) ## Renew the real webhook payloads in tests/data from their npm package
	$(BIN)/python -m tests.data.refresh_examples

.PHONY: clean
clean: ## Remove the environment, caches and build results; never a store
	rm -rf $(VENV) .venv-lock .venv-python* $(OPENAPI) $(CLIENTS) $(RELEASE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make TARGET [NAME=VALUE]" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(DEV_STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Headrace needs Python 3.11 or newer: make install PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_STAMP): $(NODE_TESTS)/package-lock.json | system-packages
	npm ci --prefix $(NODE_TESTS) --no-audit --no-fund --loglevel=error
	@touch $@

$(AXE_STAMP): $(AXE)/package-lock.json | system-packages
	npm ci --prefix $(AXE) --no-audit --no-fund --loglevel=error
	@touch $@

$(OPENAPI_STAMP): requirements/openapi.txt
	$(PYTHON) -m venv $(OPENAPI)
	$(OPENAPI)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/openapi.txt
	@touch $@

$(RELEASE_STAMP): requirements/release.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/release.txt
	@touch $@

$(OPENAPI_NODE_STAMP): $(OPENAPI_NODE)/package-lock.json | system-packages
	npm ci --prefix $(OPENAPI_NODE) --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

$(DEPLOY_NODE_STAMP): $(DEPLOY_NODE)/package-lock.json | system-packages
	npm ci --prefix $(DEPLOY_NODE) --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

$(CLIENTS_STAMP): requirements/clients.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/clients.txt
	@touch $@

$(CLIENTS_NODE_STAMP): $(CLIENTS_NODE)/package-lock.json | system-packages
	npm ci --prefix $(CLIENTS_NODE) --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

$(OLD_POSTGRES)/node_modules/.installed: $(OLD_POSTGRES)/package-lock.json | system-packages
	npm ci --prefix $(OLD_POSTGRES) --no-audit --no-fund --loglevel=error
	@touch $@

$(BENCH_STAMP): requirements/bench.txt $(DEV_STAMP)
	$(PIP) install --quiet --require-hashes -r requirements/bench.txt
	@touch $@
