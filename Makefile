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
NPROC ?= 1
LOG ?=
OUT ?=
OVERWRITE ?=
RUN ?=
RUNS ?=
IMAGE ?=
JSON ?=
SHOW ?=
PORT ?=
NAME ?=
BASE ?=
SEEDS ?= 3
JOBS ?=
FILE ?=
STORAGE ?=
QUICK ?=
MINIMUM ?=
MINIMUM_CLASS ?=
MAXIMUM_LOSS ?=
DATA ?= data
VENV ?= .venv
VARIABLES = RECIPE DATASET SEED EPOCHS LR CONFIG HOLDOUT DEVICE THREADS NPROC LOG OUT OVERWRITE RUN RUNS IMAGE JSON SHOW PORT NAME BASE SEEDS JOBS FILE STORAGE QUICK \
	MINIMUM MINIMUM_CLASS MAXIMUM_LOSS DATA VENV SYSTEM_PYTHON

# Windows has its programs elsewhere, and its Python another name.
WINDOWS := $(filter Windows_NT,$(OS))
SYSTEM_PYTHON ?= $(if $(WINDOWS),python,python3)
HOME_VENV = $(patsubst ~/%,$(HOME)/%,$(VENV))
BIN = $(HOME_VENV)/$(if $(WINDOWS),Scripts,bin)
PYTHON = "$(BIN)/python$(if $(WINDOWS),.exe)"
INSTALL = $(SYSTEM_PYTHON) support/install.py "$(VENV)" requirements.txt $(if $(LOG),"requirements-$(LOG).txt")
YES := 1 y yes Yes YES true True TRUE on
OVERWRITING = $(if $(filter $(YES),$(OVERWRITE)),--overwrite)
# A variable's part of a command, where a person has set it: a default of this file overrides no recipe and no CONFIG.
given = $(if $(filter file,$(origin $1)),,$2)
SETTINGS = $(if $(CONFIG),--config "$(CONFIG)" $(call given,RECIPE,--recipe "$(RECIPE)") $(call given,SEED,--seed "$(SEED)"),--recipe "$(RECIPE)" --seed "$(SEED)") \
	$(call given,DATASET,--dataset "$(DATASET)") $(if $(EPOCHS),--epochs "$(EPOCHS)") \
	$(if $(HOLDOUT),--holdout true --validation-images "$(HOLDOUT)") $(if $(OUT),--out "$(OUT)") --data "$(DATA)" \
	$(if $(filter auto,$(LR)),--find-lr true,$(if $(LR),--learning-rate "$(LR)"))
# The run that is looked at: RUN, or the one that make train makes with the same variables.
NAME_RUN = run=$(if $(RUN),"$(RUN)",$$($(PYTHON) results.py $(SETTINGS)))
# The same where a person has said which, else the best finished one.
BEST_RUN = $(if $(strip $(RUN) $(foreach name,RECIPE DATASET SEED EPOCHS LR CONFIG HOLDOUT OUT,$(call given,$(name),$($(name))))),$(NAME_RUN),run=)
DEMO = $(foreach run,$(RUN) $(RUNS),"$(run)") --data "$(DATA)" --device "$(DEVICE)" $(if $(OUT),--out "$(OUT)")
refuse = $(if $(call given,$1,$($1)),$(error make $@ takes RECIPE, not $1: put it into $(or $2,recipes.py)))
# One process needs no launcher; several start through torchrun.
LAUNCH = $(PYTHON) $(if $(filter-out 1,$(NPROC)),-m support.launch "$(NPROC)")
PYTEST = $(PYTHON) -m pytest -q
# import-linter takes packages alone: it is shown each script of the root as one.
STAGE = $(HOME_VENV)/.layers

export MNIST_DATA := $(DATA)
ifneq ($(THREADS),)
export OMP_NUM_THREADS := $(THREADS)
endif

.NOTPARALLEL:
.PHONY: help environment development setup env-update data train find-lr show-model show-augmentation evaluate report compare summary records sweep bench \
	readme predict export demo site notebook new-model view-results check-results check-params check-model check-all test test-quick test-faults test-model test-training lint clean clean-checkpoints

