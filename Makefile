# The five words, the same for people and for CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test check fix bench replay device system

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Kensa trains on Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade-strategy only-if-needed -c constraints.txt -e '.[train,export,dev]'
	@touch $(STAMP)

# Programs that the tests work with: a real broker, a real browser for the report, and what makes real faults. The demo does
# without them.
PROGRAMS := mosquitto chromium openssl faketime strace
system:
	@missing=""; for one in $(PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$one >/dev/null || missing="$$missing $$one"; done; \
	ls /usr/lib/*/libnss_wrapper.so >/dev/null 2>&1 || missing="$$missing libnss-wrapper"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	    service mosquitto stop >/dev/null 2>&1 || true; \
	  else echo "The tests need:$$missing (Debian: sudo apt-get install$$missing)"; exit 1; fi; fi

demo: setup
	$(BIN)/kensa demo

# One thread for torch in each of the many small processes: on a busy machine more threads wait for each other.
test: setup system
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --durations=10

check: setup system
	@echo "ruff format"; $(BIN)/ruff format --check --quiet .
	@echo "ruff"; $(BIN)/ruff check --quiet .
	@echo "mypy"; $(BIN)/mypy --no-error-summary
	@echo "imports"; $(BIN)/lint-imports --no-logo >/tmp/kensa-imports.$$$$ || { cat /tmp/kensa-imports.$$$$; exit 1; }
	@echo "pytest"; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --quiet

fix: setup
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

# The device's own environment: no extras, so no torch.
device:
	rm -rf build
	$(PYTHON) -m venv .venv-device
	.venv-device/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[test]'

bench: setup system device
	$(BIN)/python tests/bench.py

# One folder of photographs through the real two processes: make replay CASE=line.yaml
replay: setup
	@test -n "$(CASE)" || { echo "usage: make replay CASE=path/to/line.yaml"; exit 2; }
	$(BIN)/kensa run $(CASE)
