# Every verb of `batchfront VERB` is a target, and variables are its options: make study N_TRIALS=60
# is `batchfront run --n-trials 60`. What was typed after make is handed on, and only that: a variable
# that the verb does not know is refused, and of the environment only BATCHFRONT_* counts.
PYTHON ?= python3
PY := .venv/bin/python
# In the environment, where no `ps` shows them: URLs may hold passwords. What was typed after `make`
# shows there all the same: study/cli/typed.py says so.
export BATCHFRONT_STORAGE := $(or $(value STORAGE),$(value BATCHFRONT_STORAGE))
export BATCHFRONT_FROM := $(or $(value FROM),$(value BATCHFRONT_FROM))
export BATCHFRONT_TO := $(or $(value TO),$(value BATCHFRONT_TO))
export BATCHFRONT_TYPED := $(foreach name,STORAGE FROM TO,$(if $(findstring command,$(origin $(name)) $(origin BATCHFRONT_$(name))),$(name)))

# What make itself needs, or what travels in the environment; everything else goes to the verb.
ours := PYTHON PY PYTEST_ARGS FAULTS_ARGS CHAOS_ARGS GPU_CHECK_ARGS STORAGE FROM TO BATCHFRONT_STORAGE BATCHFRONT_FROM BATCHFRONT_TO
typed := $(foreach name,$(filter-out $(ours) MAKE%,$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
quote = '$(subst ','\'',$(1))'
words = $(foreach name,$(sort $(typed)),$(call quote,$(name)=$(value $(name))))

VERBS := advise smallest probe record noise-scale lr-range front ls rates claims critical-batch export report \
  dashboard serve copy delete import

.DEFAULT_GOAL := help
.PHONY: help study $(VERBS) test test-all chaos gpu-check lint clean

help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "options are variables, as in: make study TASK=mine.py N_TRIALS=60 BATCH_SIZES=8:256"
	@echo "  what a target takes: .venv/bin/batchfront VERB --help, or docs/options.md"

study: .venv/.run $(if $(filter ray,$(LAUNCHER)),.venv/.ray) ## search batch size and learning rate; run again to resume
	@$(PY) -m study run $(words)

advise: ## which batch size and learning rate to train with
smallest: ## smallest batch size that reaches TARGET=0.95, with evidence
probe: ## step time and memory of each batch size
record: ## sweep a grid into a table of training curves
noise-scale: ## how noisy the gradients of a task are
lr-range: ## which learning rates are worth searching
front: ## show the Pareto front
ls: ## list the studies
rates: ## best learning rate of each batch size, and its law
claims: ## common beliefs about batch size, held against a study
critical-batch: ## the largest batch size that still saves steps: TARGET=0.95
export: ## print all trials, for machines
report: ## write one HTML page of figures
dashboard: ## serve optuna-dashboard on 127.0.0.1
serve: ## let workers elsewhere share the storage (gRPC)
copy: ## copy a study: make copy FROM=URL TO=URL
delete: ## delete a study with its checkpoints: make delete STUDY_NAME=digits
import: ## make a study from recorded runs: make import RUNS=runs.csv
$(VERBS): .venv/.run
	@$(PY) -m study $@ $(words)

# Several processes share the tests, by file; those marked `timed` run alone all the same.
BESIDE := -n auto --maxprocesses 4 --dist loadfile

test: .venv/.test ## run the tests
	@$(PY) -m pytest $(BESIDE) -m 'not slow' $(PYTEST_ARGS)

test-all: .venv/.test ## run also the slow tests: browsers, servers, clusters, long faults
	@$(PY) -m pytest $(BESIDE) $(PYTEST_ARGS)

chaos: .venv/.test ## end, kill and pause workers for an hour; nothing may be lost
	@$(PY) -m tests.faults $(FAULTS_ARGS)
	@$(PY) -m tests.chaos $(CHAOS_ARGS)

gpu-check: .venv/.run ## check on a GPU what only a GPU can show
	@$(PY) -m benchmarks.gpu_check $(GPU_CHECK_ARGS)

lint: .venv/.lint ## check style and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

clean: ## remove the virtual environment; recorded studies in runs/ stay
	rm -rf .venv

# Stamps: an installation is repeated only when what it depends on has changed.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batchfront needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.run: .venv/.made pyproject.toml constraints.txt
	@echo "installing packages into .venv (once)"
	@.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.test .venv/.lint .venv/.ray: .venv/.%: .venv/.run
	@.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
