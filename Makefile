# Everything a person runs; `make` alone lists it. Works with GNU make 3.81 and later; uses uv when it is on the PATH.
RECIPE ?= default
DATASET ?= mnist
SEED ?= 0
EPOCHS ?=
LR ?=
CONFIG ?=
HOLDOUT ?=
DEVICE ?= auto
THREADS ?=
OUT ?=
OVERWRITE ?=
NPROC ?= 1
DATA ?= data
VENV ?= .venv
SEEDS ?= 3
JOBS ?=
QUICK ?=
MINIMUM ?= 99.4
MINIMUM_CLASS ?= 98
MAXIMUM_LOSS ?= 0.1
RUN_NAME = $(RECIPE)$(if $(filter-out mnist,$(DATASET)),-$(DATASET))$(if $(HOLDOUT),-holdout$(HOLDOUT))-seed$(SEED)
RUN ?= $(or $(OUT),$(if $(CONFIG),,results/$(RUN_NAME)))

# Windows has its programs elsewhere, and its Python another name.
WINDOWS := $(filter Windows_NT,$(OS))
BIN := $(VENV)/$(if $(WINDOWS),Scripts,bin)
PYTHON := $(BIN)/python$(if $(WINDOWS),.exe)
SYSTEM_PYTHON := $(if $(WINDOWS),python,python3)
ENVIRONMENT := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
UV := $(if $(shell command -v uv 2>/dev/null),uv)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(PYTHON),$(PYTHON) -m pip install --quiet)
YES := 1 y yes Yes YES true True TRUE on
OVERWRITING = $(if $(filter $(YES),$(OVERWRITE)),--overwrite)
# A variable's part of a command, where a person has set it: a default of this file overrides no recipe and no CONFIG.
given = $(if $(filter file,$(origin $1)),,$2)
SETTINGS = $(if $(CONFIG),--config "$(CONFIG)" $(call given,RECIPE,--recipe "$(RECIPE)") $(call given,SEED,--seed "$(SEED)"),--recipe "$(RECIPE)" --seed "$(SEED)") \
	$(call given,DATASET,--dataset "$(DATASET)") $(if $(EPOCHS),--epochs "$(EPOCHS)") \
	$(if $(HOLDOUT),--holdout true --validation-images "$(HOLDOUT)") $(if $(OUT),--out "$(OUT)") --data "$(DATA)" \
	$(if $(filter auto,$(LR)),--find-lr true,$(if $(LR),--learning-rate "$(LR)"))
# A config file's run has a name of its own, and what takes RECIPE alone would quietly take another than the file's.
TRAINED = $(or $(RUN),$(error make $@ CONFIG=$(CONFIG): name its run too, as RUN=results/<name>-seed<k>))
refuse = $(if $(call given,$1,$($1)),$(error make $@ takes RECIPE, not $1: put it into recipes.py))
# One process needs no launcher; several start through torchrun.
LAUNCH = $(PYTHON) $(if $(filter-out 1,$(NPROC)),-m support.launch "$(NPROC)")
# import-linter takes packages alone: it is shown each script of the root as one.
STAGE = $(VENV)/.storeys

export MNIST_DATA := $(DATA)
ifneq ($(THREADS),)
export OMP_NUM_THREADS := $(THREADS)
endif

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup env-update data train find-lr show-model show-augmentation evaluate report records bench readme view-results check-results check-params check-model check-all \
	test test-quick test-faults test-model test-training lint clean clean-checkpoints

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 28
	@echo "variables, here with their present values: RECIPE=$(RECIPE) DATASET=$(DATASET) SEED=$(SEED) EPOCHS=$(EPOCHS) LR=$(LR) CONFIG=$(CONFIG) HOLDOUT=$(HOLDOUT) DEVICE=$(DEVICE) THREADS=$(THREADS) OUT=$(OUT) OVERWRITE=$(OVERWRITE) NPROC=$(NPROC) DATA=$(DATA) VENV=$(VENV) SEEDS=$(SEEDS) JOBS=$(JOBS) QUICK=$(QUICK) MINIMUM=$(MINIMUM) MINIMUM_CLASS=$(MINIMUM_CLASS) MAXIMUM_LOSS=$(MAXIMUM_LOSS) RUN=$(RUN)"

setup: $(ENVIRONMENT) data ## make the environment, fetch the data, check both
	@$(PYTHON) environment.py --dataset "$(DATASET)" --data "$(DATA)"

env-update: ## install the newest packages, then check the environment
	@rm -f $(ENVIRONMENT) $(DEVELOPMENT)
	@$(MAKE) --no-print-directory UPGRADE=--upgrade $(ENVIRONMENT) data
	@$(PYTHON) environment.py --dataset "$(DATASET)" --data "$(DATA)"

data: $(ENVIRONMENT) ## fetch DATASET where it is missing or damaged
	@$(PYTHON) data.py --dataset "$(DATASET)" --data "$(DATA)"

train: $(ENVIRONMENT) ## train RECIPE with SEED; resumes where it was stopped
	@$(LAUNCH) train.py $(SETTINGS) --device "$(DEVICE)" $(OVERWRITING)

