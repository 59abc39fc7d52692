# Code pretraining and entity tracking: everything from the data to the paper's tables. `make help` says what there is.
#
#     data  ->  runs  ->  scores  ->  summaries  ->  tables, figures, report
#     01        04        02, 05      03, 06 to 11   paper/
#
# Every arrow is a file (data/..., paper/out). Which models there are, on which GPU one is decoded and which run is complete
# is no business of Make: the scripts know. What those need who work on the artifact is in experiments/tools/maintenance.mk.
THIS := $(lastword $(MAKEFILE_LIST))
SHELL := bash
# -p: without what the user's shell starts with (BASH_ENV, CDPATH, SHELLOPTS, functions)
.SHELLFLAGS := -p -eu -o pipefail -c
$(if $(findstring e,$(firstword -$(MAKEFLAGS))),\
    $(error make -e puts variables of the environment over the Makefile's own; leave it out))
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL)$(words $(MAKECMDGOALS)),01) # several targets (make clean all) may be meant one after the other
MAKEFLAGS += -j$(shell env -u OMP_NUM_THREADS nproc)# a -j of the command line goes before
endif
# First clean, then what else is to be made, whatever -j says.
$(if $(and $(filter clean distclean,$(MAKECMDGOALS)),$(word 2,$(MAKECMDGOALS))),$(eval .NOTPARALLEL:))
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# ---------------------------------------------------------------------------------------------------- variables
PROFILE ?= tiny#          tiny: five miniatures | small: for a laptop | paper: the 29 of Table 6 | reported: its numbers | modern: later pairs
MODELS ?=#                only these models of the profile, by name (default, and MODELS=all: all of them)
MODELS_DIR ?=#            folder with weights, a folder a model (default: the hub's cache)
DATA ?= generated#        generated: from SEED | release: the authors' own files, from RELEASE_ZIP
RELEASE_ZIP ?=#           the authors' boxes-dataset-v1.zip, for DATA=release
SEED ?= 27#               of the generated data; data/checksums.sha256 has the checksums of 27
DATA_DIR ?= data/boxes#   where the dataset goes
HARDWARE ?=#              on what models are decoded, e.g. HARDWARE="--device cuda:1 --batch-size 64" or "--device auto"
GPUS_PER_MODEL ?=#        GPUs that one model is spread over (default: as many as hold its weights); all GPUs are used
WHERE ?= local#           where models are decoded: local | slurm | ray (RAY_ADDRESS), a job a model
SLURM ?=#                 what sbatch is told, e.g. SLURM="--partition=gpu --account=mine --time=120 --constraint=h100"
MODEL ?=#                 for make model: a checkpoint's folder, a GGUF file, or org/name on the hub
REVISION ?=#              for make model: the commit on the hub (default: the newest, pinned when it is fetched)
BASE ?=#                  for make model: what MODEL was trained from: a name of the table, a folder, or org/name
ADDED ?=#                 for make model: what BASE was trained on further: code (default), math or alignment
REMOVE ?=#                for make model: the name of an added model, to take it out again
FROM ?=#                  an archive of results for all, table6, tables, figures and check, e.g. make table6 FROM=tiny.tar.zst
FORMAT ?=#                chosen: aligned models in the prompt format that does best on the development set (default: Table 6's)
DECODE ?=#                more options for experiments/04_decode.py, e.g. DECODE="--prompt-style released"
ARGS ?=#                  more options for pytest, e.g. make test ARGS="-m slow", and for experiments/tools/add_model.py
VENV ?= .venv#            the virtual environment, made by set-up where it is missing
PYTHON ?=#                the interpreter to make it from (default: python3.11, python3.12 or python3, 3.11 at least)
LOCK ?=#                  the lock to install (default: requirements-cpu.lock where there is no NVIDIA GPU)
TORCH_CPU_INDEX ?=#       an index that has CPU builds of torch
ENGINE ?=#                podman, docker or buildah, for the container (default: the first that works)
BASE_IMAGE ?=#            for the container: another base, e.g. a Debian 12 without CUDA, with LOCK=requirements-cpu.lock
BUILD_OPTIONS ?=#         more options of the engine for building, e.g. BUILD_OPTIONS="--build-arg APT_SNAPSHOT="
RUN_OPTIONS ?=#           more options of the engine for running, e.g. RUN_OPTIONS="--network none"
TARGET ?= all#            what container-run makes in the container
SHAPES ?=#                for make bench: only these shapes of real models, e.g. SHAPES="7b 13b 34b 70b" (minutes on a GPU)
UPGRADE ?=#               for make lock: UPGRADE=1 moves what requirements.in leaves open to its newest version
V ?=#                     V=1 shows the commands that run
# What the user has said, on the command line or in the environment: judged before anything runs, handed on to a container.
GOALS := $(or $(MAKECMDGOALS),help)
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
SAID := $(foreach name,PROFILE MODELS DATA SEED HARDWARE GPUS_PER_MODEL WHERE SLURM FORMAT DECODE MODEL REVISION BASE ADDED FROM ARGS,\
    $(if $(filter-out file,$(origin $(name))),$(name)))
