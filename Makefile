# The commands of daily work. `make` alone lists them.
CLUSTER := python3 hack/cluster
UV := hack/uv

.DEFAULT_GOAL := help
.PHONY: help demo cluster kubeconfig images infra install test lint down clean

help:        ## Lists these commands
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: install ## Shows a model being trained and rolled out, from nothing, and a bad one being taken back
	@$(UV) run --frozen python hack/demo

cluster:     ## Starts the local Kubernetes cluster: kind where Docker is, else a node of its own
	@$(CLUSTER) up

kubeconfig:  ## Prints the path of the cluster's kubeconfig
	@$(CLUSTER) kubeconfig

images: cluster ## Builds the images that changed and brings them into the cluster
	@$(CLUSTER) images >/dev/null

infra: images ## Starts S3 and Prometheus in the cluster
	@$(CLUSTER) infra

install: infra ## Installs the operator with its Helm chart
	@$(CLUSTER) install

test:        ## Runs everything: lint, unit, cluster and e2e tests
	@python3 hack/test

lint:        ## Runs the checks that need no cluster: ruff, mypy, import contracts, CRD copies
	@python3 hack/test lint

down:        ## Stops the cluster; programs and images stay, the next start takes seconds
	@$(CLUSTER) down

clean:       ## Stops the cluster and removes all that was built for it
	@$(CLUSTER) clean
