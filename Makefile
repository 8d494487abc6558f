# What is run, for whom it is, and its arguments: `make help`.
STACK ?= dev
OUT ?= rendered

CLI = node --import tsx tools/cli.ts
STACK_FLAGS = --stack $(STACK) $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) \
  $(if $(ENGINE),--engine $(ENGINE)) $(if $(JSON),--json)

.DEFAULT_GOAL := help
.PHONY: help up preview render down verify dump logs shell cluster-up cluster-down cluster-status cluster-logs \
  test e2e declarations schemas proto format

help: ## show this
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

up: node_modules/.package-lock.json ## bring a stack up and wait for the first reply [STACK= CONTEXT= REGISTRY= ENGINE= JSON=1]
	@$(CLI) up $(STACK_FLAGS)
preview: node_modules/.package-lock.json ## show what up would change [as up]
	@$(CLI) preview $(STACK_FLAGS)
render: node_modules/.package-lock.json ## write the stack's objects as YAML, without docker or cluster [STACK= OUT=rendered]
	@$(CLI) render $(STACK_FLAGS) --out $(OUT)
down: node_modules/.package-lock.json ## remove a stack [as up]
	@$(CLI) down $(STACK_FLAGS)
