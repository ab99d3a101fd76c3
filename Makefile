# The five words, the same for people and for CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test check fix bench bench-peers soak soak-line endurance replay device wheelhouse system

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Kensa trains on Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")'
	@test -d $(VENV) || $(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free >> 30; sys.exit(0 if free >= 12 else f"torch and what it needs take 7 GB, and 4 more while they are installed: expected 12 GB free on the disk of this folder, found {free}")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade-strategy only-if-needed -c constraints.txt -e '.[train,export,dev]'
	@touch $(STAMP)

# Programs that the tests work with: a real broker, a real browser for the report, and what makes real faults. The demo does
# without them.
PROGRAMS := mosquitto chromium openssl faketime strace
system:
	@missing=""; for one in $(PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$one >/dev/null || missing="$$missing $$one"; done; \
	ls /usr/lib/*/libnss_wrapper.so >/dev/null 2>&1 || missing="$$missing libnss-wrapper"; \
	command -v arv-fake-gv-camera-0.8 >/dev/null || missing="$$missing aravis-tools libaravis-0.8-0"; \
	ls /usr/lib/*/girepository-1.0/GstRtspServer-1.0.typelib >/dev/null 2>&1 || missing="$$missing gir1.2-gst-rtsp-server-1.0 python3-gi"; \
	ls /usr/lib/*/gstreamer-1.0/libgstrtp.so >/dev/null 2>&1 || missing="$$missing gstreamer1.0-plugins-good gstreamer1.0-plugins-base"; \
	ls /usr/lib/*/libmodbus.so.5 >/dev/null 2>&1 || missing="$$missing libmodbus5"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	    service mosquitto stop >/dev/null 2>&1 || true; \
	  else echo "The tests need:$$missing (Debian: sudo apt-get install$$missing)"; exit 1; fi; fi

demo: setup
	$(BIN)/kensa demo

# One thread for torch in each of the many small processes: on a busy machine more threads wait for each other. Three files of tests
# at a time, since most wait for other processes; those of one file one after the other, since some share a port. What failed beside
# others, on a machine that others may use too, is run once more alone, and has to pass then; both runs are printed. Only where tests
# failed (status 1): of a run that was cut off, nobody knows what else would have.
SIDE_BY_SIDE := -n 3 --dist loadfile
ALONE := --last-failed --last-failed-no-failures none
test: setup system
	@export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}; $(BIN)/python -m pytest $(SIDE_BY_SIDE) --durations=40 || \
	  { [ $$? -eq 1 ] && echo "== once more, alone: what failed" && $(BIN)/python -m pytest $(ALONE); }

check: setup system
	@echo "ruff format"; $(BIN)/ruff format --check --quiet .
	@echo "ruff"; $(BIN)/ruff check --quiet .
	@echo "mypy"; $(BIN)/mypy --no-error-summary
	@echo "imports"; $(BIN)/lint-imports --no-logo >/tmp/kensa-imports.$$$$ || { cat /tmp/kensa-imports.$$$$; exit 1; }
	@echo "pytest"; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(SIDE_BY_SIDE) --quiet

fix: setup
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

# The device's own environment: no extras, so no torch.
device:
	rm -rf build
	$(PYTHON) -m venv .venv-device
	.venv-device/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[test]'

# What a device is installed from, which needs no network then: Kensa's own wheel, and those of deploy/device.txt for such a device.
DEVICE_PYTHON ?= 3.11
MACHINE ?= x86_64
WHEELHOUSE ?= wheelhouse
wheelhouse: setup
	$(BIN)/python -m deploy.wheelhouse --python "$(DEVICE_PYTHON)" --machine "$(MACHINE)" "$(WHEELHOUSE)"

# Scripts below tests/ find our packages before the folders of tests that have their names.
bench bench-peers soak soak-line endurance: export PYTHONPATH := $(CURDIR)

# 5000 parts in real time through both processes, a broker, a camera and an independent PLC, all of which fail; by time, then by an
# encoder on a belt that stops: 20 minutes each.
soak-line: setup system
	$(BIN)/python tests/real_line.py
	$(BIN)/python tests/real_line.py --encoder

# A million events through outages and kills; tables on stdout. A quarter of an hour, 2 GB in SOAK_OUT (a new folder).
SOAK_OUT ?= build/soak
soak: setup system
	$(BIN)/python tests/soak.py --out $(SOAK_OUT)

# An hour of a whole line, 25 parts a second: what its processes, its page in a browser and its disk keep.
endurance: setup system
	$(BIN)/python tests/endurance.py

bench: setup system device
	$(BIN)/python tests/bench.py

# Ours beside anomalib's inferencer: make bench-peers PEERS_DATA=set PEERS_RUNS="runs/a runs/b". Its environment is made once, 6 GB,
# or given: PEERS_ENV=folder. Both sides' exports stay in PEERS_OUT.
PEERS_ENV ?= .venv-anomalib
PEERS_OUT ?= build/peers
$(PEERS_ENV)/bin/anomalib:
	$(PYTHON) -m venv $(PEERS_ENV)
	$(PEERS_ENV)/bin/python -m pip install --quiet --disable-pip-version-check 'anomalib[core,openvino]==2.7.0'

bench-peers: setup
	@test -n "$(PEERS_DATA)" -a -n "$(PEERS_RUNS)" || { echo 'usage: make bench-peers PEERS_DATA=path/to/set PEERS_RUNS="RUN ..."'; exit 2; }
	@$(MAKE) --no-print-directory $(PEERS_ENV)/bin/anomalib
	$(BIN)/python tests/bench_peers.py $(PEERS_RUNS) --data $(PEERS_DATA) --python $(PEERS_ENV)/bin/python --out $(PEERS_OUT)

# One folder of photographs through the real two processes: make replay CASE=line.yaml
replay: setup
	@test -n "$(CASE)" || { echo "usage: make replay CASE=path/to/line.yaml"; exit 2; }
	$(BIN)/kensa run $(CASE)
