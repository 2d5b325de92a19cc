# Every verb is one call of `python -m study`. Set variables as in: make study N_TRIALS=60
PYTHON ?= python3
PY := .venv/bin/python
# In the environment, where no `ps` shows them: URLs may hold passwords.
export BATCHFRONT_STORAGE := $(or $(value STORAGE),$(value BATCHFRONT_STORAGE))
export BATCHFRONT_FROM := $(or $(value FROM),$(value BATCHFRONT_FROM))
export BATCHFRONT_TO := $(or $(value TO),$(value BATCHFRONT_TO))

# $(call option,--name,VARIABLE): the option, quoted, when the variable is set
quote = '$(subst ','\'',$(1))'
option = $(if $(value $(2)),$(1) $(call quote,$(value $(2))))

run_options = $(call option,--task,TASK) $(call option,--data-dir,DATA_DIR) \
  $(call option,--study-name,STUDY_NAME) \
  $(call option,--n-trials,N_TRIALS) $(call option,--n-workers,N_WORKERS) \
  $(call option,--launcher,LAUNCHER) $(call option,--ray-address,RAY_ADDRESS) \
  $(call option,--sampler,SAMPLER) $(call option,--pruner,PRUNER) \
  $(call option,--pruner-risk,PRUNER_RISK) $(call option,--seed,SEED) $(call option,--epochs,EPOCHS) \
  $(call option,--device,DEVICE) $(call option,--target,TARGET) \
  $(call option,--batch-sizes,BATCH_SIZES) $(call option,--learning-rates,LEARNING_RATES) \
  $(call option,--timeout,TIMEOUT) $(call option,--grace,GRACE) \
  $(call option,--checkpoint-dir,CHECKPOINT_DIR) $(call option,--max-memory,MAX_MEMORY) \
  $(call option,--max-seconds,MAX_SECONDS) $(call option,--min-accuracy,MIN_ACCURACY) \
  $(call option,--diagnostics,DIAGNOSTICS) $(call option,--config,CONFIG) $(if $(COMPILE),--compile) \
  $(if $(MIXED_HARDWARE),--mixed-hardware) $(technique_options)
look_options = $(call option,--study-name,STUDY_NAME)

technique_options = $(call option,--micro-batch-sizes,MICRO_BATCH_SIZES) \
  $(call option,--precision,PRECISION) $(call option,--schedule,SCHEDULE) \
  $(call option,--rate-schedule,RATE_SCHEDULE) $(call option,--warmup-examples,WARMUP_EXAMPLES) \
  $(call option,--beta2-half-life,BETA2_HALF_LIFE) \
  $(call option,--scale-rule,SCALE_RULE) $(call option,--scale-reference,SCALE_REFERENCE) \
  $(call option,--ghost-batch-size,GHOST_BATCH_SIZE) \
  $(call option,--data-parallel,DATA_PARALLEL) $(call option,--shards,SHARDS) \
  $(if $(CHECKPOINT_ACTIVATIONS),--checkpoint-activations)
smallest_options = $(call option,--task,TASK) $(call option,--data-dir,DATA_DIR) \
  $(call option,--study-name,STUDY_NAME) $(call option,--target,TARGET) \
  $(call option,--within,WITHIN) $(call option,--seeds,SEEDS) \
  $(call option,--max-trials,MAX_TRIALS) $(call option,--n-workers,N_WORKERS) \
  $(call option,--seed,SEED) $(call option,--epochs,EPOCHS) $(call option,--device,DEVICE) \
  $(call option,--batch-sizes,BATCH_SIZES) $(call option,--learning-rates,LEARNING_RATES) \
  $(call option,--timeout,TIMEOUT) $(call option,--grace,GRACE) \
  $(call option,--checkpoint-dir,CHECKPOINT_DIR) $(call option,--max-memory,MAX_MEMORY) \
  $(call option,--max-seconds,MAX_SECONDS) $(call option,--config,CONFIG) \
  $(call option,--output,OUTPUT) $(if $(COMPILE),--compile) $(technique_options)

