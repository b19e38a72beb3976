# The only commands to know.  Longer shell lives in deploy/install.sh.
.DEFAULT_GOAL := help
.PHONY: help install run test check bench migrate golden fuzz lock

VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

install: ## set up: system packages and .venv (with .venv/bin/cryopack)
	@deploy/install.sh run

run: install ## start everything on http://127.0.0.1:8000; Ctrl-C stops it
	@exec $(VENV)/cryopack up --with-parent

test: ## install what the tests need and run all of them
	@deploy/install.sh test
	@$(PYTEST) -n 3 --dist loadgroup

check: ## format, lint, types, architecture: seconds
	@deploy/install.sh check
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy
	@$(PYTEST) -q tests/test_architecture.py

bench: ## the benchmarks, each next to its floor or its peer, in one table
	@deploy/install.sh check
	@$(VENV)/python -m bench

migrate: install ## bring the configured database to the newest schema
	@$(VENV)/cryopack migrate

golden: ## write the golden files again; read their diff before you commit it
	@deploy/install.sh check
	@$(PYTEST) -q tests/golden --update-golden

fuzz: ## ask the API ten thousand odd questions; half an hour
	@deploy/install.sh test
	@FUZZ_REQUESTS=10000 $(PYTEST) -s tests/web/api/test_fuzz.py -k ten_thousand

lock: ## resolve the dependencies again and write both locks
	@deploy/install.sh lock
