# The commands of the project; `make help` lists them.
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

# Compiled modules: Node.js starts in half the time.
export NODE_COMPILE_CACHE ?= $(CURDIR)/node_modules/.cache/node

CLI = node tools/cli.ts
# What is set on make's command line is passed on; what is not, is not.
STACK_FLAGS = --stack $(STACK) $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) \
	$(if $(ISTIO),--istio $(ISTIO)) \
	$(if $(JSON),--json)
CONFIRM_FLAGS = $(if $(CONFIRM),--confirm "$$CONFIRM")
POD_FLAGS = $(STACK_FLAGS) $(if $(POD),--pod $(POD))

.PHONY: help up preview render lint env envs explain down drift repair golden ci-preview review-stack actionlint verify dump logs qos \
	shell cluster-up cluster-down cluster-status cluster-clean test interop e2e soak bench bench-apps bench-apps-long declarations \
	reference rules istio-types schemas generate format

help: ## show this list
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1 \2/p' $(MAKEFILE_LIST) | awk '{ name = $$1; $$1 = ""; printf "%-16s%s\n", name, $$0 }'

$(DEPENDENCIES): package.json package-lock.json $(NODE)
	npm ci --no-audit --no-fund
	@touch $@

up: $(DEPENDENCIES) ## bring a stack up and wait for the consumer's first reply [STACK=dev CONTEXT= REGISTRY= ISTIO=install JSON=1; CONFIRM=stack for a change that callers would notice]
	@$(CLI) up $(STACK_FLAGS) $(CONFIRM_FLAGS)

preview: $(DEPENDENCIES) ## show what up would change [as up]
	@$(CLI) preview $(STACK_FLAGS)

render: $(DEPENDENCIES) ## write a stack's objects as YAML, without docker or cluster [STACK=dev OUT=rendered]
	@$(CLI) render $(STACK_FLAGS) --out $(OUT)

lint: $(DEPENDENCIES) ## judge manifests by the rules of policy/, anybody's or a stack's own [FILES="a.yaml folder -" STACK=dev JSON=1]
	@$(CLI) lint $(STACK_FLAGS) $(FILES)

env: $(DEPENDENCIES) ## print the environment for plain pulumi: eval "$(make -s env)" [JSON=1]
	@$(CLI) env $(if $(JSON),--json)

envs: $(DEPENDENCIES) ## show in what the stacks differ [JSON=1]
	@$(CLI) envs $(if $(JSON),--json)

down: $(DEPENDENCIES) ## remove a stack, and tell what stays [as up; CONFIRM=stack if production, IMAGES=1 for its images in docker]
	@$(CLI) down $(STACK_FLAGS) $(CONFIRM_FLAGS) $(if $(IMAGES),--images)

drift: $(DEPENDENCIES) ## tell how the cluster differs from what up left there; the exit code is then not 0 [as up]
	@$(CLI) drift $(STACK_FLAGS)

repair: $(DEPENDENCIES) ## after an interrupted command: release its lock, update the state from the cluster [as up]
	@$(CLI) repair $(STACK_FLAGS)

golden: $(DEPENDENCIES) ## write the committed stacks' objects to test/golden/ [JSON=1]
	@$(CLI) golden $(if $(JSON),--json)

ci-preview: $(DEPENDENCIES) ## what this checkout changes, as a pull request's comment [BASE=origin/main PREVIEW="staging prod" JSON=1]
	@$(CLI) ci-preview $(if $(BASE),--base "$$BASE") $(if $(PREVIEW),--preview "$$PREVIEW") $(if $(JSON),--json)

review-stack: $(DEPENDENCIES) ## write the file of a pull request's stack, pr-NUMBER [PR= CONTEXT= REGISTRY=]
	@$(CLI) review-stack '$(PR)' $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) \
	$(if $(ISTIO),--istio $(ISTIO)) \
		$(if $(JSON),--json)

actionlint: ## check the workflows of .github/ with actionlint (Go)
	@go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)

verify: $(DEPENDENCIES) ## check on the live mesh that Envoy does what the stack says [STACK=dev CONTEXT= JSON=1]
	@$(CLI) verify $(STACK_FLAGS)