.DEFAULT_GOAL := help
.PHONY: help study smallest probe front ls rates claims critical-batch report dashboard serve copy \
  import test test-all chaos lint clean

help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "variables of make study: TASK STUDY_NAME STORAGE N_TRIALS N_WORKERS LAUNCHER RAY_ADDRESS"
	@echo "  SAMPLER PRUNER PRUNER_RISK SEED EPOCHS DEVICE TARGET BATCH_SIZES LEARNING_RATES TIMEOUT"
	@echo "  DIAGNOSTICS GRACE CHECKPOINT_DIR DATA_DIR MAX_MEMORY MAX_SECONDS MIN_ACCURACY COMPILE"
	@echo "  MIXED_HARDWARE CONFIG"
	@echo "  MICRO_BATCH_SIZES PRECISION SCHEDULE RATE_SCHEDULE WARMUP_EXAMPLES SCALE_RULE SCALE_REFERENCE"
	@echo "  BETA2_HALF_LIFE GHOST_BATCH_SIZE CHECKPOINT_ACTIVATIONS DATA_PARALLEL SHARDS"
	@echo "  as in: make study TASK=mine.py N_TRIALS=60 BATCH_SIZES=8:256"

probe: .venv/.run ## step time and memory of each batch size
	@$(PY) -m study probe $(call option,--task,TASK) $(call option,--data-dir,DATA_DIR) \
	  $(look_options) $(call option,--epochs,EPOCHS) \
	  $(call option,--device,DEVICE) $(call option,--batch-sizes,BATCH_SIZES) \
	  $(call option,--learning-rates,LEARNING_RATES) $(if $(COMPILE),--compile) \
	  $(technique_options)

study: .venv/.run $(if $(filter ray,$(LAUNCHER)),.venv/.ray) ## search batch size and learning rate; run again to resume
	@$(PY) -m study run $(run_options)

smallest: .venv/.run ## smallest batch size that reaches TARGET=0.95, with evidence
	@$(PY) -m study smallest $(smallest_options)

front: .venv/.run ## show the Pareto front
	@$(PY) -m study front $(look_options)

ls: .venv/.run ## list the studies
	@$(PY) -m study ls

rates: .venv/.run ## best learning rate of each batch size, and its law
	@$(PY) -m study rates $(look_options) $(call option,-o,OUTPUT)

claims: .venv/.run ## common beliefs about batch size, held against a study
	@$(PY) -m study claims $(look_options) $(call option,--target,TARGET)

report: .venv/.run ## write one HTML page of figures
	@$(PY) -m study report $(look_options)

critical-batch: .venv/.run ## the largest batch size that still saves steps: TARGET=0.95
	@$(PY) -m study critical-batch $(look_options) $(call option,--target,TARGET)

dashboard: .venv/.run ## serve optuna-dashboard on 127.0.0.1
	@$(PY) -m study dashboard $(call option,--port,PORT)

serve: .venv/.run ## let workers elsewhere share the storage (gRPC)
	@$(PY) -m study serve $(call option,--host,HOST) $(call option,--port,PORT)

copy: .venv/.run ## copy a study: make copy FROM=URL TO=URL
	@$(PY) -m study copy $(look_options)

import: .venv/.run ## make a study from recorded runs: make import RUNS=runs.csv
	@$(PY) -m study import $(if $(value RUNS),$(call quote,$(value RUNS))) $(look_options)

# Several processes share the tests, by file; those marked `timed` run alone all the same.
BESIDE := -n auto --maxprocesses 4 --dist loadfile

test: .venv/.test ## run the tests
	@$(PY) -m pytest $(BESIDE) -m 'not slow' $(PYTEST_ARGS)

test-all: .venv/.test ## run also the slow tests: browsers, clusters, long faults
	@$(PY) -m pytest $(BESIDE) $(PYTEST_ARGS)

chaos: .venv/.test ## kill and pause workers for minutes; nothing may be lost
	@$(PY) -m tests.chaos $(CHAOS_ARGS)

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
