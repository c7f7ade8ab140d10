# Everything a person runs; `make` alone lists it. Works with GNU make 3.81 and later, and any POSIX shell.
# Defaults are the scripts' own: a variable is handed on where it is given, on make's line alone if others use its name.
$(foreach name,BASE CONFIG DATASET DEVICE EPOCHS FILE HOLDOUT IMAGE JOBS JSON LOG LR NAME NPROC OUT OVERWRITE PORT \
	QUICK RUN RUNS SEED SEEDS SHOW STORAGE STUDENT THREADS TRAIN UPGRADE,$(eval $(name) =))
unexport PYTHONPATH PYTHONHOME # of others: packages of this environment alone are imported
export MNIST_DATA := $(or $(DATA),data)
$(if $(THREADS),$(eval export OMP_NUM_THREADS := $(THREADS)))

WINDOWS := $(filter Windows_NT,$(OS))
SYSTEM_PYTHON ?= $(if $(WINDOWS),python,python3)
VENV ?= .venv
BIN = $(patsubst ~/%,$(HOME)/%,$(VENV))/$(if $(WINDOWS),Scripts,bin)
PYTHON = "$(BIN)/python$(if $(WINDOWS),.exe)"
REQUIREMENTS = requirements.txt requirements-read.txt requirements-deploy.txt requirements-dev.txt

flag = $(if $($1),--$2 "$($1)")
flags = $(foreach pair,$1,$(call flag,$(firstword $(subst :, ,$(pair))),$(lastword $(subst :, ,$(pair)))))
yes = $(if $(filter 1 y yes Yes YES true True TRUE on,$($1)),--$2)
refuse = $(foreach name,$1,$(if $($(name)),$(error make $@ takes RECIPE, not $(name): put it into $(or $2,recipes.py))))
OF_RUN = $(call flags,CONFIG:config RECIPE:recipe SEED:seed DATASET:dataset EPOCHS:epochs HOLDOUT:validation-images) \
	$(if $(HOLDOUT),--holdout true) $(if $(filter auto,$(LR)),--find-lr true,$(call flags,LR:learning-rate))
ASKED = $(OF_RUN) $(call flags,OUT:out)
PLACE = $(call flags,DATA:data DEVICE:device)
BOUNDS = MINIMUM:minimum MINIMUM_CLASS:minimum-class MAXIMUM_LOSS:maximum-loss
# The run that is looked at: RUN, or that of make train with the same variables. Or where none is given, the best one.
choose = run=$(if $(RUN),"$(RUN)",$(if $(strip $1),$$($(PYTHON) results.py $1 $(call flags,DATA:data))))
NAMED_RUN = $(call choose,$(or $(strip $(ASKED)),--recipe default))
BEST_RUN = $(call choose,$(ASKED))
DEMO = $(if $(RUNS),run=,$(call choose,$(OF_RUN))) && $(PYTHON) -m deployment.demo $${run:+"$$run"} \
	$(foreach run,$(RUNS),"$(run)") $(call flags,DATA:data OUT:out PORT:port)
