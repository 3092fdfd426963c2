# Two commands do all the set-up: `make demo` (the main job) and `make test`. Python 3.11 or newer and make are enough;
# uv is used where it is installed.
unexport PYTHONDONTWRITEBYTECODE # let Python keep what it compiles: every later start is three times faster
PY ?= python3
BIN := .venv/bin

demo: .venv/.ready
	$(BIN)/lmjax demo --out out/demo

test: .venv/.ready
	$(BIN)/python -m pytest -q -n 2

bench: .venv/.ready
	$(BIN)/python benchmarks/training.py --out out/bench

table: .venv/.ready # the lecture's systems on the text of CORPUS, hours: make table CORPUS=DIR
	$(BIN)/lmjax table --corpus $(or $(CORPUS),stdlib) --out out/table

peers: .venv/.ready # torch and other libraries to compare with: several GB
	@if command -v uv >/dev/null 2>&1; then uv pip install -p $(BIN)/python -e '.[bench]'; \
	else $(BIN)/python -m pip install -e '.[bench]'; fi

lint: .venv/.ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

.venv/.ready: pyproject.toml constraints.txt
	@echo "setting up .venv (a few minutes the first time)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing -p $(PY) .venv && uv pip install -q -p $(BIN)/python -c constraints.txt -e '.[test,lint]'; \
	else \
	  $(PY) -m venv .venv && $(BIN)/python -m pip install -q -c constraints.txt -e '.[test,lint]'; \
	fi
	@touch $@

.PHONY: demo test bench table peers lint