explain: $(DEPENDENCIES) ## show where a setting comes from and which fields change with it [STACK=dev KEY= JSON=1]
	@$(CLI) explain $(STACK_FLAGS) --key '$(KEY)'

dump: $(DEPENDENCIES) ## print the configuration of a pod's Envoy [STACK=dev POD=]
	@$(CLI) dump $(POD_FLAGS)

logs: $(DEPENDENCIES) ## print the logs of a pod, or of all of the stack's [STACK=dev POD= PROXY=1]
	@$(CLI) logs $(POD_FLAGS) $(if $(PROXY),--proxy)

qos: $(DEPENDENCIES) ## call ls, ready, online, offline or metrics of a pod's QOS server [STACK=dev POD= COMMAND=]
	@$(CLI) qos $(POD_FLAGS) --command '$(COMMAND)'

shell: $(DEPENDENCIES) ## open a shell in a pod's istio-proxy [STACK=dev POD=]
	@$(CLI) shell $(POD_FLAGS)

cluster-up: $(DEPENDENCIES) ## start the local cluster, which make up does by itself [NODES=1]
	@$(CLI) cluster up $(if $(NODES),--nodes $(NODES))

cluster-down: $(DEPENDENCIES) ## stop the local cluster and remove what it made; what was built is kept
	@$(CLI) cluster down

cluster-status: $(DEPENDENCIES) ## show the local cluster's components [JSON=1]
	@$(CLI) cluster status $(if $(JSON),--json)

cluster-clean: $(DEPENDENCIES) ## remove the local cluster and all that was built for it [JSON=1]
	@$(CLI) cluster clean $(if $(JSON),--json)

test: $(DEPENDENCIES) ## types, lint, format and unit tests; no cluster, no root, no Go
	@npm test

interop: $(DEPENDENCIES) ## calls between the applications and Dubbo 3.3 for Java, both ways (JDK 17, Maven)
	@npm run --silent interop

soak: $(DEPENDENCIES) ## as e2e, with all twelve ways between environments, 10,000 configurations and two nodes: before a release
	@SOAK=1 npm run --silent e2e

e2e: $(DEPENDENCIES) ## the whole on the local cluster: up, verify, faults, drills, environments, 200 services, down (as up, and JDK 17, Maven)
	@npm run --silent e2e

bench: $(DEPENDENCIES) ## time up, preview and down of dev beside a bare kubectl apply, and previews of 50, 200 and 500 services (cluster up, dev down) [JSON=1]
	@node bench/up.ts $(if $(JSON),--json); first=$$?; node bench/preview.ts $(if $(JSON),--json); exit $$((first | $$?))

bench-apps: $(DEPENDENCIES) ## our provider beside Java's, under abuse, and at its end (JDK 17, Maven) [PARTS= JSON=1 BENCH_NODE=]
	@node packages/dubbo-node/bench/main.ts $(PARTS) $(if $(JSON),--json)

bench-apps-long: $(DEPENDENCIES) ## half an hour of abuse, with a look at the heap after each round [MINUTES=30 JSON=1 BENCH_NODE=]
	@node packages/dubbo-node/bench/main.ts robustness --minutes $(or $(MINUTES),30) $(if $(JSON),--json)

declarations: $(DEPENDENCIES) ## make Pulumi.yaml from settings/
	@npm run --silent declarations

reference: $(DEPENDENCIES) ## make the tables of docs/ from the settings and their functions
	@npm run --silent reference

rules: $(DEPENDENCIES) ## make the table of policy/README.md from the rules
	@npm run --silent rules

istio-types: $(DEPENDENCIES) ## make components/generated/istio.ts from test/schemas/istio.json
	@npm run --silent istio-types

schemas: $(DEPENDENCIES) ## make test/schemas/*.json from the pinned Kubernetes and Istio, and the types of Istio (Go 1.26)
	@npm run --silent schemas

generate: $(DEPENDENCIES) ## generate TypeScript from the protos of apps/ and packages/dubbo-node, offline
	@npm run --silent generate

format: $(DEPENDENCIES) ## format the sources
	@npx prettier --write --log-level warn .
