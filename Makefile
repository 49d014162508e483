# Every target sets up .venv by itself. Needs Python 3.11 or newer, make and git; uses uv where it is installed.

# The interpreter that builds .venv: PYTHON=... chooses one, otherwise the first of these that runs.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $(p) -c \
	'import sys; print("$(p)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))

WORKERS ?= 2#           processes of `make test`
PYTEST_FLAGS ?=#        more options for pytest
REPRODUCE_FLAGS ?=#     more options for `pmdtheory verify`
FIGURES ?=#             names of figures; empty is all of them
LOCK_FLAGS ?=#          more options for the lock, say --upgrade

BIN := .venv/bin
INSTALL = $(if $(shell uv --version 2>/dev/null),uv pip install --quiet --python $(BIN)/python,\
	$(BIN)/python -m pip install -qq --disable-pip-version-check) --no-deps
HASH := (sha256sum 2>/dev/null || shasum -a 256) | cut -c1-16

# .venv is current when it holds stamps with these names. They come from contents, not from times, so that a fresh clone, a
# branch switched there and back, or a touch rebuilds nothing; a checkout that moved is rebuilt, as the scripts in .venv hold
# its path. A stamp is written last: an interrupted set-up leaves none.
DEPENDENCIES := .venv/.dependencies-$(shell { pwd; cat requirements.lock 2>/dev/null; } | $(HASH))
STAMP := .venv/.project-$(shell { pwd; cat requirements.lock pyproject.toml 2>/dev/null; } | $(HASH))

.PHONY: help setup test test-slow test-torch test-extras test-integrations test-slurm test-smollm bench-trl prove lint types bench gpu gpu-smollm gpu-compiled reproduce reproduce-quick smoke notebooks figures lock clean

help:
	@echo 'setup            build .venv from requirements.lock, when it is not current'
	@echo 'test             the default tests, with coverage'
	@echo 'test-slow        the tests that take longer'
	@echo 'test-torch       the losses under PyTorch, in a .venv-torch of its own'
	@echo 'test-extras      reasoning-gym, sinks and submitit, in a .venv-extras of its own'
	@echo 'test-integrations  training in TRL and Tunix, in .venv-trl and .venv-tunix'
	@echo 'test-slurm       sweeps, verification and training as jobs of Slurm, where there is one'
	@echo 'prove            the proofs over boxes, and the check of their certificates'
	@echo 'test-smollm      SmolLM2 and random models against transformers, in a .venv-smollm of its own (downloads 93 MB)'
	@echo 'lint types       ruff; mypy'
	@echo 'reproduce        verify every claim, then redraw the figures from their data'
	@echo 'reproduce-quick  the same on fewer instances, and check the figures instead of writing them'
	@echo 'smoke            train a small language model for a minute'
	@echo 'figures          compute and draw the figures (FIGURES=... chooses some)'
	@echo 'bench            benchmarks, into .benchmarks/ (OUT=DIR for the table)'
	@echo 'gpu              measurements on an accelerator, with PYTHON= as it is (OUT=DIR PART=name SIZE=tiny)'
	@echo 'gpu-smollm       training of SmolLM2 on an accelerator, with PYTHON= as it is (OUT=DIR PART=name SIZE=tiny)'
	@echo 'gpu-compiled     their programs compiled for an H100 without one: memory and bytes, in a .venv-cuda of its own'
	@echo 'bench-trl        a step of tiny_llm_rl against one of TRL, into tests/benchmarks/results/'
	@echo 'notebooks        run the notebooks'
	@echo 'lock             write requirements.lock from pyproject.toml (LOCK_FLAGS=--upgrade for newer versions)'
	@echo 'clean            remove .venv, caches and build outputs'

setup: $(STAMP)

$(DEPENDENCIES):
	@[ -n "$(PYTHON)" ] || { echo 'no Python 3.11 or newer found: install one, or name it: make PYTHON=/path/to/python' >&2; exit 1; }
	rm -rf .venv
	"$(PYTHON)" -m venv .venv
	$(INSTALL) --require-hashes -r requirements.lock
	@touch $@

