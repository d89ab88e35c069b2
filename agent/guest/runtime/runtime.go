// Package runtime holds what executes a function inside the guest and is not a
// program of its own: the scripts that run Python and Node.js functions.
package runtime

import (
	_ "embed"

	"thaw"
)

//go:embed python/bootstrap.py
var python string

//go:embed node/bootstrap.js
var node string

// Files returns the files of each runtime that has some, by their names in
// /var/runtime of the root disk. The caller owns them.
func Files() map[thaw.Runtime]map[string][]byte {
	return map[thaw.Runtime]map[string][]byte{
		thaw.RuntimePython: {"bootstrap.py": []byte(python)},
		thaw.RuntimeNode:   {"bootstrap.js": []byte(node), "reseed.so": reseed()},
	}
}
