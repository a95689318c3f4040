# Set-up happens once and again only when pyproject.toml or constraints.txt change; everything works offline after it.
# On Windows the commands below need a POSIX shell, such as that of Git for Windows; README has two commands without make.
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
VENV := .venv
BIN := $(VENV)/$(SCRIPTS)
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)

VENV5 := .venv-transformers5
BIN5 := $(VENV5)/$(SCRIPTS)
JS := demo/embed/javascript

# Test processes side by side. Tests of one file stay together, because they share the runs that its fixtures make.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run test test-fast coverage test-transformers5 javascript lint clean

run: $(VENV)/.installed
	$(BIN)/sentopt run quickstart

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

# transformers 5 has no released Optimum exporter beside it: the same runs, with PyTorch's exporter and onnxruntime's quantizer.
# OpenVINO is here and not in the main environment, so that a bundle made there never needs it.
test-transformers5: $(VENV5)/.installed
	$(BIN5)/python -m pytest tests/integration/test_pipeline.py tests/integration/test_many_texts.py \
		tests/integration/test_runtime.py tests/integration/test_applications.py \
		tests/unit/test_lean_graph.py $(PARALLEL) --durations=15 $(PYTEST_ARGS)

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
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

$(VENV5)/.installed: pyproject.toml
	test -x $(BIN5)/python || $(PYTHON) -m venv $(VENV5)
	$(BIN5)/python -m pip install --quiet torch==2.13.0 "transformers>=5" -e ".[train,bench]" \
		onnx onnxruntime==1.31.1 openvino==2026.4.1 pytest pytest-xdist
	touch $@

clean:
	rm -rf $(VENV) $(VENV5) $(JS)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .coverage*