$(STAMP): | $(DEPENDENCIES)
	@rm -f .venv/.project-*
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --benchmark-disable --cov=pmdtheory --cov-branch --cov-fail-under=97 \
		-m "not slow and not notebook and not gpu and not torch and not integrations and not extras and not slurm and not smollm" $(PYTEST_FLAGS)

test-slow: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --benchmark-disable -m "slow and not gpu and not torch and not integrations and not extras and not slurm and not smollm" tests --ignore=tests/benchmarks $(PYTEST_FLAGS)

# PyTorch is large and only the losses need it: an environment of its own, outside the lock.
TORCH := .venv-torch/bin
TORCH_STAMP := .venv-torch/.torch-2.13.0

$(TORCH_STAMP):
	rm -rf .venv-torch
	"$(PYTHON)" -m venv .venv-torch
	$(TORCH)/python -m pip install -qq --disable-pip-version-check torch==2.13.0 numpy scipy pytest hypothesis hatchling editables
	$(TORCH)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-torch: $(TORCH_STAMP)
	$(TORCH)/python -m pytest tests/rl/test_losses_torch.py tests/variants/test_classify_torch.py -m torch $(PYTEST_FLAGS)

# What the extras `tasks` and `sweep` and the sinks need; reasoning-gym brings some thirty packages.
EXTRAS := .venv-extras/bin
EXTRAS_STAMP := .venv-extras/.extras-3

$(EXTRAS_STAMP):
	rm -rf .venv-extras
	"$(PYTHON)" -m venv .venv-extras
	$(EXTRAS)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	$(EXTRAS)/python -m pip install -qq --disable-pip-version-check 'reasoning-gym==0.1.25' 'trackio>=0.40' 'tensorboardX>=2.6' \
		'submitit==1.5.*' 'tokenizers>=0.21'
	$(EXTRAS)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-extras: $(EXTRAS_STAMP)
	$(EXTRAS)/python -m pytest tests/rl/test_extras.py tests/smollm/test_gym.py -m extras $(PYTEST_FLAGS)

# Where sbatch and sacct work; tests/slurm/cluster.sh makes two nodes of a spare machine.
test-slurm: $(EXTRAS_STAMP)
	$(EXTRAS)/python -m pytest tests/slurm -m slurm $(PYTEST_FLAGS)

# Frameworks that training is done with: an environment each, since they pin one another's dependencies. PyTorch goes in
# first, so that the build it is asked for stays.
TRL_PINS := tests/integrations/trl.txt
TRL := .venv-trl/bin
TRL_STAMP := .venv-trl/.trl-$(shell cat $(TRL_PINS) | $(HASH))
TUNIX_PINS := tests/integrations/tunix.txt
TUNIX := .venv-tunix/bin
TUNIX_STAMP := .venv-tunix/.tunix-$(shell cat $(TUNIX_PINS) | $(HASH))

$(TRL_STAMP):
	rm -rf .venv-trl
	"$(PYTHON)" -m venv .venv-trl
	$(TRL)/python -m pip install -qq --disable-pip-version-check $$(grep ^torch== $(TRL_PINS))
	$(TRL)/python -m pip install -qq --disable-pip-version-check -r $(TRL_PINS)
	$(TRL)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(TUNIX_STAMP):
	rm -rf .venv-tunix
	"$(PYTHON)" -m venv .venv-tunix
	$(TUNIX)/python -m pip install -qq --disable-pip-version-check -r $(TUNIX_PINS)
	$(TUNIX)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-integrations: $(TRL_STAMP) $(TUNIX_STAMP)
	$(TRL)/python -m pytest -m integrations tests/integrations $(PYTEST_FLAGS)
	$(TRL)/python -m pytest -W default pmdtheory/integrations/trl.py $(PYTEST_FLAGS)
	$(TUNIX)/python -m pytest -m integrations tests/integrations $(PYTEST_FLAGS)
	$(TUNIX)/python -m pytest -W default pmdtheory/integrations/tunix.py $(PYTEST_FLAGS)

# PyTorch goes in first, so that the build it is asked for stays; the lock comes last, so that its versions do.
SMOLLM_PINS := tests/smollm/pins.txt
SMOLLM := .venv-smollm/bin
SMOLLM_STAMP := .venv-smollm/.smollm-$(shell cat $(SMOLLM_PINS) requirements.lock | $(HASH))

