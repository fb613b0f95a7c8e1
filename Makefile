# Flowgrid: every habit has a target here. `make help` lists them.
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-emulators demo lint format bench clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(READY): requirements.txt requirements-dev.txt requirements-servicebus.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements-dev.txt
	@$(PIP) -r requirements-servicebus.txt 2>/dev/null || echo "No C compiler: the Service Bus double's tests are skipped."
	@touch $@

run: $(READY) ## Serve on http://127.0.0.1:7071 with demo tenants, tokens and curl lines
	$(BIN)/python -m cli serve

TESTS := $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(READY) ## Run the tests, but for the long ones
	$(TESTS) -m "not long"

test-long: $(READY) ## Run the long ones: the API fuzzed, everything on the Azure adapters, faults under load
	$(TESTS) -m long

EMULATORS := TEST_COSMOS_ENDPOINT='http://127.0.0.1:8081/' \
  TEST_SERVICEBUS_CONNECTION='Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;' \
  TEST_BLOB_CONNECTION='DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;'

test-emulators: $(READY) ## Run the contract suites on Microsoft's emulators (needs Docker)
	docker compose up --detach
	$(EMULATORS) $(BIN)/python -m tests.emulators && $(EMULATORS) $(BIN)/python -m pytest tests/contract; \
	  status=$$?; docker compose down --volumes; exit $$status

demo: $(READY) ## Tell the whole main job in one screen
	$(BIN)/python -m cli demo

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure, as ratios against a baseline of the same run
	$(BIN)/python -m bench

clean: ## Forget the virtual environment and the local data
	rm -rf $(VENV) .data
