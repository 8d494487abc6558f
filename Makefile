# Commands of the project; `make help` lists them.
.DEFAULT_GOAL := help

STACK ?= dev
OUT ?= rendered

# https://github.com/rhysd/actionlint/releases
ACTIONLINT = v1.7.12

DEPENDENCIES = node_modules/.package-lock.json

# A Node.js older than 22.18 cannot run TypeScript: use the one that tools/node pins.
ifneq ($(shell node -p process.features.typescript 2>/dev/null),strip)
NODE = tools/node/node_modules/.bin/node
export PATH := $(CURDIR)/$(dir $(NODE)):$(PATH)

$(NODE): tools/node/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm is missing"; echo "  fix: install Node.js 22.18 or newer (https://nodejs.org), then run the command again"; exit 1; } >&2
	npm ci --prefix tools/node --no-audit --no-fund
	@touch $@
endif

# Cache compiled modules: Node.js then starts in half the time.
export NODE_COMPILE_CACHE ?= $(CURDIR)/node_modules/.cache/node

CLI = node tools/cli.ts
# Pass on the variables from make's command line.
TARGET_FLAGS = $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))
STACK_FLAGS = --stack $(STACK) $(TARGET_FLAGS) $(if $(ISTIO),--istio $(ISTIO)) $(if $(JSON),--json)
# The environment may have a VERSION of something else.
PROMOTE_FLAGS = $(if $(and $(SERVICE),$(filter command,$(origin SERVICE))),--service "$$SERVICE") \
	$(if $(and $(VERSION),$(filter command,$(origin VERSION))),--version "$$VERSION") \
	$(if $(filter 1,$(CONTINUE)),--continue) $(if $(filter 1,$(BACK)),--back) $(if $(filter 0,$(WRITE)),--no-write)
CONFIRM_FLAGS = $(if $(CONFIRM),--confirm "$$CONFIRM")

.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

$(DEPENDENCIES): package.json package-lock.json $(NODE)
	npm ci --no-audit --no-fund
	@touch $@

##@ every day [STACK=dev CONTEXT= REGISTRY= ISTIO=install JSON=1]

up: $(DEPENDENCIES) ## deploy a stack and wait for the first reply [CONFIRM=STACK]
	@$(CLI) up $(STACK_FLAGS) $(CONFIRM_FLAGS)

preview: $(DEPENDENCIES) ## show what up would change
	@$(CLI) preview $(STACK_FLAGS)

down: $(DEPENDENCIES) ## remove a stack, and list what stays [CONFIRM=STACK IMAGES=1]
	@$(CLI) down $(STACK_FLAGS) $(CONFIRM_FLAGS) $(if $(IMAGES),--images)

verify: $(DEPENDENCIES) ## check that the live Envoys do what the stack says
	@$(CLI) verify $(STACK_FLAGS)

promote: $(DEPENDENCIES) ## move calls to a version [SERVICE= VERSION= CONTINUE=1 BACK=1]
	@$(CLI) promote $(STACK_FLAGS) $(PROMOTE_FLAGS)

explain: $(DEPENDENCIES) ## show where a setting comes from and what it changes [KEY=]
	@$(CLI) explain $(STACK_FLAGS) --key '$(KEY)'

graph: $(DEPENDENCIES) ## print the mesh as a picture, in Mermaid
	@$(CLI) graph $(STACK_FLAGS)

render: $(DEPENDENCIES) ## write the objects as YAML, without a cluster [OUT=rendered]
	@$(CLI) render $(STACK_FLAGS) --out $(OUT)

lint: $(DEPENDENCIES) ## check the objects or manifests by rules [FILES="a.yaml dir -"]
	@$(CLI) lint $(STACK_FLAGS) $(FILES)

drift: $(DEPENDENCIES) ## show how the cluster differs from what up left there
	@$(CLI) drift $(STACK_FLAGS)

repair: $(DEPENDENCIES) ## release the lock of an interrupted command, mend the state
	@$(CLI) repair $(STACK_FLAGS)

qos: $(DEPENDENCIES) ## call a pod's QOS server [COMMAND=ls POD=]
	@$(CLI) qos $(STACK_FLAGS) $(if $(POD),--pod $(POD)) --command '$(COMMAND)'

env: $(DEPENDENCIES) ## print the environment for plain pulumi
	@$(CLI) env $(if $(JSON),--json)

##@ in pipelines

ci-preview: $(DEPENDENCIES) ## show what a branch changes [BASE=origin/main PREVIEW=staging]
	@$(CLI) ci-preview $(if $(BASE),--base "$$BASE") $(if $(PREVIEW),--preview "$$PREVIEW") $(if $(JSON),--json)

review-stack: $(DEPENDENCIES) ## write a pull request's stack file [PR=7 CONTEXT= REGISTRY=]
	@$(CLI) review-stack '$(PR)' $(TARGET_FLAGS)

golden: $(DEPENDENCIES) ## write the committed stacks' objects to test/golden/
	@$(CLI) golden

##@ local cluster

cluster-up: $(DEPENDENCIES) ## start it; make up does it too [NODES=2]
	@$(CLI) cluster up $(if $(NODES),--nodes $(NODES))

cluster-status: $(DEPENDENCIES) ## show its components [JSON=1]
	@$(CLI) cluster status $(if $(JSON),--json)

cluster-down: $(DEPENDENCIES) ## remove it, but keep what was built
	@$(CLI) cluster down

cluster-clean: $(DEPENDENCIES) ## remove it and all that was built for it
	@$(CLI) cluster clean

##@ this project's developers

test: $(DEPENDENCIES) ## check types, lint and format, and run the unit tests
	@npm test

interop: $(DEPENDENCIES) ## test calls from and to other SDKs (JDK 17, Maven, Go, Python)
	@npm run --silent interop

e2e: $(DEPENDENCIES) ## test all on the local cluster, 50 min (root, JDK 17, Maven)
	@npm run --silent e2e

soak: $(DEPENDENCIES) ## as e2e, with more of everything: before a release
	@SOAK=1 npm run --silent e2e
	@node packages/dubbo-node/bench/main.ts robustness --minutes 30

actionlint: ## check the workflows of .github/ (Go)
	@go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)

bench: $(DEPENDENCIES) ## time up, preview and down; needs the local cluster [JSON=1]
	@node bench/up.ts $(if $(JSON),--json); first=$$?; node bench/preview.ts $(if $(JSON),--json); exit $$((first | $$?))

bench-apps: $(DEPENDENCIES) ## measure the provider beside Java's [PARTS= MINUTES= JSON=1]
	@node packages/dubbo-node/bench/main.ts $(PARTS) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(JSON),--json)

schemas: $(DEPENDENCIES) ## write test/schemas/ from Kubernetes and Istio (Go)
	@npm run --silent schemas

generate: $(DEPENDENCIES) ## write every file that is made from another one
	@npm run --silent generate

format: $(DEPENDENCIES) ## format the sources
	@npx prettier --write --log-level warn .

help: ## show this list
	@awk -F ':.* ## ' '/^##@/ { print (n++ ? "\n" : "") substr($$0, 5) } \
		/^[a-z0-9-]+:.* ## / { printf "  %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