find-lr: $(ENVIRONMENT) ## a range test of the learning rate for RECIPE, with a plot; make train LR=auto trains at what it suggests
	@$(PYTHON) -m reporting.find_lr $(SETTINGS) --device "$(DEVICE)"

show-model: $(ENVIRONMENT) ## RECIPE's layers: kernel, shapes, parameters, receptive field, multiply-adds
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)"

show-augmentation: $(ENVIRONMENT) ## a picture of training images as RECIPE shows them to the model
	@$(PYTHON) -m reporting.samples $(SETTINGS)

evaluate: $(ENVIRONMENT) ## a trained run (RUN) on the test images: figures, confusion, mistakes, as text, JSON and pictures
	@$(PYTHON) evaluate.py "$(TRAINED)" --data "$(DATA)" --device "$(DEVICE)"
	@$(PYTHON) -m reporting.plots "$(TRAINED)" --data "$(DATA)"

report: $(ENVIRONMENT) ## a trained run (RUN) as one HTML page with all its plots
	@$(PYTHON) -m reporting.report "$(TRAINED)" --data "$(DATA)" --device "$(DEVICE)"

view-results: $(ENVIRONMENT) ## all runs in one table, best first
	@$(PYTHON) results.py

check-results: $(ENVIRONMENT) ## fail unless RUN reached MINIMUM percent, MINIMUM_CLASS in each class, and a training loss below MAXIMUM_LOSS
	@$(PYTHON) results.py check "$(TRAINED)" --minimum "$(MINIMUM)" --minimum-class "$(MINIMUM_CLASS)" --maximum-loss "$(MAXIMUM_LOSS)"

records: $(ENVIRONMENT) data ## train RECIPE (or all: published) with seeds 0 to SEEDS-1, JOBS at a time, into results/records
	@$(call refuse,CONFIG)$(call refuse,LR)$(call refuse,HOLDOUT)$(call refuse,DATASET)$(call refuse,NPROC)$(PYTHON) -m experiments.records "$(RECIPE)" --seeds "$(SEEDS)" \
		$(if $(JOBS),--jobs "$(JOBS)") --device "$(DEVICE)" --data "$(DATA)" $(if $(EPOCHS),--epochs "$(EPOCHS)") $(OVERWRITING)

bench: $(ENVIRONMENT) data ## time the published systems, as published and here, and this project's recipes; QUICK=1 takes a minute
	@$(PYTHON) -m experiments.benchmark --data "$(DATA)" $(if $(filter $(YES),$(QUICK)),--quick)

readme: $(ENVIRONMENT) ## write the records into the tables of README and docs
	@$(PYTHON) -m experiments.tables

check-params: $(ENVIRONMENT) ## fail unless RECIPE's model has fewer than 20,000 parameters
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check parameters

check-model: $(ENVIRONMENT) ## fail unless RECIPE's model keeps all rules
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check all

check-all: check-params check-model setup ## parameters, rules and environment

test: $(ENVIRONMENT) $(DEVELOPMENT) data ## the tests, one of them a real epoch on real MNIST
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m "not slow" tests

test-quick: $(ENVIRONMENT) $(DEVELOPMENT) data ## the tests that start no processes, a minute, for Windows and macOS too
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m "not slow" tests/test_[amprt]*.py tests/reporting tests/support/test_intervals.py --deselect tests/test_train.py

test-faults: $(ENVIRONMENT) $(DEVELOPMENT) data ## kills, damaged files, full disks, bad input: every fault, minutes, and how many were injected
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m "fault or slow" tests

test-model: $(ENVIRONMENT) $(DEVELOPMENT) ## the tests of the models
	@$(PYTHON) -m pytest -q tests/test_model.py

test-training: $(ENVIRONMENT) $(DEVELOPMENT) data ## the tests of training
	@$(PYTHON) -m pytest -q -m "not slow" tests/test_train.py

lint: $(DEVELOPMENT) ## style, formatting, the storeys of the house, and the workflow against its schema
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@rm -rf "$(STAGE)" && for script in *.py; do mkdir -p "$(STAGE)/$${script%.py}" && cp "$$script" "$(STAGE)/$${script%.py}/__init__.py"; done
	@cp -R support reporting experiments pyproject.toml "$(STAGE)" && cd "$(STAGE)" && "$(abspath $(BIN))/lint-imports" --no-cache pyproject.toml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

clean: ## remove caches; runs, data and environment stay
	@find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .hypothesis

clean-checkpoints: ## remove the checkpoints of all runs; results.json stays
	@rm -rf results/*/checkpoints

# The environment is a stamp file that depends on the requirements: nothing is installed twice, nothing is stale.
$(ENVIRONMENT): requirements.txt | $(PYTHON)
	@echo "installing the environment into $(VENV), once: torch is large"
	@$(INSTALL) $(UPGRADE) -r requirements.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt | $(PYTHON)
	@$(INSTALL) $(UPGRADE) -r requirements-dev.txt
	@touch $@

$(PYTHON):
	@$(if $(UV),$(UV) venv --quiet --seed "$(VENV)",$(SYSTEM_PYTHON) -m venv "$(VENV)")