$(SMOLLM_STAMP):
	rm -rf .venv-smollm
	"$(PYTHON)" -m venv .venv-smollm
	$(SMOLLM)/python -m pip install -qq --disable-pip-version-check $$(grep ^torch== $(SMOLLM_PINS))
	$(SMOLLM)/python -m pip install -qq --disable-pip-version-check -r $(SMOLLM_PINS)
	$(SMOLLM)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	$(SMOLLM)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-smollm: $(SMOLLM_STAMP)
	$(SMOLLM)/python -m pytest -m smollm tests/smollm $(PYTEST_FLAGS)

# A step of TRL's GRPO against one of tiny_llm_rl, alternately; one process at a time.
bench-trl: $(STAMP) $(TRL_STAMP)
	$(BIN)/python -m tests.benchmarks.trl --out tests/benchmarks/results

# Every proof over boxes anew, then its certificate by the separate program.
prove: $(STAMP)
	$(BIN)/pmdtheory prove --boxes --certificate docs/certificates
	$(BIN)/pmdtheory prove --recheck docs/certificates/*.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	@mkdir -p .benchmarks
	$(BIN)/pytest tests/benchmarks -p no:xdist --benchmark-only --benchmark-json=.benchmarks/latest.json \
		--table "$(or $(OUT),.benchmarks)/cpu.json" $(PYTEST_FLAGS)

# Installs nothing: PYTHON needs numpy, scipy, jax, equinox and optax. What has a result in OUT is not run again.
gpu:
	$(PYTHON) -m tests.benchmarks.gpu --out "$(or $(OUT),tests/benchmarks/results)" \
		$(if $(PART),--part $(PART)) $(if $(SIZE),--size $(SIZE))

# Installs nothing: PYTHON needs what `gpu` needs, safetensors and tokenizers; the model is MODEL=, or what one
# `tiny-llm-rl smollm fetch` left in the cache. A part stops by itself and goes on when it is run again.
gpu-smollm:
	$(PYTHON) -m tests.benchmarks.gpu_smollm --out "$(or $(OUT),tests/benchmarks/results)" \
		$(if $(PART),--part $(PART)) $(if $(SIZE),--size $(SIZE)) $(if $(MODEL),--model "$(MODEL)")

# Programs of both, compiled for an H100 on a machine without one: their memory and bytes. CUDA's compilers take 5 GB.
CUDA_PINS := tests/benchmarks/gpu_compiled/pins.txt
CUDA := .venv-cuda/bin
CUDA_STAMP := .venv-cuda/.cuda-$(shell cat $(CUDA_PINS) requirements.lock | $(HASH))

$(CUDA_STAMP):
	rm -rf .venv-cuda
	"$(PYTHON)" -m venv .venv-cuda
	$(CUDA)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	$(CUDA)/python -m pip install -qq --disable-pip-version-check -r $(CUDA_PINS)
	@touch $@

gpu-compiled: $(CUDA_STAMP)
	$(CUDA)/python -m tests.benchmarks.gpu_compiled --out tests/benchmarks/results

reproduce: $(STAMP)
	$(BIN)/pmdtheory verify $(REPRODUCE_FLAGS)
	$(BIN)/pmdtheory figures --reuse-data

reproduce-quick: $(STAMP)
	$(BIN)/pmdtheory verify --instances 20 $(REPRODUCE_FLAGS)
	$(BIN)/pmdtheory figures --reuse-data --check

figures: $(STAMP)
	$(BIN)/pmdtheory figures $(FIGURES)

# A shortened comparison: that base, sampler, verifier, updates, checkpoints and verdict work together.
smoke: $(STAMP)
	rm -rf runs/smoke
	$(BIN)/tiny-llm-rl reproduce --preset smoke

notebooks: $(STAMP)
	@if ls notebooks/*.ipynb >/dev/null 2>&1; then set -x; \
		$(BIN)/pytest --nbmake notebooks $(PYTEST_FLAGS); \
	else echo 'no notebooks yet'; fi

# The one target that needs no .venv, since it writes what .venv is built from.
lock:
	@uv --version >/dev/null 2>&1 || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	uv pip compile pyproject.toml --extra train --group test --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet $(LOCK_FLAGS) -o requirements.lock

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
