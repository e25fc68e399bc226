PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard setup.py pyproject.toml CMakeLists.txt csrc/*/*.cpp csrc/*/*/*.cpp csrc/*/*.cu csrc/*/*/*.cu csrc/*/*/*.cu.in csrc/*/*.cuh csrc/*/*/*.cuh csrc/*/*.h csrc/*/*/*.h)
# The emulated Triton, and those of the supported versions of torch, are installed next to the one that this torch brings.
EMULATED := $(abspath $(VENV))/triton-3.9.0
OLDER := $(abspath $(VENV))/triton-3.6.0 $(abspath $(VENV))/triton-3.7.1
# A process of pytest-xdist for each core; a file's tests run in one process.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --durations 10
RACES := 'tests/cuda/test_cuda_sanitized.py::test_finds_nothing[thread]'
SIMULATOR := $(wildcard tests/cuda/simulator/*)

.PHONY: demo test gpu emulate emulate-versions mutants kills packaging compatibility sanitize races bench bench-quick lint stubs format clean

## demo: a video of eight rabbits from the shipped snapshot, in demo/
demo: $(VENV)/.installed
	$(BIN)/digan-fast generate --seeds 0-7 --frames 48 --size 128 --grid 4x2 --out demo/rabbits.mp4
	@echo "The video: $(CURDIR)/demo/rabbits.mp4"

## test: every test that needs no GPU and no build of its own (tests/cuda builds a simulator)
test: $(VENV)/.installed-test
	$(PYTEST) --ignore=tests/cuda

## packaging: wheels, sdist and editable installs, with and without compilers
packaging: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m packaging tests/packaging

## emulate: the GPU kernels without a GPU: interpreted, compiled for four architectures, executed as PTX; ten minutes
emulate: $(VENV)/.installed-test $(EMULATED)/.installed $(VENV)/.found-nvcc
	PYTHONPATH=$(EMULATED) TRITON_INTERPRET=1 $(PYTEST) tests/kernels tests/emulator/tests/test_triton_interpreter.py
	PYTHONPATH=$(EMULATED) EMULATOR_REQUIRE_COMPILERS=1 $(PYTEST) tests/kernels tests/emulator tests/cuda --deselect $(RACES)

## emulate-versions: the Triton kernels compiled by each version of Triton in use and executed as PTX; half an hour
emulate-versions: $(VENV)/.installed-test $(OLDER:=/.installed)
	for triton in $(OLDER); do \
		PYTHONPATH=$$triton TRITON_INTERPRET=1 $(PYTEST) tests/kernels/test_interpreted.py && \
		PYTHONPATH=$$triton $(PYTEST) tests/kernels/test_executed.py tests/kernels/test_compiled.py || exit 1; \
	done

## gpu: every check and measurement on this machine's GPU, with its own Python and no network; PARTS=smoke,video runs some, OUT=folder
gpu:
	$(PYTHON) -m bench.gpu $(if $(PARTS),--parts $(PARTS)) $(if $(OUT),--out $(OUT))

## mutants: seeded bugs, each of which the tests must catch; the last line is `caught N of M`
mutants: $(VENV)/.installed-test $(EMULATED)/.installed
	cd tests && PYTHONPATH=$(EMULATED) $(abspath $(BIN))/python -m mutants

## kills: kill -9 at fifty random moments of training, each followed by an exact resumption; two and a half minutes
kills: $(VENV)/.installed-test
	cd tests/support && PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m kills --count 50

## compatibility: tests with the lowest versions, with older and with the newest torch; run by hand, it downloads gigabytes
compatibility: $(VENV)/.installed-dev
	$(BIN)/python tests/packaging/compatibility.py

## bench: speed, memory and quality, forty minutes; rewrites the tables of README.md and docs/results/cpu.md
bench: $(VENV)/.installed-dev
	mkdir -p results
	$(BIN)/python -m pytest bench --benchmark-json=results/bench.json
	$(BIN)/python -m bench.report results/bench.json

## bench-quick: the same with tiny networks, about one minute; shows breakage, its figures mean nothing
bench-quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest bench --quick

## sanitize: the ops' tests under AddressSanitizer and UndefinedBehaviorSanitizer
sanitize: $(VENV)/.installed-dev
	PYTHON=$(BIN)/python .ci/sanitize address

## races: the ops' tests, and every CUDA kernel in the simulator, under ThreadSanitizer; ten minutes, not part of CI
races: $(VENV)/.installed-dev
	PYTHON=$(BIN)/python .ci/sanitize thread
	EMULATOR_REQUIRE_COMPILERS=1 $(BIN)/python -m pytest $(RACES)

## lint: what a change must pass in addition to the tests
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.cu %.cuh %.h,$(NATIVE)) $(SIMULATOR)

## stubs: digan_fast/_C.pyi from the compiled functions' docstrings
stubs: $(VENV)/.installed-dev
	PYTHONPATH=tests:tests/support $(BIN)/python -m stubs

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(filter %.cpp %.cu %.cuh %.h,$(NATIVE)) $(SIMULATOR)

clean:
	rm -rf $(VENV) build dist demo *.egg-info digan_fast/_C*.so digan_fast/_native.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# nvcc, from PyPI where there is no toolkit.
$(VENV)/.found-nvcc: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m emulator.toolkit
	touch $@

$(VENV)/.build-tools: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt setuptools pybind11 cmake ninja
	touch $@

# Built in place first, since pip hides progress; pip then finds everything compiled.
$(VENV)/.installed: $(VENV)/.build-tools $(NATIVE)
	$(BIN)/python setup.py --quiet build_ext --inplace
	$(BIN)/pip install -c constraints.txt --no-build-isolation -e '.[video]'
	touch $@

$(abspath $(VENV))/triton-%/.installed: $(BIN)/python
	$(BIN)/pip install --quiet --no-deps --target $(@D) triton==$*
	touch $@

# The project is already installed: extras add packages without rebuilding it.
$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt 'digan_fast[$*]'
	touch $@
