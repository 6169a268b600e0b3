# Everything is installed into .venv; nothing but Python 3.11 or newer must be there before.

PYTHON ?= python3
EXTRA ?= cpu
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
SERVE_STAMP := $(VENV)/.installed-$(EXTRA)
DEV_STAMP := $(VENV)/.installed-$(EXTRA)-dev
INPUTS := pyproject.toml constraints.txt
DEV_EXTRAS := $(EXTRA),dev

# One BLAS thread and two malloc arenas: inference brings its own threads, and arenas cost memory.
export OPENBLAS_NUM_THREADS := 1
export MALLOC_ARENA_MAX := 2

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install serve test lint bench lock clean python chromium extra

help:
	@echo "make serve    install what is needed and start the server on http://127.0.0.1:8080"
	@echo "make test     install what tests need and run them"
	@echo "make lint     ruff and mypy"
	@echo "make bench    measure this machine"
	@echo "make install  install only"
	@echo "make lock     write constraints.txt anew, with the newest versions that pyproject.toml allows"
	@echo "make clean    remove what the above made, .venv included"
	@echo
	@echo "PYTHON=python3.12   the interpreter to make .venv with (now: $(PYTHON))"
	@echo "EXTRA=gpu           inference on NVIDIA GPUs (now: $(EXTRA))"
	@echo "ARGS='--port 9000'  further arguments for the server, pytest or the benchmark"

install: $(SERVE_STAMP)

serve: $(SERVE_STAMP)
	@exec $(RUN) -m webrtc_server serve $(ARGS)

test: $(DEV_STAMP) chromium
	@$(RUN) -m pytest $(ARGS)

lint: $(DEV_STAMP)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

bench: $(DEV_STAMP)
	@$(RUN) -m bench $(ARGS)

$(SERVE_STAMP): $(INPUTS) $(RUN) | extra
	@$(call pip_install,$(EXTRA))
	@touch $@

$(DEV_STAMP): $(INPUTS) $(RUN) | extra
	@$(call pip_install,$(DEV_EXTRAS))
	@touch $@ $(SERVE_STAMP)

# pip_install: extras. What pip says is cut down to a line for each package; its errors are left alone.
define pip_install
echo "Installing avatar-server[$(1)] into $(VENV), which takes a minute or more"; \
$(RUN) -m pip install --disable-pip-version-check --no-input --progress-bar off -c constraints.txt -e '.[$(1)]' \
    | sed -u -n -E 's/^Collecting ([A-Za-z0-9._-]+).*/  \1/p; s/^Installing collected packages.*/  (unpacking)/p'
endef

# The extras cpu and gpu both install the module onnxruntime: never both at once.
extra: $(RUN)
	@case "$(EXTRA)" in cpu) other=gpu ;; gpu) other=cpu ;; \
	    *) echo "EXTRA must be cpu or gpu, not '$(EXTRA)'" >&2; exit 2 ;; esac; \
	if compgen -G "$(VENV)/.installed-$$other*" >/dev/null; then \
	    $(RUN) -m pip uninstall -q -y --disable-pip-version-check onnxruntime onnxruntime-gpu; \
	    rm -f $(VENV)/.installed-*; \
	fi

$(RUN): | python
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Debian's own Python comes without venv's other half.
python:
	@test -x $(RUN) && exit 0; \
	if ! command -v $(PYTHON) >/dev/null; then \
	    echo "there is no $(PYTHON): install Python 3.11 or newer, or name one with PYTHON=..." >&2; exit 1; fi; \
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo "$(PYTHON) is $$($(PYTHON) --version): 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; fi; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null && exit 0; \
	case "$$($(PYTHON) -c 'import sys; print(sys.base_prefix)')" in /usr) ;; \
	    *) echo "$(PYTHON) has no modules venv and ensurepip; name another one with PYTHON=..." >&2; exit 1 ;; esac; \
	$(call apt_install,python3-venv,$(PYTHON) cannot make virtual environments)

# The tests drive a real browser through playwright, whose node wants libatomic.
chromium:
	@command -v chromium >/dev/null || { \
	$(call apt_install,chromium,the tests drive a real browser and there is no chromium); }; \
	/sbin/ldconfig -p | grep -q 'libatomic\.so\.1 ' || { \
	$(call apt_install,libatomic1,playwright drives the browser and needs libatomic.so.1); }

# apt_install: a Debian package and why it is needed
define apt_install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "Installing Debian's $(1): $(2)"; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -qq update && apt-get -qq -y install --no-install-recommends $(1) >/dev/null; \
else \
    echo "$(2): install Debian's package $(1) (apt-get install $(1)) and try again" >&2; exit 1; \
fi
endef

lock: | python
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(PYTHON) -m venv "$$fresh"; \
	"$$fresh/bin/pip" install -q --disable-pip-version-check '.[cpu,dev]'; \
	{ echo '# Exact versions of everything the extras cpu and dev install; made by `make lock`.'; \
	  "$$fresh/bin/pip" freeze --exclude avatar-server; } > constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
