# Everything starts here; `make demo` and `make test` need nothing but python3, pip and make.
PYTHON ?= python3
BIN := .venv/bin
SAMPLE := pipeline/premask/sample

.PHONY: help demo docs test test-quick lint type schemas reference bench case-study gpu-check fuzz mutations faults fault-table old-datasets lock audit
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Every file that premask itself needs is checked against its sha256, the build backend's, too. What only the
# tests need is pinned to versions: torch has other builds at other indexes.
.venv/base: pyproject.toml .requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement .requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/ready: .venv/base constraints.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev,docs,trainers,study]' --constraint constraints.txt
	@touch $@

# A browser for the tests of the report: Debian's, where we may install it; without one they are skipped.
.venv/browser: .venv/ready
	@for name in chromium chromium-browser google-chrome; do command -v $$name && exit 0; done >/dev/null; \
	  { [ "$$(id -u)" = 0 ] && timeout 100 apt-get -qq update && \
	    timeout 500 apt-get -qq install --yes --no-install-recommends chromium; } >/dev/null 2>&1 </dev/null || echo "no Chromium here: tests that need one are skipped"
	@touch $@

demo: .venv/base  ## turn the bundled sample into shards and show what is trained
	$(BIN)/premask run $(SAMPLE)/conversations.jsonl --tokenizer $(SAMPLE)/tokenizer --layout packed,unpacked --max-length 2048 --output out/demo
	@echo; $(BIN)/premask explain $(SAMPLE)/conversations.jsonl --tokenizer $(SAMPLE)/tokenizer --row 144; echo
	@$(BIN)/premask report out/demo
	@echo "look at it:  $(BIN)/premask report out/demo --open"

docs: .venv/ready  ## build the documentation into site/; a warning or a broken link is an error
	@$(BIN)/python docs/notebook.py page
	@if [ -x $(BIN)/zensical ]; then NO_COLOR=1 $(BIN)/zensical build --clean --strict; \
	  else echo "no Zensical here (it needs Python 3.11): the documentation is not built"; fi

test: lint type docs .venv/browser  ## lint, types, documentation, all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-quick: .venv/ready  ## most tests, in under two minutes: no torch, browser, corpus, Ray or faults
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --quick

lint: .venv/ready  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/ready  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy tests/api/typing_sample.py

schemas: .venv/ready  ## write schemas/ anew from the code
	$(BIN)/python -m premask.core.schemas schemas

reference: .venv/ready  ## write docs/commands.md anew from the commands
	$(BIN)/python docs/reference.py

old-datasets: .venv/ready  ## older releases of datasets load the output (installs them, in .venv/)
	PREMASK_OLD_DATASETS=.venv/old-datasets $(BIN)/python -m pytest -s tests/output/test_old_datasets.py

fuzz: .venv/ready  ## ROWS=100,000 rows of all kinds through real runs, in pieces; LOG=file goes on where it stopped
	$(BIN)/python tests/support/fuzz_rows.py --rows $(or $(ROWS),100000) --seed $(or $(SEED),0) --jobs $(or $(JOBS),1) $(if $(LOG),--log $(LOG))
	$(BIN)/python tests/support/fuzz_inputs.py --files $(or $(FILES),500)

lock: .venv/ready  ## write .requirements.lock anew; PYTHONS=python3.10,... names one of each supported version
	$(BIN)/python tests/support/make_lock.py $(if $(PYTHONS),--pythons $(PYTHONS))

audit: .venv/ready  ## known vulnerabilities of what is installed, from a service: needs a network
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/pip-audit --require-hashes --disable-pip --requirement .requirements.lock
	.venv/audit/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt

mutations: .venv/ready  ## MUTATIONS=2000 hostile outputs through all commands that read outputs
	$(BIN)/python tests/support/mutate_outputs.py --mutations $(or $(MUTATIONS),2000)

faults: .venv/ready  ## kill processes of runs at KILLS=100 random moments: all bytes stay the same
	$(BIN)/python tests/support/fault_test.py --kills $(or $(KILLS),100)

fault-table: .venv/ready  ## faults of the machine, TRIES=20 of each kind: all bytes stay the same
	$(BIN)/python tests/support/fault_table.py --tries $(or $(TRIES),20)

bench: .venv/ready  ## measure, into benchmarks/RESULTS.md; QUICK=1 takes minutes and keeps nothing
	$(BIN)/python benchmarks/results.py $(if $(QUICK),--quick) $(if $(TRL_PYTHON),--trl-python $(TRL_PYTHON))

case-study: .venv/ready  ## masked against all tokens, into examples/case_study/; QUICK=1 takes two minutes and keeps nothing
	$(BIN)/python examples/case_study/study.py $(if $(QUICK),--quick,--keep)

gpu-check: .venv/ready  ## packing, head, isolation and curves on a GPU, into benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/gpu_check.py --keep
