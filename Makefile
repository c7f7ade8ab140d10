# Everything a person runs; `make` alone lists it. Works with GNU make 3.81 and later; uses uv when it is on the PATH.
RECIPE ?= default
SEED ?= 0
EPOCHS ?=
LR ?=
CONFIG ?=
DEVICE ?= auto
OUT ?=
OVERWRITE ?=
DATA ?= data
VENV ?= .venv
SEEDS ?= 3
JOBS ?=
NPROC ?= 1
QUICK ?=
MINIMUM ?= 99.4
MINIMUM_CLASS ?= 98
MAXIMUM_LOSS ?= 0.1
RUN ?= $(or $(OUT),$(if $(CONFIG),,results/$(RECIPE)-seed$(SEED)))

PYTHON := $(VENV)/bin/python
ENVIRONMENT := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(PYTHON),$(PYTHON) -m pip install --quiet)
YES := 1 y yes Yes YES true True TRUE on
OVERWRITING = $(if $(filter $(YES),$(OVERWRITE)),--overwrite)
# What a recipe is: RECIPE and SEED, or CONFIG, which they change only where they are given.
given = $(if $(and $(CONFIG),$(filter file,$(origin $1))),,$2)
SETTINGS = $(if $(CONFIG),--config "$(CONFIG)") $(call given,RECIPE,--recipe "$(RECIPE)") $(call given,SEED,--seed "$(SEED)") \
	$(if $(EPOCHS),--epochs "$(EPOCHS)") $(if $(OUT),--out "$(OUT)") --data "$(DATA)" \
	$(if $(filter auto,$(LR)),--find-rate true,$(if $(LR),--learning-rate "$(LR)"))
# A config file's run has a name of its own, and what takes RECIPE alone would quietly take another than the file's.
TRAINED = $(or $(RUN),$(error make $@ CONFIG=$(CONFIG): name its run too, as RUN=results/<name>-seed<k>))
refuse = $(if $($1),$(error make $@ takes RECIPE, not $1: put it into recipes.py))
# One process needs no launcher; several start through torchrun.
LAUNCH = $(PYTHON) $(if $(filter-out 1,$(NPROC)),parallel.py "$(NPROC)")

export MNIST_DATA := $(DATA)

.DELETE_ON_ERROR:
.PHONY: help setup env-update data train find-lr show-model show-augmentation evaluate report records bench readme view-results check-results check-params check-model check-all \
	test test-faults test-model test-training lint clean clean-checkpoints

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 28
	@echo "variables, here with their present values: RECIPE=$(RECIPE) SEED=$(SEED) EPOCHS=$(EPOCHS) LR=$(LR) CONFIG=$(CONFIG) DEVICE=$(DEVICE) OUT=$(OUT) OVERWRITE=$(OVERWRITE) DATA=$(DATA) VENV=$(VENV) NPROC=$(NPROC) SEEDS=$(SEEDS) JOBS=$(JOBS) QUICK=$(QUICK) MINIMUM=$(MINIMUM) MINIMUM_CLASS=$(MINIMUM_CLASS) MAXIMUM_LOSS=$(MAXIMUM_LOSS) RUN=$(RUN)"

setup: $(ENVIRONMENT) data ## make the environment, fetch the data, check both
	@$(PYTHON) environment.py --data "$(DATA)"

env-update: ## install the newest packages, then check the environment
	@rm -f $(ENVIRONMENT) $(DEVELOPMENT)
	@$(MAKE) --no-print-directory UPGRADE=--upgrade $(ENVIRONMENT) data
	@$(PYTHON) environment.py --data "$(DATA)"

data: $(ENVIRONMENT) ## fetch MNIST where it is missing or damaged
	@$(PYTHON) data.py --data "$(DATA)"

train: $(ENVIRONMENT) ## train RECIPE with SEED; goes on where it was stopped
	@$(LAUNCH) train.py $(SETTINGS) --device "$(DEVICE)" $(OVERWRITING)

find-lr: $(ENVIRONMENT) ## a range test of the learning rate for RECIPE, with a plot; make train LR=auto trains at what it suggests
	@$(PYTHON) lr_finder.py $(SETTINGS) --device "$(DEVICE)"

show-model: $(ENVIRONMENT) ## RECIPE's layers: kernel, shapes, parameters, receptive field, multiply-adds
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)"

show-augmentation: $(ENVIRONMENT) ## a picture of training images as RECIPE shows them to the network
	@$(PYTHON) augmentation.py $(SETTINGS)

evaluate: $(ENVIRONMENT) ## a trained run (RUN) on the test images: figures, confusion, mistakes, as text, JSON and pictures
	@$(PYTHON) evaluate.py "$(TRAINED)" --data "$(DATA)" --device "$(DEVICE)"

report: $(ENVIRONMENT) ## a trained run (RUN) as one HTML page with all pictures
	@$(PYTHON) report.py "$(TRAINED)" --data "$(DATA)" --device "$(DEVICE)"

view-results: $(ENVIRONMENT) ## all runs in one table, best first
	@$(PYTHON) results.py

check-results: $(ENVIRONMENT) ## fail unless RUN reached MINIMUM percent, MINIMUM_CLASS for each digit, and a training loss below MAXIMUM_LOSS
	@$(PYTHON) results.py check "$(TRAINED)" --minimum "$(MINIMUM)" --minimum-class "$(MINIMUM_CLASS)" --maximum-loss "$(MAXIMUM_LOSS)"

records: $(ENVIRONMENT) data ## train RECIPE (or all: published) with seeds 0 to SEEDS-1, JOBS at a time, into results/records
	@$(call refuse,CONFIG)$(call refuse,LR)$(PYTHON) records.py "$(RECIPE)" --seeds "$(SEEDS)" $(if $(JOBS),--jobs "$(JOBS)") --processes "$(NPROC)" \
		--device "$(DEVICE)" --data "$(DATA)" $(if $(EPOCHS),--epochs "$(EPOCHS)") $(OVERWRITING)

bench: $(ENVIRONMENT) data ## time every recipe beside the published system it is; QUICK=1 takes a minute
	@$(PYTHON) benchmark.py --data "$(DATA)" $(if $(filter $(YES),$(QUICK)),--quick)

readme: $(ENVIRONMENT) ## write the records into the README's tables
	@$(PYTHON) readme.py

check-params: $(ENVIRONMENT) ## fail unless RECIPE's network has fewer than 20,000 parameters
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check parameters

check-model: $(ENVIRONMENT) ## fail unless RECIPE's network keeps all rules
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check all

check-all: check-params check-model setup ## parameters, rules and environment

test: $(ENVIRONMENT) data ## the tests, one of them a real epoch on real MNIST
	@$(PYTHON) -m pytest -q -m "not slow" tests

test-faults: $(ENVIRONMENT) data ## kills, damaged files, full disks, bad input: every fault, minutes, and how many were injected
	@$(PYTHON) -m pytest -q -m fault tests

test-model: $(ENVIRONMENT) ## the tests of the networks
	@$(PYTHON) -m pytest -q tests/test_model.py

test-training: $(ENVIRONMENT) data ## the tests of training
	@$(PYTHON) -m pytest -q -m "not slow" tests/test_train.py

lint: $(DEVELOPMENT) ## style, formatting, and the workflow against its schema
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

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
	@$(if $(UV),$(UV) venv --quiet --seed "$(VENV)",python3 -m venv "$(VENV)")
