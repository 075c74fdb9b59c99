# One command on a fresh machine with Python 3.11, 3.12 or 3.13: everything it needs is installed into .venv.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN = .venv/bin
INSTALLED = .venv/installed

.PHONY: demo test lint types bench clean

demo: $(INSTALLED)
	$(BIN)/diverget run configs/quickstart.yaml

test: $(INSTALLED)
	PYTHONWARNINGS=error::DeprecationWarning:diverget $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench.relations
	$(BIN)/python -m tests.bench.search
	$(BIN)/python -m tests.bench.evolution
	$(BIN)/python -m tests.bench.lowering
	$(BIN)/python -m tests.bench.sweep
	$(BIN)/python -m tests.bench.budget

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found; name one: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tensorflow,onnx,repair,envi,dask,slurm,dev]'
	touch $@

clean:
	rm -rf .venv runs
