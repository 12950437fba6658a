# `make demo` shows the whole job on a made-up marketplace; `make test` is what a change must pass.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
# Drawn with the products; the encoder of pictures installs with the rest, and nothing is downloaded.
PICTURES := --images $(DEMO)/market/images

# Whatever is imported is compiled once, and kept: there are hundreds of processes, each of which would take seconds more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-server test-slow coverage docs lock lint bench fuzz clean

$(READY): pyproject.toml constraints.txt
	@echo "Installing all that Rubrika can use into $(VENV): some 7 GB, a few minutes"
	python3 -m venv $(VENV)
# What is imported is compiled then; of all there is, that would take another minute.
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -e '.[dev,benchmarks,train,pretrained,clip,onnx,use,efficientnet,report,excel,serve]' -c constraints.txt
# The repository root is the package; a type checker finds it through a link by its name.
	mkdir -p $(VENV)/typing && ln -sfn $(CURDIR) $(VENV)/typing/rubrika
	touch $@

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/rubrika sample $(DEMO)/market
	$(BIN)/rubrika ingest $(DEMO)/market/train.parquet $(PICTURES)/train --image-encoder efficientnet-lite0 --index $(DEMO)/index
	$(BIN)/rubrika classify $(DEMO)/market/test.parquet $(PICTURES)/test --index $(DEMO)/index -o $(DEMO)/result.parquet --details $(DEMO)/details.parquet --max-error 0.05
	$(BIN)/rubrika explain --title "кроссовки женские беговые" --index $(DEMO)/index
	$(BIN)/rubrika evaluate $(DEMO)/market/train.parquet $(PICTURES)/train --image-encoder efficientnet-lite0 --group-by group_key --holdout 0.25 --max-error 0.05
	@echo
	@echo "What it is unsure of waits for you:"
	@echo "  $(BIN)/rubrika review $(DEMO)/details.parquet --products $(DEMO)/market/test.parquet $(PICTURES)/test $(PICTURES)/train --index $(DEMO)/index --open"

test: lint
# Tests of a file share what it made, so one worker has them all; by name, as the longest file would be the last.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The whole chain on a real server, any one: QDRANT_URL=… QDRANT_API_KEY=… make test-server. Its collections are
# deleted in the end; with QDRANT_JWT_KEY a token for one collection is tried too, with QDRANT_URLS=…,… every node.
test-server: $(READY)
	test -n "$$QDRANT_URL" || (echo "QDRANT_URL is not set" && false)
	$(BIN)/python -m pytest -m server tests/store tests/ingest/test_chain.py

# What takes minutes: Ray's processes, kills at random moments, every notebook, the drawn demo, and models in ONNX.
test-slow: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[ray]' -c constraints.txt
	RUBRIKA_SLOW=1 $(BIN)/python -m pytest tests/ingest/test_ray.py tests/ingest/test_killing.py tests/project/test_notebooks.py tests/project/test_demo.py tests/encode

# What the tests run of each room.
coverage: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

# Some 15,600 broken files, rows, pictures and options; a sample of them is in `make test`.
fuzz: $(READY)
	RUBRIKA_FUZZ=10000 $(BIN)/python -m pytest -n 2 tests/products/test_fuzz.py

# The documentation site, into site/: strictly, every link and every docstring.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c constraints.txt
# Docstrings are read from a copy of the rooms alone: the root has $(VENV) in it, whose files would be looked at one by one.
	rm -rf $(VENV)/rooms && mkdir -p $(VENV)/rooms/rubrika && cp -r *.py $(patsubst %/__init__.py,%,$(wildcard */__init__.py)) $(VENV)/rooms/rubrika
	$(BIN)/mkdocs build --strict

# The tested versions with the hashes of their files: pip install --require-hashes -r requirements.lock
lock: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	$(BIN)/uv pip compile pyproject.toml --extra train --extra serve --extra excel -c constraints.txt --generate-hashes --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" --quiet -o requirements.lock

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/typing $(BIN)/mypy -p rubrika

# `make bench FILE=train.parquet GROUP=group_key`; without a file on the made-up marketplace, which proves nothing.
bench: $(READY)
	test -n "$(FILE)" || $(BIN)/rubrika sample $(DEMO)/market
	$(BIN)/python benchmarks/compare.py $(or $(FILE),$(DEMO)/market/train.parquet) --group-by $(or $(GROUP),group_key) $(if $(MODEL),--model $(MODEL)) $(if $(FILE),--page docs/benchmarks.md)

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
