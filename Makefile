# Two commands on a fresh machine: `make demo` runs the main job, `make test` the tests. Each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python

.PHONY: demo compare quick test test-cluster test-gpu test-hostile test-tutorial fuzz doctor weights lint fix clean help

help:
	@echo "make demo     the main job on a corpus it makes itself: videos -> data set -> report -> model -> dubbed video"
	@echo "make quick    tests without networks, training, servers and Ray: after every edit"
	@echo "make test     lint, types and tests"
	@echo "make test-cluster  the same job through ray job submit and on several raylets, training on two processes"
	@echo "make test-gpu  what GPUs run, on the CPU: compiled training of every preset, benchmarks.gpu in small"
	@echo "make test-hostile  hostile media through the networks, too; make fuzz breaks media for ten minutes"
	@echo "make test-tutorial  the commands of docs/tutorial.md, and what they print"
	@echo "make fix      format the code, and mend what ruff can mend"
	@echo "make compare  JoyGen, MuseTalk and Wav2Lip trained alike on DATA=OUT/shards, and judged on clips left out"
	@echo "make doctor   what is here, what is missing, and what each absence costs"
	@echo "make weights  fetch the model files that the defaults need"

demo: $(VENV)/ready
	$(RUN) -m pipeline.demo --out out/demo

quick: $(VENV)/ready
	$(RUN) -m pytest -m "not slow" --durations 5 tests

test: lint
	$(RUN) -m pytest -n 2 --dist loadfile --durations 12 tests

test-cluster: $(VENV)/ready
	$(RUN) -m pytest -m cluster tests

test-gpu: $(VENV)/ready
	$(RUN) -m pytest -n 2 -m "gpu or not gpu" tests/model/test_compiled.py tests/benchmarks

test-hostile: $(VENV)/ready
	$(RUN) -m pytest -m "hostile or not cluster" tests/hostile

test-tutorial: $(VENV)/ready
	$(RUN) -m pytest -m tutorial tests/docs

fuzz: $(VENV)/ready
	$(RUN) -m tests.hostile.fuzz --minutes 10

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --level error

fix: $(VENV)/ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

DATA ?= out/demo/shards
compare: $(VENV)/ready
	$(RUN) -m benchmarks.compare --data $(DATA) --out out/compare

doctor: $(VENV)/ready
	$(RUN) -m pipeline.doctor

weights: $(VENV)/ready
	$(RUN) -m pipeline.weights

# The environment is ready when every locked package is installed, torch imports and the weights are there.
$(VENV)/ready: requirements.lock pipeline/setup/install.sh pipeline/setup/repair_torch.py pipeline/weights.py \
		stages/core/weights.py stages/core/weight_files.py
	PYTHON=$(PYTHON) VENV=$(VENV) sh pipeline/setup/install.sh
	touch $@

clean:
	rm -rf $(VENV) out runs