##@ start
help: ## this list
	@awk -F ':.*## ' '/^##@/ { print (groups++ ? "\n" : "") substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@printf '\nvariables, with their present values\n'
	@printf '%s' '$(subst ','\'',$(foreach name,$(VARIABLES),$(name)=$($(name))))' | fold -s -w 76 | sed 's/^/  /'; echo

setup: environment data ## make the environment, fetch the data, check both
	@$(PYTHON) environment.py --dataset "$(DATASET)" --data "$(DATA)"

env-update: ## install the newest packages, then check the environment
	@$(INSTALL) --upgrade
	@$(MAKE) --no-print-directory setup

data: environment ## fetch DATASET where it is missing or damaged
	@$(PYTHON) data.py --dataset "$(DATASET)" --data "$(DATA)"

train: environment ## train RECIPE with SEED; resumes where it was stopped
	@$(LAUNCH) train.py $(SETTINGS) --device "$(DEVICE)" $(OVERWRITING) $(if $(LOG),--log "$(LOG)")

##@ look
view-results: environment ## all runs in one table, best first, with verdicts
	@$(PYTHON) verdict.py

report: environment ## a run as one HTML page with all its plots
	@$(NAME_RUN) && $(PYTHON) -m reporting.report "$$run" --data "$(DATA)" --device "$(DEVICE)"

compare: environment ## two runs, RUNS="a b", side by side, with a test
	@$(PYTHON) -m reporting.compare $(foreach run,$(RUNS),"$(run)") --data "$(DATA)" $(if $(OUT),--out "$(OUT)")

evaluate: environment ## a run on the test images: figures, confusion, mistakes
	@$(NAME_RUN) && $(PYTHON) evaluate.py "$$run" --data "$(DATA)" --device "$(DEVICE)" && $(PYTHON) -m reporting.plots "$$run" --data "$(DATA)"

show-augmentation: environment ## training images as RECIPE shows them to the model
	@$(PYTHON) -m reporting.samples $(SETTINGS)

##@ use
predict: with-predict ## the digit in IMAGE, any picture of one; the best run reads it
	@$(BEST_RUN) && $(PYTHON) -m deployment.predict $(if $(IMAGE),"$(IMAGE)") $${run:+--run "$$run"} $(if $(filter $(YES),$(JSON)),--json) \
		$(if $(filter $(YES),$(SHOW)),--show) --device "$(DEVICE)"

export: with-export ## the best run as ONNX, safetensors and a C header, verified
	@$(BEST_RUN) && $(PYTHON) -m deployment.export $${run:+"$$run"} --data "$(DATA)"

demo: with-export with-demo ## a page on which one draws, and exported runs read
	@$(PYTHON) -m deployment.demo $(DEMO) $(if $(PORT),--port "$(PORT)")

site: with-export with-demo ## the same page as a folder for any web server
	@$(PYTHON) -m deployment.demo $(DEMO) --build-only

##@ your network
new-model: environment ## add a network and a recipe called NAME, to be changed
	@$(PYTHON) -m support.new_model $(if $(NAME),"$(NAME)")

show-model: environment ## RECIPE's layers: shapes, parameters, receptive field
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)"

check-params: environment ## fail unless RECIPE's model is under 20,000 parameters
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check parameters

check-model: environment ## fail unless RECIPE's model keeps all rules, and trains
	@$(call refuse,CONFIG)$(PYTHON) model.py "$(RECIPE)" --check all

find-lr: environment ## a range test of the learning rate, with a plot
	@$(PYTHON) -m reporting.find_lr $(SETTINGS) --device "$(DEVICE)"

##@ prove
check-results: environment ## fail unless a run keeps its verdict and these bounds
	@$(NAME_RUN) && $(PYTHON) verdict.py "$$run" $(if $(MINIMUM),--minimum "$(MINIMUM)") \
		$(if $(MINIMUM_CLASS),--minimum-class "$(MINIMUM_CLASS)") $(if $(MAXIMUM_LOSS),--maximum-loss "$(MAXIMUM_LOSS)") \
		--data "$(DATA)" --device "$(DEVICE)"