# A run of one's own is exported before it reads, which needs torch; the committed networks read without it.
TO_READ = requirements-read.txt $(if $(filter-out %.onnx,$(RUN))$(RUNS)$(wildcard results/*/results.json),$(TO_EXPORT))
TO_EXPORT = requirements.txt requirements-read.txt requirements-deploy.txt
PYTEST = $(PYTHON) -m pytest -q

.NOTPARALLEL:
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.* \#\# .*/\1/p' Makefile) $(REQUIREMENTS)

##@ start
help: ## this list
	@awk -F':.*## ' '/^##@/ { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-18s %s\n",$$1,$$2 }' Makefile
	@echo; echo variables; awk -F' *[|] *' '/^[|] `[A-Z]/ { gsub("`", ""); print "  " $$2 ": " $$3 }' docs/development.md
setup: data ## make the environment, fetch the data, check both
	@$(PYTHON) environment.py $(call flags,DATASET:dataset DATA:data)
env-update: UPGRADE = --upgrade
env-update: setup ## install the newest packages, then check the environment
data: requirements.txt ## fetch DATASET where it is missing or damaged
	@$(PYTHON) data.py $(call flags,DATASET:dataset DATA:data)
train: requirements.txt $(if $(filter tensorboard,$(LOG)),requirements-dev.txt) ## train RECIPE with SEED; resumes where it was stopped
	@$(PYTHON) $(if $(filter-out 1,$(NPROC)),-m support.launch "$(NPROC)") train.py \
		$(ASKED) $(call flags,DATA:data DEVICE:device LOG:log) $(call yes,OVERWRITE,overwrite)

##@ look
view-results: requirements.txt ## all runs in one table, best first, with verdicts
	@$(PYTHON) verdict.py
report: requirements.txt ## a run as one HTML page with all its plots
	@$(NAMED_RUN) && $(PYTHON) -m reporting.report "$$run" $(PLACE)
compare: requirements.txt ## two runs, RUNS="a b", side by side, with a test
	@$(PYTHON) -m reporting.compare $(foreach run,$(RUNS),"$(run)") $(call flags,DATA:data OUT:out)
evaluate: requirements.txt ## a run on the test images: figures, confusion, mistakes
	@$(NAMED_RUN) && $(PYTHON) -m reporting.evaluation "$$run" $(PLACE)
show-augmentation: requirements.txt ## training images as RECIPE shows them to the model
	@$(PYTHON) -m reporting.samples $(ASKED) $(call flags,DATA:data)

##@ use
predict: $(TO_READ) ## the digits in IMAGE, any picture of some; no training needed
	@$(BEST_RUN) && $(PYTHON) -m deployment.predict $(if $(IMAGE),"$(IMAGE)") $${run:+--run "$$run"} $(call yes,JSON,json)
export: $(TO_EXPORT) ## the best run as ONNX, safetensors and a C header, verified
	@$(BEST_RUN) && $(PYTHON) -m deployment.export $${run:+"$$run"} $(call flags,DATA:data)
demo: $(TO_READ) requirements-deploy.txt ## a page on which one draws, and networks read
	@$(DEMO)
site: $(TO_READ) requirements-deploy.txt ## the same page, and that of records, as a folder for any web server
	@$(DEMO) --build-only

##@ your network
new-model: requirements.txt ## add a network and a recipe called NAME, to be changed
	@$(PYTHON) -m support.new_model $(if $(NAME),"$(NAME)")
show-model: requirements.txt ## RECIPE's layers: shapes, parameters, receptive field
	@$(call refuse,CONFIG)$(PYTHON) -m reporting.rules "$(or $(RECIPE),default)"
check-params: requirements.txt ## fail unless RECIPE's model is under 20,000 parameters
	@$(call refuse,CONFIG)$(PYTHON) -m reporting.rules "$(or $(RECIPE),default)" --check parameters
check-model: requirements.txt ## fail unless RECIPE's model keeps all rules, and trains
	@$(call refuse,CONFIG)$(PYTHON) -m reporting.rules "$(or $(RECIPE),default)" --check all
find-lr: requirements.txt ## a range test of the learning rate, with a plot
	@$(PYTHON) -m reporting.find_lr $(ASKED) $(PLACE)

##@ prove
check-results: requirements.txt ## fail unless a run keeps its verdict and these bounds
	@$(NAMED_RUN) && $(PYTHON) verdict.py "$$run" $(PLACE) $(call flags,$(BOUNDS))
grade: requirements.txt ## students' folders, STUDENT="a b", judged; runs their code
	@$(PYTHON) -m reporting.grade $(STUDENT) $(call flags,$(BOUNDS) DATASET:dataset DATA:data OUT:csv) $(call yes,JSON,json)
check-all: check-params check-model setup ## parameters, rules and environment
summary: requirements.txt ## a run as Markdown for CI, and what changed since BASE
	@$(NAMED_RUN) && $(PYTHON) -m reporting.summary "$$run" $(call flags,DATA:data BASE:base)
records: $(TO_EXPORT) ## RECIPE with seeds 0 to SEEDS-1, into results/records
	@$(call refuse,CONFIG LR HOLDOUT DATASET NPROC)$(PYTHON) -m experiments.records "$(or $(RECIPE),default)" \
		$(call flags,DATA:data DEVICE:device SEEDS:seeds JOBS:jobs EPOCHS:epochs) $(call yes,OVERWRITE,overwrite)
verify: requirements.txt requirements-read.txt ## evaluate the weights of all records, or of RECIPE's
	@$(call refuse,CONFIG SEED)$(PYTHON) -m experiments.verify $(if $(RECIPE),"$(RECIPE)") $(call flags,DATA:data) \
		$(call yes,TRAIN,train)
detector: $(TO_EXPORT) ## train the detector of what is no digit, into results/records
	@$(PYTHON) -m experiments.detector $(call flags,DATA:data)
robustness: requirements-dev.txt ## read others' handwriting, and disturbed test images, with the records
	@$(PYTHON) -m experiments.robustness $(call flags,DATA:data)
sweep: requirements-dev.txt ## candidates from FILE on held-out images, with Optuna; ranked
	@$(call refuse,DATASET SEED EPOCHS LR CONFIG HOLDOUT NPROC SEEDS,FILE)$(PYTHON) -m experiments.sweep \
		$(if $(FILE),"$(FILE)") $(call flags,RECIPE:recipe STORAGE:storage JOBS:jobs) $(call yes,SHOW,show) $(PLACE)
bench: requirements-dev.txt data ## time other systems and this one; QUICK=1: a minute
	@$(PYTHON) -m experiments.benchmark $(call flags,DATA:data) $(call yes,QUICK,quick)
animation: requirements-dev.txt requirements-deploy.txt ## film the demo in Chromium for the README
	@$(PYTHON) -m experiments.animation $(call flags,DATA:data)
readme: requirements.txt ## write the records into the tables of README and docs
	@$(PYTHON) -m experiments.tables
test: $(REQUIREMENTS) data ## the tests, one of them a real epoch on real MNIST
	@$(PYTEST) -n auto --dist worksteal -m "not slow" tests
test-quick: $(REQUIREMENTS) data ## the tests that start no processes, a minute
	@$(PYTEST) -n auto --dist worksteal -m "not slow and not process" tests
test-faults: $(REQUIREMENTS) data ## every injected fault, minutes, and their number
	@$(PYTEST) -n auto --dist worksteal -m "fault or slow" tests
test-model: requirements-dev.txt ## the tests of the models
	@$(PYTEST) tests/test_model.py
test-training: requirements-dev.txt ## the tests of training
	@$(PYTEST) -m "not slow" tests/test_train.py
notebook: $(REQUIREMENTS) data ## run train.ipynb from its first cell to its last
	@"$(BIN)/jupyter-execute" train.ipynb --output=results/train.ipynb && echo results/train.ipynb
format: requirements-dev.txt ## mend the style and the formatting
	@"$(BIN)/ruff" check --fix --exit-zero . && "$(BIN)/ruff" format .
lint: requirements-dev.txt ## style, formatting, layers of imports, the workflows
	@"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check . && $(PYTHON) .ci/layers.py && "$(BIN)/actionlint"
	@"$(BIN)/check-jsonschema" --builtin-schema vendor.dependabot .github/dependabot.yml

# Looks at what is there before it does anything; what few targets need is installed by them.
requirements-dev.txt: requirements.txt requirements-read.txt
$(REQUIREMENTS):
	@SYSTEM_PYTHON="$(SYSTEM_PYTHON)" sh support/install.sh $@ $(PYTHON) $(UPGRADE)

##@ clean
clean: ## remove caches; runs, data and environment stay
	@find . \( -name __pycache__ -o -name ".*_cache" -o -name .hypothesis \) ! -path "./$(VENV)/*" -prune -exec rm -rf {} +
clean-checkpoints: ## remove the checkpoints of all runs; results.json stays
	@rm -rf results/*/checkpoints results/sweeps/*/*/checkpoints
