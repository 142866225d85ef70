PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
FLOW ?=
ARGS ?=
# Files of tests that run at the same time.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install check test sandbox sandbox-stop dev prod demo bench readme clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done

install: $(VENV)/.installed ## Install the tool and its development tools into .venv

# uv reads neither pip's index nor its certificates: both are handed on, where pip has them.
$(VENV)/.installed: pyproject.toml
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			export DEBIAN_FRONTEND=noninteractive; \
			apt-get install -qy python3-venv || { apt-get -q update && apt-get install -qy python3-venv; }; \
		else \
			echo "$(PYTHON) has no venv module: install python3-venv, or set PYTHON." >&2; exit 1; \
		fi \
	fi
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet uv
	@index="$${PIP_INDEX_URL:-$$($(PY) -m pip config get global.index-url 2>/dev/null || true)}"; \
	cert="$${SSL_CERT_FILE:-$${PIP_CERT:-}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
	if [ -n "$$cert" ]; then export SSL_CERT_FILE="$$cert"; fi; \
	set -x; $(VENV)/bin/uv pip install --quiet --python $(PY) -e '.[sap]' --group dev
	@touch $@

check: install ## Format, lint, types and unit tests: no Docker needed
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(PY) -m pytest tests/unit

test: install ## All tests, against the sandbox, which is started if need be
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

sandbox: install ## Start Docker Engine, registry and S3 server; print what to export
	@$(PY) -m tests.sandbox start

sandbox-stop: install ## Stop what `make sandbox` or `make test` started
	@$(PY) -m tests.sandbox stop

demo: install ## Build, push and run an example in the sandbox
	@$(PY) -m tests.demo $(ARGS)

bench: install ## Measure the builds in the sandbox
	@$(PY) -m tests.bench $(ARGS)

readme: install ## Write the parts of README and docs that are made from the program
	@$(PY) -m tests.readme
	@$(PY) -m tests.lint_page

# The targets that a flow's own repository and its CI would have:
dev: install ## Build a flow's development image: make dev FLOW=flow.py
	@$(VENV)/bin/aicore-build dev --flow $(or $(FLOW),$(error Name the flow: make $@ FLOW=flow.py)) $(ARGS)

prod: install ## Build a flow's production images: make prod FLOW=flow.py
	@$(VENV)/bin/aicore-build prod --flow $(or $(FLOW),$(error Name the flow: make $@ FLOW=flow.py)) $(ARGS)

clean: ## Remove .venv and what the tools left
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
