# make pretrain   fresh machine → environment, text, tokenizer, store, pretraining, evaluation, report, PyTorch export
# make finetune   after make pretrain: its encoder on a real task, five seeds, a page with scores and mistakes
# make test       fresh machine → environment, lint, imports, types, the whole test suite
# make bench-quick    has anything slowed down? ratios of times against benchmarks/expected.json, under three minutes
# make compile    fresh machine → environment, TPU compiler, every recipe compiled at its true size for a TPU slice

# The first of these that runs: a version manager's stand-in can be on the path for a version that is not switched on.
PYTHON  ?= $(or $(shell for python in python3.12 python3.11; do $$python -c "" 2>/dev/null && echo $$python && break; done),python3)
CONFIG  ?= configs/demo.py
WORKDIR ?= runs/demo
TASK    ?= configs/tasks/reuters_r8.py
TUNED   ?= runs/$(basename $(notdir $(TASK)))
VENV    := .venv
PIP     := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --use-pep517
# Byte code by all cores, where pip would use one, but for what is hardly ever imported; files that are no Python stay.
COMPILE := $(VENV)/bin/python -m compileall -qq -j 0 -x '/tests?/|/transformers/models/' $(VENV)/lib || true
# What is linted: the project's own files, not those of yours that lie beside them.
SOURCES := $(or $(shell git ls-files '*.py' 2>/dev/null),benchmarks bert_jax configs configuration data_pipeline launch tests setup.py)
started := $(shell date +%s)

.PHONY: pretrain finetune encoder test bench-quick compile clean

pretrain: $(VENV)/installed
	$(VENV)/bin/python -m bert_jax.pretrain --config=$(CONFIG) --workdir=$(WORKDIR) --started=$(started) $(FLAGS)

# A small encoder wants a higher learning rate than BERT-base, for which the configurations of tasks are.
finetune: encoder $(VENV)/installed-finetune
	$(VENV)/bin/python -m bert_jax.finetune --config=$(TASK) --init_from=$(WORKDIR) --workdir=$(TUNED) --seeds=5 \
	  --config.learning_rate=3e-4 $(FLAGS)
	@echo "the page is $(TUNED)/report.html"

encoder:
	@test -d $(WORKDIR)/checkpoints || { echo "error: $(WORKDIR) holds no encoder yet: run make pretrain first" >&2; exit 1; }

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/lint-imports --no-cache > $(VENV)/imports.log || (cat $(VENV)/imports.log; exit 1)
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest --numprocesses=2

bench-quick: $(VENV)/installed-test
	$(VENV)/bin/python benchmarks/quick.py

compile: $(VENV)/tpu/installed
	JAX_PLATFORMS=cpu PYTHONPATH=$(VENV)/tpu $(VENV)/bin/python -m pytest -m tpu_compile tests/bert_jax tests/configs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else "Python %d.%d found; Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py | $(VENV)/bin/python
	$(PIP) --no-compile --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-finetune: setup.py | $(VENV)/bin/python
	$(PIP) --no-compile --editable '.[finetune]'
	@$(COMPILE)
	@touch $@ $(VENV)/installed

$(VENV)/installed-test: setup.py | $(VENV)/bin/python
	$(PIP) --no-compile --editable '.[test]'
	@$(COMPILE)
	@touch $@ $(VENV)/installed

# The compiler has a folder of its own: with it among the packages, JAX looks for TPUs wherever it starts.
$(VENV)/tpu/installed: $(VENV)/installed-test
	$(PIP) --no-deps --upgrade --target $(VENV)/tpu \
	  "$$($(VENV)/bin/python -c 'from importlib.metadata import requires; print(*(r.split(";")[0] for r in requires("jax") if r.startswith("libtpu")))')"
	@touch $@

clean:
	rm -rf $(VENV) runs
