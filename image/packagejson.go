package image

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"

	"thaw"
)

const (
	packageName = "package.json"
	lockName    = "package-lock.json"
)

// packageJSON is what matters of package.json ("package.json" in npm's documentation).
type packageJSON struct {
	Dependencies         map[string]string `json:"dependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	Workspaces           json.RawMessage   `json:"workspaces"`
}

// packageLock is what matters of package-lock.json, version 2 and 3.
type packageLock struct {
	Version  int `json:"lockfileVersion"`
	Packages map[string]struct {
		Resolved  string `json:"resolved"`
		Integrity string `json:"integrity"`
		Link      bool   `json:"link"`
		InBundle  bool   `json:"inBundle"`
	} `json:"packages"`
}

// readPackageJSON returns package.json and its lock, nil when they ask for nothing, or
// when somebody has installed without a lock already. As with requirements, packages
// come from the daemon's registry.
func readPackageJSON(code fs.FS) (map[string][]byte, error) {
	text, err := readList(code, packageName)
	if err != nil || text == nil {
		return nil, err
	}
	asks, err := checkPackage(text)
	if err != nil || !asks {
		return nil, err
	}
	lock, err := readList(code, lockName)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		if info, err := fs.Stat(code, nodeModules); err == nil && info.IsDir() {
			return nil, nil
		}
		return map[string][]byte{packageName: text}, nil
	}
	return map[string][]byte{packageName: text, lockName: lock}, checkLock(lock)
}

// checkPackage reports whether there is something to install.
func checkPackage(text []byte) (asks bool, err error) {
	var p packageJSON
	if err := json.Unmarshal(text, &p); err != nil {
		return false, thaw.Errorf(thaw.CodeInvalid, "%s cannot be read: %w", packageName, err)
	}
	wanted := maps.Clone(p.Dependencies)
	if wanted == nil {
		wanted = map[string]string{}
	}
	maps.Copy(wanted, p.OptionalDependencies)
	if len(wanted) == 0 {
		return false, nil
	}
	if len(p.Workspaces) > 0 {
		return false, thaw.Errorf(thaw.CodeInvalid, "%s has workspaces, which are not installed: bundle the function, or deploy it with its node_modules and without %s", packageName, lockName)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !ofRegistry(wanted[name]) {
			return false, thaw.Errorf(thaw.CodeInvalid, "%s: %s is %.100q, which is no version: name one of the registry, or deploy with node_modules and without %s", packageName, name, wanted[name], lockName)
		}
	}
	return true, nil
}

// ofRegistry tells versions, ranges and tags from URLs, repositories and paths
// ("dependencies" in npm's documentation of package.json).
func ofRegistry(version string) bool {
	if alias, ok := strings.CutPrefix(version, "npm:"); ok {
		return !strings.Contains(alias, ":")
	}
	return !strings.ContainsAny(version, ":/\\")
}

// checkLock wants every package to come from a registry, with its hash.
func checkLock(text []byte) error {
	var l packageLock
	if err := json.Unmarshal(text, &l); err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "%s cannot be read: %w", lockName, err)
	}
	if l.Version < 2 {
		return thaw.Errorf(thaw.CodeInvalid, "%s has version %d, which names no packages: write it with npm 7 or newer, `npm install --package-lock-only`", lockName, l.Version)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Packages)) {
		p := l.Packages[name]
		if name == "" || p.InBundle {
			continue
		}
		u, err := url.Parse(p.Resolved)
		if p.Link || err != nil || p.Resolved != "" && u.Scheme != "https" && u.Scheme != "http" {
			return thaw.Errorf(thaw.CodeInvalid, "%s: %.100s comes from %.100q and not from a registry: deploy with node_modules and without %s", lockName, name, p.Resolved, lockName)
		}
		if p.Resolved != "" && p.Integrity == "" {
			return thaw.Errorf(thaw.CodeInvalid, "%s: %.100s has no integrity: write the lock again, `npm install --package-lock-only`", lockName, name)
		}
	}
	return nil
}

// replacesModules says that node_modules is installed when code is deployed, so that
// what is there now need not be sent.
func replacesModules(code fs.FS) bool {
	lists, err := readPackageJSON(code)
	return err == nil && lists[lockName] != nil
}
