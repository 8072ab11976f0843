.DEFAULT_GOAL := help
VENV := .venv/bin
PYTHON ?= python3
NEW_KEY = $$($(PYTHON) -c 'import secrets; print(secrets.token_hex(32))')

.PHONY: help setup demo dev test lint bench bench-scale parity

help: ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/installed .env ## make .venv with the hash-locked dependencies, and .env with a secret
	@# Also into a file that somebody made: the last line of a name counts.
	@grep -q '^CX_IDENTITY_KEY=.' .env || echo "CX_IDENTITY_KEY=$(NEW_KEY)" >> .env

.venv/installed: requirements.lock requirements-uv.lock pyproject.toml
	@echo "Installing into .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv .venv
	@$(VENV)/python -m pip install -q --require-hashes -r requirements-uv.lock
	@# uv fetches side by side: 6 s where pip takes 97. pip knows indexes that only it is told of.
	@# Compiled here, as a start loads 4,000 modules and may not be allowed to keep what it compiles.
	@$(VENV)/uv pip install -q --compile-bytecode --python $(VENV)/python --require-hashes -r requirements.lock \
		|| $(VENV)/python -m pip install -q --require-hashes -r requirements.lock
	@$(VENV)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/spark: .venv/installed requirements-spark.lock
	@echo "Installing Spark into .venv (once, 480 MB)"
	@$(VENV)/uv pip install -q --python $(VENV)/python --require-hashes -r requirements-spark.lock \
		|| $(VENV)/python -m pip install -q --require-hashes -r requirements-spark.lock
	@touch $@

.env:
	@umask 077 && sed "s/^CX_IDENTITY_KEY=$$/CX_IDENTITY_KEY=$(NEW_KEY)/" .env.example > .env

demo: setup ## run the whole pipeline on the demo company
	@$(VENV)/cx demo

dev: setup ## open the Dagster UI and daemon on the same data
	@$(VENV)/cx dev

test: setup ## run the test suite
	@$(VENV)/python -m pytest

lint: setup ## check the style of Python and SQL
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/sqlfluff lint -q dbt_project

bench: setup ## measure against bare DuckDB; prints ratios
	@$(VENV)/python -m benchmarks.run

parity: setup .venv/spark ## build the demo on DuckDB and on Spark, compare every table (needs Java 17)
	@$(VENV)/python -m pytest tests/warehouse/test_spark_engine.py
	@$(VENV)/python -m parity.run

CONTACTS ?= 10000000

bench-scale: .venv/installed-bench .env ## measure against DuckDB, pandas, Polars and Spark: CONTACTS=65000000
	@$(VENV)/python -m benchmarks.scale.run --contacts $(CONTACTS)

.venv/installed-bench: .venv/installed requirements-bench.lock
	@echo "Installing Polars and Spark into .venv (once); Spark needs Java 17 or newer"
	@$(VENV)/uv pip install -q --python $(VENV)/python --require-hashes -r requirements-bench.lock \
		|| $(VENV)/python -m pip install -q --require-hashes -r requirements-bench.lock
	@touch $@
