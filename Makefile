# Two commands matter: `make demo` shows the rig at work, `make test` proves it. Both set up what they need in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Two test workers: the twin and Verilator builds keep two cores busy.
WORKERS ?= 2
PYTEST_OPTIONS ?=
FUZZ_SECONDS ?= 60

.PHONY: demo test lint registers firmware firmware-figures kernel-usb fuzz synth prove mutate nightly clean

demo: $(VENV)/demo.stamp
	$(BIN)/codecrig demo

test: $(VENV)/test.stamp lint
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(PYTEST_OPTIONS)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python hdl/lint.py

# Regenerate what the other languages read from hdl/regs/codecrig.rdl.
registers: $(VENV)/test.stamp
	$(BIN)/python hdl/regs/generate.py

# The firmware that is flashed: ELF and UF2 in build/firmware/.
firmware: $(VENV)/test.stamp
	$(BIN)/python firmware/build.py

# The Linux kernel's USB stack, in QEMU, as a client of the simulated board.
kernel-usb: $(VENV)/test.stamp
	$(BIN)/python tests/kernel/kernel_usb.py

# Any traffic against the firmware's bridge, for FUZZ_SECONDS.
fuzz: $(VENV)/test.stamp
	$(BIN)/python tests/firmware/fuzz.py $(FUZZ_SECONDS)

# Bitstreams in build/synth/, figures in docs/fpga.md: half an hour, a moment if nothing has changed.
synth: $(VENV)/test.stamp
	$(BIN)/python hdl/synth/synth.py --jobs $(WORKERS)

# All proofs; the quick ones are among the tests.
prove: $(VENV)/test.stamp
	$(BIN)/python hdl/formal/prove.py

# Mutation score of the HDL tests, module by module.
mutate: $(VENV)/test.stamp
	$(BIN)/python hdl/mutate/mutate.py

# All of the above; the contract with whole spans (ten minutes of clock on the twin: half an hour); the WaveRT tests inside a cocotb
# simulation, and all end-to-end tests on the flashed firmware in the emulator, both with the rules of the contract that are marked for them;
# which rules fail on each saboteur.
nightly: test synth prove mutate
	$(BIN)/pytest --pyargs codecrig.contract --board model --board twin --long
	$(BIN)/pytest --board cocotb tests/e2e/test_wavert.py tests/contract/test_rules.py
	$(BIN)/pytest --board twin-rp2040 tests/contract/test_rules.py
	$(BIN)/python tests/contract/failing.py --check
	$(BIN)/pytest --board twin-rp2040 tests/e2e

# The figures of docs/firmware.md, on the firmware that is flashed.
firmware-figures: $(VENV)/test.stamp
	$(BIN)/python firmware/measure.py

$(VENV)/demo.stamp: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[sim]'
	touch $@

$(VENV)/test.stamp: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/demo.stamp

clean:
	rm -rf build
