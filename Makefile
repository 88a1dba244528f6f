# The verbs of the house. Each works on a fresh machine with Python >= 3.11: what it needs, it installs into .venv.
# PYTHON, DATA and VENV may be set from outside.

PYTHON ?= python3
VENV ?= .venv
DATA ?= .data
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

.PHONY: up test check bench certificate loadtest simulate docs clean lock crash-matrix infra-tools infra-test

up: $(VENV)/.run
	$(BIN)/cellwallet up --data $(DATA) --demo

test: $(VENV)/.dev check
	@failed=; for suite in layout integration simulation system; do \
		echo "tests/$$suite"; $(RUN) pytest -q --durations=10 tests/$$suite || failed="$$failed tests/$$suite"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(RUN) mypy
	$(BIN)/lint-imports
	$(RUN) pytest tests/unit -q

bench: $(VENV)/.dev
	$(RUN) loadtests.bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(STRICT),--strict)

crash-matrix: $(VENV)/.dev
	PYTHONPATH=tests/support $(RUN) crash_matrix $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) \
		$(if $(RESUME),--resume)

certificate: $(VENV)/.dev
	$(BIN)/cellwallet loadtest certify --strict --seconds 4 --out docs/capacity_example

loadtest: $(VENV)/.dev
	$(RUN) loadtests.journeys --stack $(DATA) $(if $(SHAPE),--shape $(SHAPE)) $(if $(USERS),--users $(USERS)) \
		$(if $(SECONDS),--seconds $(SECONDS))

simulate: $(VENV)/.dev
	PYTHONPATH=.:tests/support $(RUN) simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(JSON),--json) $(if $(MUTANTS),--mutants)

infra-tools: $(VENV)/.run
	$(RUN) infra.tools $(ONLY) $(if $(MINUTES),--minutes $(MINUTES))

infra-test: $(VENV)/.dev infra-tools
	PYTHONPATH=tests/support CELLWALLET_INFRA=required $(RUN) pytest -q -p infra_proofs tests/infra \
		$(if $(JSON),--proofs-json $(JSON))

docs: $(VENV)/.dev
	$(BIN)/python docs/render.py

lock:
	uv pip compile -q pyproject.toml --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
		-o requirements.lock
	uv pip compile -q pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url \
		--python-version 3.11 -o requirements-dev.lock
	uv pip compile -q pyproject.toml --extra kubernetes --universal --generate-hashes --no-emit-index-url \
		--python-version 3.11 -o requirements-kubernetes.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later must be installed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(RUN) pip install --quiet --require-hashes -r requirements.lock
	$(RUN) pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(RUN) pip install --quiet --require-hashes -r requirements-dev.lock
	$(RUN) pip install --quiet --no-deps --editable .
	touch $@ $(VENV)/.run