PLACES := $(foreach name,VENV DATA_DIR MODELS_DIR RELEASE_ZIP,$(if $(filter-out file,$(origin $(name))),$(name)))
# A value in quotes, as it was typed: a folder's name may have a space, % or $ in it.
quoted = '$(subst ','\'',$(value $1))'
# The interpreter of the environment, or the one that it will be made of; whatever a user's Python is set to.
OWN_PYTHON = $$(test -x '$(VENV)/bin/python' && echo '$(VENV)/bin/python' || experiments/install/setup.sh) -IB -X utf8
ifneq ($(GIVEN)$(SAID)$(PLACES)$(filter model score prompts,$(GOALS)),)
WRONG := $(shell $(if $(MODELS_RECORDS),MODELS_RECORDS=$(call quoted,MODELS_RECORDS)) $(OWN_PYTHON) \
    experiments/tools/command_line.py --goals '$(GOALS)' --given '$(GIVEN)' \
    --makefile $(THIS) -- $(foreach name,$(sort $(GIVEN) $(SAID) $(PLACES)),$(name)=$(call quoted,$(name))))
$(if $(WRONG),$(error $(WRONG)))
endif
$(foreach name,PROFILE DATA DATA_DIR VENV SEED,$(eval override $(name) := $(strip $($(name)))))
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
LOOK := $(if $(filter command,$(origin LIMIT)),$(LIMIT:%=-look%))$(if $(filter command,$(origin DATASET)),$(basename $(DATASET:%=-$(notdir $(DATASET)))))
RUNS := data/runs/$(PROFILE)$(LOOK)
RESULTS := data/results/$(PROFILE)$(LOOK)
OUT := paper/out/$(PROFILE)$(LOOK)
RECORDS := $(or $(MODELS_RECORDS),data/models)
NARROW := $(if $(filter-out all,$(MODELS)),--models $(MODELS))
# What a user's Python is set to (PYTHONHOME, PYTHONWARNINGS, ...) is for other programs of theirs.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES))) POSIXLY_CORRECT $(if $(MODELS_DIR),,MODELS_DIR)
export PYTHONPATH := .
export PYTHONUTF8 := 1
# Set-up has compiled the packages. What Python compiles while it runs may be cut short by a full disk, and be read for ever.
export PYTHONDONTWRITEBYTECODE := 1
export PYTHON LOCK TORCH_CPU_INDEX ENGINE BASE_IMAGE BUILD_OPTIONS RUN_OPTIONS $(if $(MODELS_DIR),MODELS_DIR)
# What a step is made of besides its data. Coarse on purpose: what is complete is never decoded again, the rest takes seconds.
CODE := $(wildcard boxes/*.py boxes/models/*.py)
DECODING := $(CODE) $(wildcard boxes/decoding/*.py boxes/runs/*.py)
JUDGING := $(CODE) $(wildcard boxes/runs/*.py boxes/claims/*.py experiments/pairs.py data/reported/*)
RENDERING := $(JUDGING) $(wildcard paper/*.py paper/templates/* data/reference/$(PROFILE)/*.csv)
# A recipe that writes several files belongs to the one it writes last; the others follow from that one, which is made
# again when one of them is lacking. (make -n of GNU Make 4.3 passes over what depends on grouped targets, `&:`.)
lacking = $(if $(filter-out $(wildcard $1),$1),FORCE)
# A file that holds the variables of the last time is renewed when they differ: what depends on it is then made anew.
changed = $(if $(subst |$(file < $1)|,,|$2|),FORCE)
# Commands are shown with V=1; else each step says in a line what it makes (most scripts do so themselves).
$(if $(V),,$(eval .SILENT:))
.PHONY: help setup data all table6 tables figures archive report-check check reference bench rehearse schedule claims test test-gpu test-real test-cluster test-faults fuzz lint audit container container-run container-check model weights doctor train-tiny lock clean distclean FORCE

# ---------------------------------------------------------------------------------------------------- set-up
setup: $(READY) ## the virtual environment, from the lock that suits the machine (half a minute; with CUDA as long as 3 GB take)
$(READY): requirements.lock requirements-cpu.lock
	experiments/install/setup.sh $(VENV)

# ---------------------------------------------------------------------------------------------------- data
SUBSET := $(DATA_DIR)/test-subsample-states-t5.jsonl
TEST := $(or $(if $(filter command,$(origin DATASET)),$(DATASET)),$(DATA_DIR)/$(LOOK:-%=%-)$(notdir $(SUBSET)))# of LIMIT: experiments/tools/field.mk
DEV := $(DATA_DIR)/dev-t5.jsonl
OTHER_DATA := $(DATA_DIR)/train-t5.jsonl $(DEV) $(DATA_DIR)/test-t5.jsonl
data: $(SUBSET) ## the boxes task: train, dev, test and the evaluated subset, in DATA_DIR
ZIP := $(if $(filter release,$(DATA)),$(RELEASE_ZIP))
CHECKED := $(if $(filter generated27,$(DATA)$(SEED)),data/checksums.sha256)
DATA_SETTINGS := DATA=$(DATA) $(or $(ZIP:%=RELEASE_ZIP=%),SEED=$(SEED))
$(DATA_DIR)/.settings: $(call changed,$(DATA_DIR)/.settings,$(DATA_SETTINGS))
	@mkdir -p $(@D) && echo '$(DATA_SETTINGS)' > $@
$(SUBSET): experiments/01_generate_data.py $(wildcard boxes/*.py) $(DATA_DIR)/.settings $(ZIP) $(call lacking,$(OTHER_DATA)) | $(READY)
	$(PY) $< --out $(DATA_DIR) --seed $(SEED) $(CHECKED:%=--checksums %) $(ZIP:%=--release-zip %)
$(OTHER_DATA): $(SUBSET) ;

# ---------------------------------------------------------------------------------------------------- runs
# predictions.jsonl and run.json of every model are no targets: Make never deletes them, and a run goes on where it stopped.
# 04_decode.py decodes what is missing and lists what became of every run in status.csv. Where that no longer holds (a run is
# not complete, files were deleted or mended, weights changed), it looks again.
STATUS := $(RUNS)/status.csv
ADDED_MODELS := $(if $(wildcard $(RECORDS)/added.json),$(shell cksum < $(RECORDS)/added.json))
SETTINGS := $(if $(filter reported,$(PROFILE)),$(RESULTS),$(RUNS))/.settings
RUN_SETTINGS := MODELS=$(MODELS) DECODE=$(DECODE) FORMAT=$(FORMAT) $(ADDED_MODELS)
$(SETTINGS): $(call changed,$(SETTINGS),$(RUN_SETTINGS))
	@mkdir -p $(@D) && echo '$(RUN_SETTINGS)' > $@
OUTDATED := $(if $(wildcard $(STATUS)),$(shell $(OWN_PYTHON) experiments/tools/outdated.py $(STATUS)))
$(STATUS): experiments/04_decode.py $(DECODING) $(TEST) $(SETTINGS) $(OUTDATED) | $(READY)
	$(PY) $< --profile $(PROFILE) $(NARROW) --data $(TEST) --dev $(DEV) --runs $(RUNS) --out $@ $(GPUS_PER_MODEL:%=--gpus %) \
	    $(patsubst -j%,--jobs %,$(filter -j%,$(MAKEFLAGS))) --where $(WHERE) $(if $(SLURM),$(if $(filter slurm,$(WHERE)),--cluster=$(call quoted,SLURM))) $(HARDWARE) $(FORMAT:%=--prompt-format %) $(DECODE)

# ---------------------------------------------------------------------------------------------------- scores, summaries
SCORES := $(RESULTS)/scores.csv
PAIRS := $(addprefix $(RESULTS)/,code.csv math.csv alignment.csv)
OTHER_SCORES := $(RESULTS)/runs.csv
$(foreach name,ON_RUNS DECODED,$(eval $(name) :=))# whatever the environment says
ifneq ($(PROFILE),reported) # which knows nothing but the printed counts
OTHER_SCORES += $(RESULTS)/queries.csv
ON_RUNS := $(RESULTS)/prompt_format.csv $(RESULTS)/constrained.csv $(RESULTS)/errors.csv
DECODED := --data $(TEST) --runs $(RUNS)
$(SCORES) $(ON_RUNS): $(STATUS)
$(SCORES): $(RESULTS)/random.csv
endif
SUMMARIES := $(RESULTS)/random.csv $(PAIRS) $(ON_RUNS) $(RESULTS)/claims.csv
$(SCORES) $(SUMMARIES): $(JUDGING) $(SETTINGS) | $(READY)
$(RESULTS)/random.csv: experiments/02_random_baseline.py $(if $(DECODED),$(TEST))
	@echo "random baseline: $@"
	$(PY) $< --profile $(PROFILE) $(if $(DECODED),--data $(TEST)) --out $@
$(RESULTS)/prompt_format.csv: experiments/03_select_prompt_format.py
	$(PY) $< --profile $(PROFILE) --data $(DEV) --runs $(RUNS) --out $@ $(NARROW)
$(SCORES): experiments/05_score.py $(call lacking,$(OTHER_SCORES))
	$(PY) $< --profile $(PROFILE)$(if $(DECODED), $(DECODED) --random $(RESULTS)/random.csv) --out $(@D) $(NARROW)
$(OTHER_SCORES): $(SCORES) ;
$(RESULTS)/code.csv: experiments/06_code.py
$(RESULTS)/math.csv: experiments/07_math.py
$(RESULTS)/alignment.csv: experiments/08_alignment.py
$(RESULTS)/claims.csv: experiments/10_claims.py $(PAIRS) $(ON_RUNS)
$(PAIRS) $(RESULTS)/claims.csv: $(SCORES)
	$(PY) $(filter experiments/0% experiments/1%,$^) --profile $(PROFILE) --results $(@D) --out $@
$(RESULTS)/constrained.csv: experiments/09_constrained_decoding.py
$(RESULTS)/errors.csv: experiments/11_errors.py $(SCORES)
$(RESULTS)/constrained.csv $(RESULTS)/errors.csv:
	$(PY) $(filter experiments/0% experiments/1%,$^) --profile $(PROFILE) $(DECODED) --out $@ $(NARROW)

# ---------------------------------------------------------------------------------------------------- tables, figures, report
TABLES := $(OUT)/table6.csv
FIGURES := $(OUT)/figure3.png
REPORT := $(OUT)/report.html
OTHER_TABLES := $(filter-out $(TABLES),$(foreach number,1 3 4 6,$(addprefix $(OUT)/table$(number).,md tex csv)))
OTHER_FIGURES := $(filter-out $(FIGURES),$(foreach number,1 2 3,$(addprefix $(OUT)/figure$(number).,pdf png)))
RENDER = $(PY) -m paper.$1 --profile $(PROFILE) --results $(RESULTS) --out $(OUT)
$(TABLES): $(SCORES) $(RENDERING) $(call lacking,$(OTHER_TABLES)) | $(READY)
	@echo "tables: $(OUT)"
	$(call RENDER,tables)
$(OTHER_TABLES): $(TABLES) ;
$(FIGURES): $(SCORES) $(RENDERING) $(call lacking,$(OTHER_FIGURES)) | $(READY)
	@echo "figures: $(OUT)"
	$(call RENDER,figures)
$(OTHER_FIGURES): $(FIGURES) ;
$(REPORT): $(SUMMARIES) $(TABLES) $(FIGURES) $(wildcard data/bench/bfloat16.csv) $(call lacking,$(OUT)/report.md) | $(READY)
	@echo "report: $@"
	$(call RENDER,report) --runs $(RUNS) $(if $(DECODED),--data $(TEST))
$(OUT)/report.md: $(REPORT) ;
CHECK = $(PY) experiments/tools/check.py --profile $(PROFILE) --results $(RESULTS) \
    --reference data/$(if $(filter paper,$(PROFILE)),reported,reference/$(PROFILE))
NAME_NOT_RUN = $(PY) experiments/tools/unfinished.py --profile $(PROFILE) --runs $(RUNS) $(NARROW)
ifeq ($(FROM),)
all: $(REPORT) ## everything up to paper/out/PROFILE/report.html; where models were not run, it names them and ends in "Error 3"
	@echo "PROFILE=$(PROFILE): figures, tables and claims are in $(REPORT)"
	$(NAME_NOT_RUN)
table6: $(TABLES) ## Table 6 in the terminal, reproduced beside reported
	$(call RENDER,tables) --print 6
tables: $(TABLES) ## Tables 1, 3, 4 and 6 as Markdown, LaTeX and CSV
figures: $(FIGURES) ## Figures 1-3 as PDF and PNG
check: $(SCORES) $(SUMMARIES) ## checksums of the data, results against the reference results, claims
	$(if $(and $(DECODED),$(CHECKED)),(cd $(DATA_DIR) && sha256sum --check --quiet -) < $(CHECKED); echo "$(DATA_DIR): as in $(CHECKED)")
	$(CHECK)
else # nothing is run: everything is the archive's
all table6 tables figures check: | $(READY)
	$(PY) experiments/tools/from_archive.py $@ --archive $(FROM)
endif
archive: $(SCORES) $(SUMMARIES) ## results, provenance and checksums as paper/out/PROFILE/PROFILE.tar.zst, to deposit (predictions stay here)
	$(PY) experiments/tools/archive.py --profile $(PROFILE) --results $(RESULTS) --runs $(RUNS) --out $(OUT)/$(PROFILE).tar.zst

# ---------------------------------------------------------------------------------------------------- test, models, more
test: $(READY) $(SUBSET) ## the tests, offline; ARGS="-m slow" for the long ones
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 $(PY) -m pytest -n logical --maxprocesses 8 --dist loadfile $(ARGS)
ADD = $(PY) experiments/tools/add_model.py --model $(call quoted,MODEL) --profile $(PROFILE) \
    $(if $(REVISION),--revision $(call quoted,REVISION)) $(if $(BASE),--base $(call quoted,BASE)) $(ADDED:%=--added %) $(ARGS)
GAIN = $(PY) experiments/tools/gain.py --profile $$profile --model $$name
DRY = $(findstring n,$(firstword -$(MAKEFLAGS)))# make -n, which would run a line that has $$(MAKE) in it
model: $(READY) ## decode MODEL and its BASE alone, and print what it gains; it is then a row of the table (REMOVE=name takes it out)
ifneq ($(value REMOVE),)
	$(PY) experiments/tools/add_model.py --remove $(call quoted,REMOVE) > /dev/null
else
	$(if $(DRY),exit; )row=$$($(ADD)); read -r profile name base <<< "$$row"; \
	    chosen=(MODEL= BASE= REVISION= ADDED= ARGS= PROFILE=$$profile MODELS="$${base:+$$base }$$name"); \
	    $(MAKE) weights "$${chosen[@]}" || { echo "$$name stays a row until make model REMOVE=$$name" >&2; exit 2; }; $(GAIN) --questions; \
	    status=0; $(MAKE) all "$${chosen[@]}" || status=$$?; \
	    $(GAIN) --runs data/runs/$$profile --results data/results/$$profile; exit $$status
endif
weights: $(READY) ## fetch the weights of the chosen models, e.g. PROFILE=paper MODELS=CodeLlama-7b-hf (13 to 140 GB each)
	$(PY) experiments/tools/fetch_weights.py --profile $(PROFILE) $(if $(strip $(MODELS)),--models $(MODELS))
doctor: $(READY) ## what a run of the chosen models would meet: GPUs, memory, disk, weights, access, tokenizers, time
	$(PY) experiments/tools/doctor.py --profile $(PROFILE) $(NARROW) $(GPUS_PER_MODEL:%=--gpus %) --bench data/bench/shapes.csv
clean: ## delete figures, tables and results; data, predictions and the environment stay
	rm -rf paper/out data/results .pytest_cache .ruff_cache .hypothesis
distclean: clean ## delete also data, predictions (hours of a GPU), what make model and make weights recorded, and VENV
	rm -rf data/runs $(SUBSET) $(DATA_DIR)/*-test-subsample-states-t5.jsonl $(OTHER_DATA) $(DATA_DIR)/.settings
	rm -rf $(addprefix $(RECORDS)/,added.json revisions.json verified.json gguf)
	if test -e $(VENV)/pyvenv.cfg; then rm -rf $(VENV:%/=%); elif test -e $(VENV); then \
	    echo "$(VENV): no virtual environment, it stays"; fi
help: ## this text
	awk -v first='all table6 test model' -f experiments/tools/help.awk $(THIS) $(MAINTENANCE)
MAINTENANCE := experiments/tools/field.mk experiments/tools/maintenance.mk
include $(MAINTENANCE)
