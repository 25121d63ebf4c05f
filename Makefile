# Everything here needs Python 3.11 or newer and make; the rest is installed into .venv.
#   make PYTHON=/path/to/python3 ...   chooses the interpreter that .venv is made from
#   make VENV=/path ...                puts the environment elsewhere
#   make test ARGS="-k softmax -x"     hands arguments to the tool behind a target

VENV ?= .venv
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all lint types format bench bench-peers wheel clean

help: ## list these targets
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

venv: $(READY) ## make .venv with te-lang (editable) and all tools; the other targets do this themselves

demo: $(READY) ## run the demonstration: real pictures and digits, checked against NumPy and SciPy
	$(BIN)/python examples/demo.py $(ARGS)

test: $(READY) ## run the tests, in parallel, without the slow ones
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-all: $(READY) ## run all tests, the slow ones too
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(READY) ## check style and formatting (ruff)
	$(BIN)/ruff check $(ARGS)
	$(BIN)/ruff format --check

types: $(READY) ## check types (mypy)
	$(BIN)/python -m mypy $(ARGS)

format: $(READY) ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

bench: $(READY) ## measure te beside NumPy and the peers that are installed; decides no test
	$(BIN)/python benchmarks/run.py $(ARGS)

# torch by its version: any other spelling downloads the libraries of CUDA.
bench-peers: $(READY) ## install the peers into .venv: torch, onnxruntime, OpenVINO, JAX, Halide, TVM; and matplotlib
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@for peer in "onnx onnxruntime" "onnx openvino" jax halide apache-tvm matplotlib; do \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: $$peer \
	        || echo "not available here: $$peer" >&2; \
	done

wheel: $(READY) ## build the sdist, and the wheel from it, into dist/
	rm -rf dist build
	$(BIN)/python -m build --outdir dist $(ARGS)

clean: ## remove the environment, caches and everything built
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is brought up to date when pyproject.toml changes, and made anew when it is broken
# (an interrupted run, an interpreter that is gone).
$(READY): pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	        if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            found=$$python; break; \
	        fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "te-lang needs Python 3.11 or newer with its venv module (Debian: python3-venv)." >&2; \
	        echo "None was found; name one with: make PYTHON=/path/to/python3 ..." >&2; \
	        exit 1; \
	    fi; \
	    echo "making $(VENV) with $$($$found --version)"; \
	    $$found -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "installing te-lang and its tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test]'
	@touch $@
