# Everything that a developer or CI runs; `make` alone lists it. All output is under .cache/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= /usr/bin/python3
VENV := .cache/venv
TREE := .cache/tree/ansible_collections/mailhosting/stack
PROGRAMS := .cache/programs/mailhosting_directory .cache/programs/mailhosting_dovecot.py
HOSTS := tests/hosts/testhosts
# Names and addresses of the demo's hosts.
DEMO := --inventory=inventories/demo/hosts.yml --inventory=.cache/hosts/demo/inventory.yml

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MOLECULE_COMMAND_BORDERS := false
ifeq ($(MAKE_TERMOUT),)
export NO_COLOR := 1
endif

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

##@ Try it

.PHONY: demo
demo: ## Build a Debian 13 host, set it up for two tenants, and talk to it
	@tests/hosts/demo start

.PHONY: demo-down
demo-down: ## Remove the demo's host, images and files
	@tests/hosts/demo stop

# The phases of the demo. A second run is quick and changes nothing.
.PHONY: demo-image demo-host demo-site demo-verify
demo-image:
	@$(HOSTS) image best
demo-host:
	@$(HOSTS) up --run demo --image best $$(ansible all --inventory=inventories/demo/hosts.yml --list-hosts | tail -n +2)
demo-site:
	@ansible-playbook $(DEMO) mailhosting.stack.site
demo-verify:
	@ansible-playbook $(DEMO) mailhosting.stack.verify

##@ Check it: the same commands here and in CI

.PHONY: test
test: ## Everything below up to upgrade; 34 minutes from nothing on two cores. PHASES="lint units" for some
	@command -v $(PYTHON) >/dev/null || tests/hosts/install tests
	@$(PYTHON) -m tests.phases $(PHASES)

.PHONY: budget
budget: ## Write the seconds of the last `make test` as each phase's budget
	@$(PYTHON) -m tests.phases --record

.PHONY: check
check: venv test-packages ## Style and types, and the unit tests that name files changed since origin/main: two minutes
	@$(VENV)/bin/python tests/check.py

.PHONY: e2e
e2e: venv packages ## T=tests/e2e/test_tls.py [S=omakase] on the scenario's host, which it makes if there is none, and keeps
	@$(HOSTS) status | grep "^molecule-$(SCENARIO) .* running" >/dev/null || { $(ANEW) && molecule converge --scenario-name $(SCENARIO); }
	ANSIBLE_CALLBACK_PLUGINS=$(CURDIR)/tests/callback MAIL_TEST_INVENTORY=$(CURDIR)/$(PLACES):$(CURDIR)/.cache/hosts/molecule-$(SCENARIO)/inventory.yml \
	  pytest --override-ini=cache_dir=.cache/pytest $(or $(T),$(error say which tests: T=tests/e2e/test_tls.py)) $(P)

.PHONY: lint
lint: venv ## Style and types of Python, YAML, playbooks, roles, changelog
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	ansible-lint --nocolor
	antsibull-changelog lint

.PHONY: sanity
sanity: venv ## ansible-test sanity: documentation, imports, interfaces of plugins
	$(VENV)/bin/python tests/sanity.py

.PHONY: units
units: venv test-packages ## Unit tests; P="-k reconcile" passes options to pytest
	pytest --override-ini=cache_dir=.cache/pytest $(if $(P),,--numprocesses=$$(nproc)) tests/unit $(P)

.PHONY: package
package: venv packages ## Build the collection, install it elsewhere, and set up a bare host from there
	tests/package

.PHONY: bare
bare: packages ## The image of a new Debian, from which the others are made
	@$(HOSTS) image bare

.PHONY: image
image: venv packages ## The image that scenarios start from: a host that site.yml has set up without tenants
	@$(HOSTS) image converged

SCENARIO = $(or $(S),default)
# Names and addresses of the scenario's hosts.
PLACES = $(or $(wildcard molecule/$(SCENARIO)/inventory/hosts.yml inventories/$(SCENARIO)/hosts.yml),inventories/demo/hosts.yml)
# The scenarios with timing tests. `make test` keeps their hosts until no other phase runs.
TIMED := default logins omakase webarena
KEEP = $(and $(filter later,$(MAIL_TEST_TIMING)),$(filter $(SCENARIO),$(TIMED)),never)
# Molecule stores its state outside this folder, and keeps hosts there that no longer exist.
ANEW = $(HOSTS) down --run molecule-$(SCENARIO) && molecule reset --scenario-name $(SCENARIO)

