# make pretrain   fresh machine → environment, text, tokenizer, store, pretraining, evaluation, report, PyTorch export
# make test       fresh machine → environment, lint, types, the whole test suite
# make bench-quick    has anything slowed down? ratios of times against benchmarks/expected.json, under three minutes

# The first of these that runs: a version manager's stand-in can be on the path for a version that is not switched on.
PYTHON  ?= $(or $(shell for python in python3.12 python3.11; do $$python -c "" 2>/dev/null && echo $$python && break; done),python3)
CONFIG  ?= configs/demo.py
WORKDIR ?= runs/demo
VENV    := .venv
PIP     := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
started := $(shell date +%s)

.PHONY: pretrain test bench-quick clean

pretrain: $(VENV)/installed
	$(VENV)/bin/python -m bert_jax.pretrain --config=$(CONFIG) --workdir=$(WORKDIR) --started=$(started) $(FLAGS)

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest --numprocesses=2

bench-quick: $(VENV)/installed-test
	$(VENV)/bin/python benchmarks/quick.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else "Python %d.%d found; Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-test: setup.py | $(VENV)/bin/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) runs
