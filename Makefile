# Two commands matter: `make lessons` to learn, `make test` to check. Each sets up what it needs.
# Works with GNU make 3.81 (macOS) and with spaces in the path: recipes use relative paths only.

PYTHON ?= python3
ARGS ?=

SETUP := scripts/setup_venv.py
VENV := .venv/bin/python
OLDEST := .venv-oldest/bin/python
BENCH := .venv-bench/bin/python
# A file's tests stay on one worker: notebooks need it, and module fixtures are made once.
PYTEST := -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lessons test test-long test-oldest unit check-notebooks browser notebooks badges lint types \
	assignment images bench format clean python venv-lessons venv-test venv-oldest venv-bench

help:
	@echo "make lessons       open the lessons in JupyterLab (ARGS=--no-browser without a screen)"
	@echo "make test          lint, types, notebooks, browser and unit tests"
	@echo "make test-long     the random sweeps that take longer, the sliders' speed"
	@echo "make browser       the lessons in a real JupyterLab and Chromium"
	@echo "make test-oldest   unit tests with the oldest versions of everything that we allow"
	@echo "make notebooks     run all notebooks in place and clean them"
	@echo "make badges        write badges and set-up cells (REPO=owner/name REF=tag: a new address)"
	@echo "make bench         speed beside PyTorch and Keras (10 minutes; let nothing else run)"
	@echo "make images        draw the animations in images/"
	@echo "make lint          ruff and the state of the notebooks"
	@echo "make format        let ruff rewrite what it can"
	@echo "make types         mypy"
	@echo "make assignment LESSON=02   a student's copy without solutions, in build/assignments"
	@echo "make clean         remove the virtual environments and everything that was built"
	@echo "PYTHON=python3.12 make ... chooses another Python (3.11 or newer)."

# --- Set-up: seconds when it is done already ------------------------------------------------

python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "No $(PYTHON) was found. Install Python 3.11 or newer, or name one: make ... PYTHON=/path/to/python3" >&2; \
	  exit 1; }

venv-lessons: python
	@"$(PYTHON)" $(SETUP) lessons

venv-test: python
	@"$(PYTHON)" $(SETUP) test

venv-oldest: python
	@"$(PYTHON)" $(SETUP) oldest

venv-bench: python
	@"$(PYTHON)" $(SETUP) bench

# --- Learning -------------------------------------------------------------------------------

# JupyterLab refuses to run as root unless told so; it is told so for root alone.
lessons: venv-lessons
	$(VENV) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  $$(test "$$(id -u)" -ne 0 || echo --allow-root) $(ARGS)

# --- Checking -------------------------------------------------------------------------------

# Every part runs even if one before it failed; the unit tests' summary comes last.
test: venv-test
	@failed=; \
	for part in lint types check-notebooks browser unit; do \
	  echo "== $$part"; \
	  $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
	done; \
	test -z "$$failed" || { echo "make test failed in:$$failed" >&2; exit 1; }

unit: venv-test
	$(VENV) $(PYTEST) $(ARGS)

test-long: venv-test
	$(VENV) $(PYTEST) -m long $(ARGS)
	$(VENV) scripts/browser_tests.py -m long

# The lessons in a real JupyterLab and a headless Chromium, which this installs for root on Debian.
browser: venv-test
	$(VENV) scripts/browser_tests.py -n 2 --dist load $(ARGS)

test-oldest: venv-oldest
	$(OLDEST) $(PYTEST) $(ARGS)

# Text outputs must equal the stored ones; warnings inside a notebook are the notebook's business.
check-notebooks: venv-test
	$(VENV) scripts/clean_notebooks.py --ignored notebooks
	$(VENV) $(PYTEST) --nbval --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg \
	  --junitxml=build/notebooks.xml -W default notebooks
	$(VENV) scripts/run_notebooks.py --times build/notebooks.xml

lint: venv-test
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) scripts/clean_notebooks.py --check notebooks
	$(VENV) scripts/badges.py --check

types: venv-test
	$(VENV) -m mypy

# --- Making ---------------------------------------------------------------------------------

notebooks: venv-test
	$(VENV) scripts/run_notebooks.py $(if $(ARGS),$(ARGS),notebooks)

# The shell, not make, puts REPO and REF in: nothing in them is ever run.
badges: venv-test
	@$(VENV) scripts/badges.py $(if $(REPO),--repo="$$REPO") $(if $(REF),--ref="$$REF")

images: venv-test
	$(VENV) scripts/make_images.py

# A student's copy of one lesson: no solutions, and a last cell that reports for the teacher.
assignment: venv-test
	@test -n "$$LESSON" || { echo "Name a lesson: make assignment LESSON=02" >&2; exit 1; }
	$(VENV) scripts/assignment.py "$$LESSON" $(ARGS)

bench: venv-bench
	$(BENCH) benchmarks/speed.py run $(ARGS)

format: venv-test
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

clean:
	rm -rf .venv .venv-oldest .venv-bench build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
