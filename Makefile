.DEFAULT_GOAL := help
.PHONY: help demo demo-branches demo-sqs demo-aws-operator demo-alibaba demo-policy check test soak bench generate image deny

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## From nothing to a pod with database credentials and back, on a real Kubernetes. KEEP=1 leaves it up.
	@KEEP="$(KEEP)" demo/run

demo-branches: ## Three feature branches with a database each through their life, on a real Kubernetes.
	@KEEP="$(KEEP)" env --unset=KUBECONFIG --unset=BINDERY_DEMO_DATABASE_URL demo/run branches

demo-sqs: ## A queue of Amazon SQS for a pod, on a real Kubernetes and an emulator of AWS. KEEP=1 leaves it up.
	@KEEP="$(KEEP)" env --unset=KUBECONFIG demo/run sqs

demo-aws-operator: ## A table of Amazon DynamoDB as an object, on a real Kubernetes and an emulator of AWS. KEEP=1 leaves it up.
	@KEEP="$(KEEP)" env --unset=KUBECONFIG demo/run aws_operator

demo-alibaba: ## A database of Alibaba Cloud RDS for a pod, on a real Kubernetes and a stand-in for the cloud. KEEP=1 leaves it up.
	@KEEP="$(KEEP)" env --unset=KUBECONFIG demo/run alibaba

demo-policy: ## Policies about credentials: audited, enforced, excepted, and held without bindery. KEEP=1 leaves it up.
	@KEEP="$(KEEP)" env --unset=KUBECONFIG demo/run policy

check: ## Format, lints and the pure tests: no root, no service, under three minutes with a warm build.
	@tests/run quick

test: ## Every check and test; the last line counts them. SUITE="lib e2e" runs some suites (tests/run lists them).
	@tests/run $(SUITE)

soak: ## Broker and webhook at full size, killed, rolled and fuzzed, for an hour; SOAK_MINUTES=6 for a trial, JOBS="namespaces" for some.
	@tests/soak $(JOBS)

bench: ## What an injection costs, beside a webhook that allows all; bindings each second, beside the SQL alone; what policies cost.
	@tests/preflight rust postgresql mariadb cluster
	cargo bench --bench webhook
	cargo bench --bench bind
	tests/cluster/with-cluster cargo test --profile bench --quiet --test policies -- --ignored --nocapture the_cost

generate: ## Write the CRDs and the default values into the chart.
	cargo run --quiet -- crds > target/crds.yaml
	mv target/crds.yaml charts/bindery/crds/crds.yaml
	cargo run --quiet -- native-injection > target/native-injection.yaml
	mv target/native-injection.yaml charts/bindery/native-injection.yaml
	cargo run --quiet -- policy-webhook > target/policy-webhook.yaml
	mv target/policy-webhook.yaml charts/bindery/policy-webhook.yaml
	cp charts/bindery/values.yaml charts/bindery/defaults.yaml

image: ## Build bindery and pack it as target/images/bindery.tar, an image archive.
	cargo build --release
	tests/images target/release/bindery target/images $$(sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/bindery/Chart.yaml)

deny: ## Check licences and sources of all dependencies.
	cargo deny check bans licenses sources
