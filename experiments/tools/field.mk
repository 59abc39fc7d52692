# For who decodes with other tools: prompts to take there, and statements to bring back. The Makefile includes this.
FORM ?=#                for make data: another form of the task beside the base set: long, contents, empty or containers (data/README.md)
PREDICTIONS ?=#         for make score: statements that were decoded elsewhere, one JSON object a line (data/README.md)
NAME ?=#                for make score: what the model is to be called
OUT ?=#                 for make prompts: the JSONL to write
LIMIT ?=#               a quick look at so many queries a bucket, e.g. make all LIMIT=20: folders of its own, labelled, never a result
DATASET ?=#             instead of the test set: a JSONL in its schema, or with a "description" a line; folders of its own, labelled
BATCH ?=#               for make prompts: vllm or openai, a batch file with the expression as structured output (needs MODEL=name)
.PHONY: score prompts

# ---------------------------------------------------------------------------------------------------- other tools
FORM_FILE := $(if $(filter command,$(origin FORM)),$(FORM:%=$(DATA_DIR)/%-$(notdir $(SUBSET))))
ifneq ($(FORM_FILE),)
data: $(FORM_FILE)
$(FORM_FILE): experiments/tools/forms.py boxes/generation.py boxes/dataset.py boxes/world.py $(DATA_DIR)/.settings | $(READY)
	$(PY) $< --form $(FORM) --seed $(SEED) --out $(@D) $(if $(filter 27,$(SEED)),--checksums data/forms.sha256)
endif
ifneq ($(filter command,$(origin DATASET)),) # of which the development set is not made with it
$(STATUS) $(ON_RUNS): $(DEV)
endif
ifneq ($(filter command,$(origin LIMIT)),)
$(TEST): experiments/tools/look.py $(SUBSET)
	$(PY) $< --data $(SUBSET) --limit $(LIMIT) --out $(@D)
endif
PROMPTS = $(PY) experiments/tools/prompts.py --data $(TEST) --out $(call quoted,OUT) \
    $(BATCH:%=--batch %) $(if $(MODEL),--model $(call quoted,MODEL)) $(ARGS)
prompts: $(TEST) ## the prompts of the test set as JSONL, into OUT, for what decodes elsewhere (ARGS="--prompt chat", "--free")
	$(PROMPTS)
SCORE = $(PY) experiments/tools/score.py --predictions $(call quoted,PREDICTIONS) --name $(call quoted,NAME) --profile $(PROFILE) \
    --data $(TEST) --runs data/runs $(LOOK:%=--suffix=%) $(if $(BASE),--base $(call quoted,BASE)) $(ADDED:%=--added %) $(ARGS)
score: $(TEST) ## score PREDICTIONS as NAME, a row decoded elsewhere (BASE, ADDED as for model; ARGS="--prompt table2 --engine ...")
	$(if $(DRY),exit; )row=$$($(SCORE)); read -r profile name base <<< "$$row"; \
	    chosen=(PREDICTIONS= NAME= MODEL= BASE= ADDED= ARGS= PROFILE=$$profile MODELS="$${base:+$$base }$$name"); \
	    status=0; $(MAKE) all "$${chosen[@]}" || status=$$?; \
	    $(GAIN) --runs data/runs/$$profile$(LOOK) --results data/results/$$profile$(LOOK); exit $$status

# ---------------------------------------------------------------------------------------------------- results for programs
ifeq ($(FROM),)
all archive: $(RESULTS)/results.json
$(RESULTS)/results.json: experiments/tools/results_json.py $(SCORES) $(SUMMARIES) | $(READY)
	$(PY) $< --profile $(PROFILE) --results $(@D) --out $@
endif
