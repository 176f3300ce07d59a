//go:build tools

// Package tools pins svcat, which tests/preflight builds.
package tools

import _ "github.com/kubernetes-sigs/service-catalog/cmd/svcat"