.PHONY: molecule
molecule: venv packages ## A Molecule scenario, S=default, from creation to destruction; D=never keeps its hosts
	$(ANEW)
	molecule test --scenario-name $(SCENARIO) --destroy $(or $(D),$(KEEP),always)

.PHONY: default
default: ## The demo's inventory: make molecule
	@$(MAKE) molecule

.PHONY: logins
logins: ## The demo's inventory on a second host: logins that work, and logins that are refused
	@$(MAKE) molecule S=logins

.PHONY: alone
alone: venv packages ## Each role alone on a bare host of its own; H="alone-tls alone-gate" for some
	tests/alone/run $(H)

.PHONY: omakase
omakase: ## The Omakase service: its inventory on a host, as its customers see it
	@$(MAKE) molecule S=omakase

.PHONY: variomail
variomail: ## The VarioMail service
	@$(MAKE) molecule S=variomail

.PHONY: webarena
webarena: ## The WebARENA Suite service
	@$(MAKE) molecule S=webarena

.PHONY: acme
acme: ## Certificates from a real ACME server
	@$(MAKE) molecule S=acme

.PHONY: upgrade
upgrade: ## A host of the last release, upgraded to this tree while mail flows
	@$(MAKE) molecule S=upgrade

.PHONY: timing timing-units $(TIMED:%=timing-%)
timing: venv test-packages ## Timing tests, on the hosts that `make test` kept; removes them afterwards
	@$(MAKE) --keep-going timing-units $(TIMED:%=timing-%)
# The files with timing tests: to read the others takes pytest ten seconds.
TIMING_IN = $$(grep --files-with-matches --recursive --exclude-dir=__pycache__ mark[.]timing $(1))
timing-units:
	MAIL_TEST_TIMING=now pytest --override-ini=cache_dir=.cache/pytest $(call TIMING_IN,tests/unit)
$(TIMED:%=timing-%): timing-%:
	trap '$(HOSTS) down --run molecule-$*' EXIT; \
	  MAIL_TEST_TIMING=now $(MAKE) e2e S=$* T="$$(echo $(call TIMING_IN,$(or $(wildcard tests/e2e/$*),tests/e2e/*.py)))"

.PHONY: count
count: venv ## Whether each test ran once in the last `make test`
	@$(VENV)/bin/python -m tests.phases.count

##@ Know it

.PHONY: requirements
requirements: venv ## Which test proves which requirement, and which have no test
	@$(VENV)/bin/python tests/requirements.py

.PHONY: bench
bench: venv test-packages ## All benchmarks, one table; B="site" for some
	@$(VENV)/bin/python tests/bench/run.py $(B)

##@ Build it

.PHONY: build
build: venv ## Build the tarball for ansible-galaxy
	ansible-galaxy collection build --force

.PHONY: venv
venv: $(VENV)/complete $(TREE) $(PROGRAMS) ## Ansible and all tools in .cache/venv, and the collection where they look for it

.PHONY: packages
packages: ## The Debian packages the demo needs on this machine, installed if missing
	@tests/hosts/install

.PHONY: test-packages
test-packages: ## The Debian packages the tests need on this machine, installed if missing
	@tests/hosts/install tests

.PHONY: clean
clean: ## Remove .cache/ and everything made by other targets on this machine, except Debian packages
	@$(HOSTS) down --all
	@$(HOSTS) image --remove
	rm -rf .cache mailhosting-stack-*.tar.gz

$(VENV)/complete: requirements-dev.txt | packages
	@echo "Installing Python packages in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@# Python compiles what is used; that is a small part.
	@$(VENV)/bin/pip install --quiet --quiet --no-compile --requirement requirements-dev.txt
	@touch $@

# ansible-core finds a collection only by its path, so that path links back here.
$(TREE):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

# Code that roles install on hosts under another name; the checks of programs use it.
.cache/programs/mailhosting_directory: SOURCE := plugins/module_utils/_directory
.cache/programs/mailhosting_dovecot.py: SOURCE := plugins/module_utils/_dovecot.py
$(PROGRAMS):
	@mkdir -p $(@D)
	@ln -sfn ../../$(SOURCE) $@