check-all: check-params check-model setup ## parameters, rules and environment

summary: environment ## a run as Markdown for CI, and what changed since BASE
	@$(NAME_RUN) && $(PYTHON) -m reporting.summary "$$run" --data "$(DATA)" $(if $(BASE),--base "$(BASE)")

records: environment ## RECIPE with seeds 0 to SEEDS-1, into results/records
	@$(call refuse,CONFIG)$(call refuse,LR)$(call refuse,HOLDOUT)$(call refuse,DATASET)$(call refuse,NPROC)$(PYTHON) -m experiments.records "$(RECIPE)" \
		--seeds "$(SEEDS)" $(if $(JOBS),--jobs "$(JOBS)") --device "$(DEVICE)" --data "$(DATA)" $(if $(EPOCHS),--epochs "$(EPOCHS)") $(OVERWRITING)

sweep: with-sweep ## candidates from FILE on held-out images, with Optuna; ranked
	@$(foreach name,DATASET SEED EPOCHS LR CONFIG HOLDOUT NPROC SEEDS,$(call refuse,$(name),FILE))$(PYTHON) -m experiments.sweep $(if $(FILE),"$(FILE)") \
		$(call given,RECIPE,--recipe "$(RECIPE)") $(if $(STORAGE),--storage "$(STORAGE)") $(if $(JOBS),--jobs "$(JOBS)") \
		$(if $(filter $(YES),$(SHOW)),--show) --device "$(DEVICE)" --data "$(DATA)"

bench: with-bench data ## time other systems and this one; QUICK=1: a minute
	@$(PYTHON) -m experiments.benchmark --data "$(DATA)" $(if $(filter $(YES),$(QUICK)),--quick)

readme: environment ## write the records into the tables of README and docs
	@$(PYTHON) -m experiments.tables

test: development data ## the tests, one of them a real epoch on real MNIST
	@$(PYTEST) -n auto --dist worksteal -m "not slow" tests

test-quick: development data ## the tests that start no processes, a minute
	@$(PYTEST) -n auto --dist worksteal -m "not slow" tests/test_[amprtv]*.py tests/reporting tests/support/test_intervals.py --deselect tests/test_train.py

test-faults: development data ## every injected fault, minutes, and their number
	@$(PYTEST) -n auto --dist worksteal -m "fault or slow" tests

test-model: development ## the tests of the models
	@$(PYTEST) tests/test_model.py

test-training: development data ## the tests of training
	@$(PYTEST) -m "not slow" tests/test_train.py

notebook: with-notebook with-export with-predict data ## run train.ipynb from its first cell to its last
	@"$(BIN)/jupyter-execute" train.ipynb --output=results/train.ipynb && echo results/train.ipynb

lint: development ## style, formatting, layers of imports, the workflow
	@"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check .
	@rm -rf "$(STAGE)" && for script in *.py; do mkdir -p "$(STAGE)/$${script%.py}" && cp "$$script" "$(STAGE)/$${script%.py}/__init__.py"; done
	@cp -R support reporting deployment experiments pyproject.toml "$(STAGE)" && bin=$$(cd "$(BIN)" && pwd) && cd "$(STAGE)" && "$$bin/lint-imports" --no-cache pyproject.toml
	@"$(BIN)/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@"$(BIN)/check-jsonschema" --builtin-schema vendor.dependabot .github/dependabot.yml
	@"$(BIN)/actionlint"

##@ clean
clean: ## remove caches; runs, data and environment stay
	@find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .hypothesis

clean-checkpoints: ## remove the checkpoints of all runs; results.json stays
	@rm -rf results/*/checkpoints results/sweeps/*/*/checkpoints

# Looks at what there is before it does anything: see the script.
environment:
	@$(INSTALL)

development:
	@$(INSTALL) requirements-dev.txt requirements-predict.txt requirements-export.txt requirements-demo.txt requirements-sweep.txt requirements-bench.txt

# What one target alone needs is installed by it.
with-%:
	@$(INSTALL) requirements-$*.txt
