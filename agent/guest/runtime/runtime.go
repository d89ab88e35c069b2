// Package runtime holds what executes a function inside the guest and is not a
// program of its own: the script that runs Python functions.
package runtime

import (
	_ "embed"
)

//go:embed python/bootstrap.py
var bootstrap string

// Python returns the script that runs a Python function under the Lambda
// Runtime API. It belongs at /var/runtime/bootstrap.py of the root disk. The
// caller owns the slice.
func Python() []byte { return []byte(bootstrap) }
