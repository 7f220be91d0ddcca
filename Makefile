# Lookalike. `make help` lists every target.

PYTHON ?= python3
VENV   ?= .venv
CONFIG ?= config.yaml
PY     := $(VENV)/bin/python

# IMAGES, ANNOTATIONS (A.json,B.json), ITEMS, METADATA, ENCODER, LAYER, WEIGHTS, STORE and PORT, where given, become command-line flags.
COMMA := ,
INDEX_FLAGS = --config "$(CONFIG)" $(if $(IMAGES),--images "$(IMAGES)") \
              $(if $(ANNOTATIONS),--annotations "$(subst $(COMMA)," --annotations ",$(ANNOTATIONS))") \
              $(if $(ITEMS),--items $(ITEMS)) $(if $(METADATA),--metadata "$(METADATA)") \
              $(if $(ENCODER),--encoder $(ENCODER)) $(if $(LAYER),--layer $(LAYER)) \
              $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(STORE),--store "$(STORE)")
BUILD_FLAGS = $(if $(ALLOW_SHRINK),--allow-shrink) $(if $(REREAD),--reread) $(if $(WATCH),--watch)
SERVE_FLAGS = --config "$(CONFIG)" $(if $(STORE),--store "$(STORE)") $(if $(PORT),--port $(PORT)) \
              $(if $(IMAGES),--images "$(IMAGES)")

.DEFAULT_GOAL := help
.PHONY: help setup demo index plan graph eval serve status verify test test-cluster test-pythons lint format lock screenshots bench-extract bench-precision bench-search bench-serve bench-publish bench-graph bench-duplicates bench-why bench-watch bench-coco bench-collection simulate soak audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Make the environment in .venv (the other targets do this first)

demo: $(VENV)/.installed ## Index the demo photographs and serve them on http://127.0.0.1:8000 (PORT=)
	@$(PY) -m lookalike demo --store var/demo $(if $(PORT),--port $(PORT))

index: $(VENV)/.installed ## Index images (IMAGES= ANNOTATIONS= ITEMS= METADATA= ENCODER= LAYER= WEIGHTS= STORE= CONFIG= ALLOW_SHRINK= REREAD= WATCH=)
	@$(PY) -m lookalike index $(INDEX_FLAGS) $(BUILD_FLAGS)

plan: $(VENV)/.installed ## Say how long that will take and what it needs (the same variables)
	@$(PY) -m lookalike plan $(INDEX_FLAGS)

serve: $(VENV)/.installed ## Serve the index (CONFIG= STORE= PORT= IMAGES= where the images are now)
	@$(PY) -m lookalike serve $(SERVE_FLAGS)

status: $(VENV)/.installed ## Show what the index holds (CONFIG= STORE=)
	@$(PY) -m lookalike status --config "$(CONFIG)" $(if $(STORE),--store "$(STORE)")

graph: $(VENV)/.installed ## Find the nearest others of every image (CONFIG= STORE= K= MODE=approximate)
	@$(PY) -m lookalike graph --config "$(CONFIG)" $(if $(STORE),--store "$(STORE)") \
	  $(if $(K),--k $(K)) $(if $(MODE),--mode $(MODE))

eval: $(VENV)/.installed ## How well images of one kind find each other (CONFIG= STORE= BY=field K= REPORT=folder BESIDE=store)
	@$(PY) -m lookalike evaluate --config "$(CONFIG)" $(if $(STORE),--store "$(STORE)") \
	  $(if $(BY),--by "$(BY)") $(if $(K),--k $(K)) $(if $(REPORT),--report "$(REPORT)") \
	  $(if $(BESIDE),--beside "$(BESIDE)")

verify: $(VENV)/.installed ## Check every checksum and count of the index (CONFIG= STORE=)
	@$(PY) -m lookalike verify --config "$(CONFIG)" $(if $(STORE),--store "$(STORE)")

test: $(VENV)/.installed-dev ## Run all tests, or some (TESTS=); browser tests need Chromium, and say so without it
	@echo "Running the tests on all cores; they need no network, no GPU and no downloaded weights."
	@$(if $(TESTS),,echo "All of them take about 15 minutes on two cores.")
	@$(PY) -m pytest -n auto --dist loadfile $(TESTS)

test-cluster: $(VENV)/.installed-cluster ## Run the tests of clusters, with two nodes of Ray on this machine
	@VENV=$(VENV) bash tests/cluster.sh $(TESTS)

test-pythons: ## Run the tests of the library and the API on every other supported Python found here
	@bash tests/pythons.sh

lint: $(VENV)/.installed-dev ## Check style, types and the direction of imports
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

format: $(VENV)/.installed-dev ## Format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

