# Every verb works from a fresh clone and can be interrupted and run again.
.PHONY: setup up down clean shell check test bench bench-scale lock documents bootstrap
.NOTPARALLEL:

# a server without bytecode takes twice as long to start
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

ANY_PYTHON := $(or $(shell command -v python3),$(error missing: Python 3.12 (sudo apt-get install python3)))
RUN := @.venv/bin/python -m stacks.environment --
# tests run in as many processes as tests/side_by_side.py says; in pytest's own alone with 0
TEST_PROCESSES ?= auto
PYTEST := $(RUN) python -m pytest -n $(TEST_PROCESSES)
PULUMI_UP := up --refresh --yes --skip-preview --suppress-outputs

setup: ## gets everything that the clone needs
	@$(ANY_PYTHON) -B -m tools.setup

up: setup ## the local environment, with a trained model in service
	$(RUN) python -m stacks.locks
	$(RUN) pulumi stack select --create local
	$(RUN) pulumi $(PULUMI_UP) -s local
	$(RUN) pulumi -C workloads stack select --create credit-risk.local
	$(RUN) pulumi -C workloads $(PULUMI_UP) -s credit-risk.local
	$(RUN) sh -c 'falaj run credit-risk || [ $$? -eq 2 ]' # 2: missed a gate, the champion serves on
	$(RUN) falaj predict credit-risk
	$(RUN) falaj status

down: ## ends all that `up` started; data stays in .state
	@if [ ! -d .state/pulumi ]; then exit 0; fi; \
	if [ ! -x .venv/bin/python ]; then echo "run make setup first" >&2; exit 1; fi; \
	.venv/bin/python -m stacks.environment -- python -m tools.teardown

clean: down ## removes everything that is not in git
	@$(ANY_PYTHON) -B -m tools.clean

shell: setup ## a shell in which pulumi and falaj use this clone
	@.venv/bin/python -m stacks.environment

check: setup ## lint, types, unit tests that start no servers, and one run of the engine
	$(PYTEST) tests/unit --ignore=tests/unit/serving tests/engine/test_dev.py

test: ## everything, with the whole path and a browser
	@$(ANY_PYTHON) -B -m tools.setup --with-tests
	$(PYTEST)

bench: setup ## measures what the documents promise
	$(RUN) python tests/benchmarks/local.py

bench-scale: ## how previews grow with the teams, and a cluster of many under load [SIZES="--pods 500 …"]
	@$(ANY_PYTHON) -B -m tools.setup --with-scale
	$(RUN) python tests/benchmarks/preview.py
	$(RUN) python tests/benchmarks/scale.py $(SIZES)

lock: setup ## resolves the dependencies anew
	$(RUN) uv pip compile pyproject.toml --group workloads --group test --group build \
		--python .venv/bin/python --universal --generate-hashes --no-emit-index-url \
		--no-header --no-annotate -q -o requirements.lock
	$(RUN) python -m tools.images lock

documents: setup ## writes what of docs/ is made from the program
	$(RUN) python -m tools.documents

bootstrap: setup ## what an environment stands on, from outside: make bootstrap ENV=prod [BUNDLE=file]
	$(RUN) python -m stacks.bootstrap.command "$(ENV)" "$(BUNDLE)"
