# Set-up happens once and again only when pyproject.toml or constraints.txt change; everything works offline after it.
# On Windows the commands below need a POSIX shell, such as that of Git for Windows; README has two commands without make.
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
VENV := .venv
BIN := $(VENV)/$(SCRIPTS)
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)

VENV5 := .venv-transformers5
BIN5 := $(VENV5)/$(SCRIPTS)
EXTRAS5 := export,bench,demo,hub,openvino,string,docs,test
NEWEST := .venv-newest
TORCH ?= $(shell grep '^torch==' constraints.txt)
JS := demo/embed/javascript

# Test processes side by side. Tests of one file stay together, because they share the runs that its fixtures make.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run test test-fast coverage test-transformers5 test-transformers5-core test-newest test-pythons javascript lint check-image lock-image clean

# Where onnxruntime-web is installed, the bundle records what WebAssembly makes of its golden texts.
run: $(VENV)/.installed
	NODE_PATH="$(CURDIR)/$(JS)/node_modules" $(BIN)/sentopt run quickstart

test: $(VENV)/.installed javascript
	$(BIN)/python -m pytest $(PARALLEL) --durations=15 $(PYTEST_ARGS)

# While you work: every layer, no whole run, nothing that is marked `slow`. Under two minutes on two cores.
test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest tests/unit -m "not slow" $(PARALLEL) --durations=5 $(PYTEST_ARGS)

# All tests, and the share of the package's lines that they execute in their own processes (not in those they start).
coverage:
	$(MAKE) --no-print-directory test \
		PYTEST_ARGS="--cov --cov-report=term:skip-covered --cov-report=markdown:build/coverage.md $(PYTEST_ARGS)"
	@echo "coverage of sentopt/: $$($(BIN)/coverage report --format=total) % of its lines"

# All tests under transformers 5, which has no released Optimum exporter beside it: PyTorch traces, onnxruntime quantizes.
# OpenVINO is here and not in the main environment, so that a bundle made there never needs it.
test-transformers5: $(VENV5)/.installed javascript
	$(BIN5)/python -m pytest $(PARALLEL) --durations=15 $(PYTEST_ARGS)

# Those of them that depend most on the versions of packages: every layer, and whole runs from data to answers.
test-transformers5-core: $(VENV5)/.installed
	$(BIN5)/python -m pytest -m "versions and not slow" $(PARALLEL) --durations=15 $(PYTEST_ARGS)

# All tests with the newest packages of today; torch is the constrained one, or any: make test-newest TORCH=torch
test-newest:
	rm -rf $(NEWEST) && $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/$(SCRIPTS)/python -m pip install --quiet $(TORCH) -e ".[$(EXTRAS5)]"
	$(NEWEST)/$(SCRIPTS)/python -m pip check
	$(NEWEST)/$(SCRIPTS)/python -m pytest $(PARALLEL) --durations=15 $(PYTEST_ARGS)

# The fast unit tests with the newest packages on every supported Python that is on PATH, or on those that are named:
# make test-pythons PYTHONS="python3.13 ~/pythons/*/bin/python3" TORCH=torch
test-pythons: $(VENV)/.installed
	$(BIN)/python tests/pythons.py $(if $(filter command line,$(origin TORCH)),--torch "$(TORCH)") $(PYTHONS)

# The JavaScript examples are tested where npm and its registry are; elsewhere those tests are skipped with a reason.
javascript:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(JS)/node_modules/.installed || true; fi

$(JS)/node_modules/.installed: $(JS)/package.json $(JS)/package-lock.json
	cd $(JS) && npm ci --no-audit --no-fund
	touch $@

# The documentation as a site in build/site; a broken link or a stale page is an error.
.PHONY: docs
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j $(WORKERS) mypy-linux mypy-win32 mypy-darwin
	$(BIN)/lint-imports

# Each system has a cache of its own, so that they do not undo each other's and can be checked side by side.
mypy-%: $(VENV)/.installed
	$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$*

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	$(BIN)/python -m pip check
	touch $@

# The pinned packages of the environment with transformers 5, and nothing that is built here, so that CI can make both side by side.
$(VENV5)/.packages: constraints-transformers5.txt
	test -x $(BIN5)/python || $(PYTHON) -m venv $(VENV5)
	$(BIN5)/python -m pip install --quiet --no-deps -r constraints-transformers5.txt
	touch $@

$(VENV5)/.installed: pyproject.toml constraints-transformers5.txt
	test -x $(BIN5)/python || $(PYTHON) -m venv $(VENV5)
	$(BIN5)/python -m pip install --quiet -c constraints-transformers5.txt -e ".[$(EXTRAS5)]"
	$(BIN5)/python -m pip check
	touch $@

# The container image from stand-ins of its base images, measured, and run without root on a file system that is read-only.
# As root, with Debian's packages mmdebstrap, buildah and bubblewrap.
BUNDLE ?= exports/quickstart/bundle
check-image: $(VENV)/.installed
	$(BIN)/python deploy/check_image.py --bundle $(BUNDLE)

# What the image installs, each file by its SHA-256, in the versions of constraints.txt. After changes of those; needs uv.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock-image" -c constraints.txt
lock-image:
	$(LOCK) --extra serve --extra otel pyproject.toml -o deploy/requirements.txt
	$(LOCK) deploy/requirements-build.in -o deploy/requirements-build.txt

clean:
	rm -rf $(VENV) $(VENV5) $(NEWEST) $(JS)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .coverage*