lock: $(VENV)/.installed-dev ## Resolve the lock files again from pyproject.toml
	$(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --constraint requirements.lock --no-emit-index-url --no-header --no-annotate -o requirements-dev.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --extra ray --universal --python-version 3.11 --generate-hashes \
	  --constraint requirements-dev.lock --no-emit-index-url --no-header --no-annotate -o requirements-cluster.lock

screenshots: $(VENV)/.installed-dev ## Take the README's screenshots in headless Chromium
	@$(PY) -m pytest -q tests/browser --screenshots docs -k "without_a_page_load or page_of_its_own or they_open"

bench-precision: $(VENV)/.installed ## Precision at 10 over labelled images through the HTTP API (IMAGES= URL=)
	@$(PY) -m benchmarks.precision $(if $(IMAGES),--images "$(IMAGES)") $(if $(URL),--url $(URL))

bench-extract: $(VENV)/.installed ## Extraction side by side: the original, Keras, Lookalike; its stages (IMAGES= ENCODER=stand-in RATE=)
	@$(PY) -m benchmarks.extract $(if $(IMAGES),--images "$(IMAGES)") \
	  $(if $(filter stand-in,$(ENCODER)),--encoder stand-in $(if $(RATE),--rate $(RATE)) $(if $(COPY),--copy))

bench-search: $(VENV)/.installed ## Search side by side: the original, IndexFlatL2, Lookalike (N= VECTORS= features to expand)
	@$(PY) -m benchmarks.search $(if $(N),--n $(N)) $(if $(VECTORS),--vectors "$(VECTORS)")

bench-serve: $(VENV)/.installed ## The server beside the searcher alone, and behind nginx before crowds (N= VECTORS=)
	@$(PY) -m benchmarks.serve $(if $(N),--n $(N)) $(if $(VECTORS),--vectors "$(VECTORS)")

bench-publish: $(VENV)/.installed ## What a publish costs, and what a hundred more images cost (N=)
	@$(PY) -m benchmarks.publish $(if $(N),--n $(N))

bench-watch: $(VENV)/.installed ## How soon a server finds files that are dropped into a folder that is followed
	@$(PY) -m benchmarks.watch

bench-graph: $(VENV)/.installed ## The neighbour graph beside single searches and FAISS' knn (N= VECTORS=)
	@$(PY) -m benchmarks.graph $(if $(N),--n $(N)) $(if $(VECTORS),--vectors "$(VECTORS)")

bench-duplicates: $(VENV)/.installed-dev ## How many planted copies are found among photographs (N= IMAGES="FOLDER ...")
	@$(PY) -m benchmarks.duplicates $(if $(N),--n $(N)) $(if $(IMAGES),--images $(IMAGES))

bench-why: $(VENV)/.installed ## Whether the parts that explain a similarity make it (STORE= of real photographs, PAIRS=)
	@$(PY) -m benchmarks.why --store "$(STORE)" $(if $(PAIRS),--pairs $(PAIRS))

bench-coco: $(VENV)/.installed ## What loading COCO's annotations costs, beside Python's own parser (N= images)
	@$(PY) -m benchmarks.coco $(if $(N),--n $(N))

bench-collection: $(VENV)/.installed ## A collection of train2017's size: filters beside SQL and a scan, captions added (N= images)
	@$(PY) -m benchmarks.collection $(if $(N),--n $(N))

simulate: $(VENV)/.installed ## A cluster on paper: sizes and latencies of 10 million to 1,000 million images
	@$(PY) -m benchmarks.simulate

soak: $(VENV)/.installed-dev ## Thousands of generated and mutated requests, then load for minutes with flat memory
	@FUZZ_LONG=1 SOAK_SECONDS=300 $(PY) -m pytest -q --timeout 3600 -o faulthandler_timeout=0 \
	  tests/server/api/test_fuzz.py tests/server/test_soak.py

audit: $(VENV)/.installed-dev ## Ask for known vulnerabilities of the locked dependencies (needs network)
	@log=$$(mktemp); $(VENV)/bin/pip-audit --disable-pip --requirement requirements.lock 2>$$log; status=$$?; \
	if grep -q ConnectionError $$log; \
	then echo "SKIPPED: nobody can be asked from here, the dependencies were not audited."; status=0; \
	else cat $$log >&2; fi; rm $$log; exit $$status

clean: ## Remove the environment and the demo's index
	rm -rf $(VENV) .venv-3.* var/demo

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Lookalike needs Python 3.11 to 3.13; $(PYTHON) is another version. Set PYTHON=python3.12, for instance."; exit 1; }
	@echo "Installing the locked dependencies into $(VENV); the first time this downloads about 700 MB."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the development tools into $(VENV)."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-cluster: requirements-cluster.lock $(VENV)/.installed-dev
	@echo "Installing Ray into $(VENV)."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-cluster.lock
	@touch $@
