# Flowgrid: every habit has a target here. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -o pipefail -ec
RUNS = $(shell python$(version) -c 'import sys; print(sys.executable)' 2>/dev/null)
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(RUNS)))
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

unexport PYTHONDONTWRITEBYTECODE # each worker, and each process that a test starts, would compile all of it anew

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-exhaustive test-emulators demo lint package format pages infra snapshots infra-scan \
  bench bench-peer sbom audit lock clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A lock names each file by its hash and all that is needed, so nothing is left for pip to decide.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps --progress-bar off
NAMES := awk '/^Collecting/{print "  " $$2; fflush()} /^Installing/{print "  … unpacking"; fflush()}'

$(RUN): requirements/run.txt
	@test -n "$(PYTHON)" || { echo "Flowgrid needs python3.11, python3.12 or python3.13; make PYTHON=/path/to/it run"; exit 1; }
	@echo "Once: an environment in $(VENV), and the packages to serve with"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -r requirements/run.txt | $(NAMES)
	@touch $@

$(DEV): $(RUN) requirements/dev.txt requirements/servicebus.txt
	@echo "Once: the packages to test and lint with"
	@$(INSTALL) -r requirements/dev.txt | $(NAMES)
	@$(INSTALL) -r requirements/servicebus.txt 2>/dev/null | $(NAMES) || echo "  No C compiler: the Service Bus double's tests are skipped."
	@touch $@

run: $(RUN) ## Serve on http://127.0.0.1:7071 with demo tenants, tokens and curl lines
	@$(BIN)/python -m cli serve

TESTS := $(BIN)/python -m pytest
ONE_BY_ONE := --dist load --maxschedchunk 1 # each takes long

FIRST := tests/wire tests/infra tests/contract # those that wait: at the end they would keep one process busy, and others idle

test: $(DEV) ## Run the tests, but for the long ones
	$(TESTS) -n 5 --dist loadfile --no-loadscope-reorder -m "not long and not exhaustive" $(FIRST) tests

test-long: $(DEV) ## Run the long ones: the API fuzzed, everything on the Azure adapters, faults under load
	$(TESTS) -n 3 $(ONE_BY_ONE) -m "long and not exhaustive"

test-exhaustive: $(DEV) ## Try at each place what the others try at some: half an hour
	$(TESTS) -n 2 $(ONE_BY_ONE) -m exhaustive

EMULATORS := TEST_COSMOS_ENDPOINT='http://127.0.0.1:8081/' \
  TEST_SERVICEBUS_CONNECTION='Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;' \
  TEST_BLOB_CONNECTION='DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;'

test-emulators: $(DEV) ## Run the contract suites on Microsoft's emulators (needs Docker)
	docker compose up --detach
	$(EMULATORS) $(BIN)/python -m tests.emulators && $(EMULATORS) $(BIN)/python -m pytest tests/contract; \
	  status=$$?; docker compose down --volumes; exit $$status

demo: $(RUN) ## Tell the whole main job in one screen
	$(BIN)/python -m cli demo

lint: $(DEV) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

package: $(DEV) ## Write what is deployed, .data/flowgrid.zip: git's files, and packages for Azure's Linux
	$(BIN)/python -m cli package

format: $(DEV) ## Put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pages: $(DEV) ## Write anew the pages of docs/, and what Bicep reads, that are made from the code
	$(BIN)/python -m cli.pages
	$(BIN)/python -m cli.infra
	$(BIN)/python -m cli.gateway
	$(BIN)/python -m tests.isolation

infra: $(RUN) ## Compile, lint and compare what Bicep would make with its snapshots; needs bicep on the PATH
	$(BIN)/python -m cli.bicep

snapshots: $(RUN) ## Write anew what Bicep would make, to be reviewed as a diff; needs bicep on the PATH
	$(BIN)/python -m cli.bicep snapshots

SCAN := .venv-infra

$(SCAN)/.ready: requirements/infra.txt
	$(PYTHON) -m venv $(SCAN)
	$(SCAN)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/infra.txt
	@touch $@

infra-scan: $(RUN) $(SCAN)/.ready ## Have checkov look at what would be deployed
	$(BIN)/python -m cli.scan $(SCAN)/bin/checkov

bench: $(DEV) ## Measure, as ratios against a baseline of the same run
	$(BIN)/python -m bench

PEER := .data/peer

$(PEER)/.ready: bench/peer/requirements.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peer/requirements.txt
	@touch $@

bench-peer: $(DEV) $(PEER)/.ready ## Measure beside FastAPI, SQLAlchemy and PostgreSQL, which has to be installed
	$(BIN)/python -m bench.peer

AUDIT := .cache/audit
SBOM := sbom.json

$(AUDIT)/.ready: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/audit.txt
	@touch $@

sbom: $(AUDIT)/.ready ## Write the bill of materials of what ships, sbom.json (CycloneDX)
	$(AUDIT)/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file $(SBOM)

audit: $(AUDIT)/.ready ## Ask PyPI's advisory service about what ships; needs the network
	$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt

# What pyproject.toml requires, for every Python and system.
LOCKED := .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE)\
  --custom-compile-command "make lock"

lock: ## Lock what pyproject.toml requires; with UPGRADE=--upgrade what that requires in its newest version
	$(PYTHON) -m venv .cache/lock && .cache/lock/bin/python -m pip install --quiet uv==0.13.9
	$(LOCKED) pyproject.toml -o requirements.txt
	$(LOCKED) --group run -c requirements.txt -o requirements/run.txt
	$(LOCKED) pyproject.toml --group dev -c requirements.txt -c requirements/run.txt -o requirements/dev.txt
	$(LOCKED) --group postgres -c requirements/dev.txt -o requirements/postgres.txt
	$(LOCKED) --group servicebus -c requirements/dev.txt -o requirements/servicebus.txt
	$(LOCKED) --group client -o requirements/client.txt
	$(LOCKED) --group audit -o requirements/audit.txt
	$(LOCKED) --group infra -o requirements/infra.txt

clean: ## Forget the virtual environment and the local data
	rm -rf $(VENV) $(SCAN) .data
