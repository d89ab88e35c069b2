package image

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"thaw"
)

// PythonPackages is where code has the Python packages that were installed for it.
const PythonPackages = ".packages"

// nodeModules is where Node.js looks for packages, beside the code.
const nodeModules = "node_modules"

// maxList bounds each file that lists packages.
const maxList = 4 << 20

// wanted is what code asks for of a package index.
type wanted struct {
	runtime thaw.Runtime
	// lists are what the installer is given: requirements.txt, or package.json and
	// perhaps its lock.
	lists map[string][]byte
	// scripts says that code of the packages may run while they are installed.
	scripts bool
}

// findDependencies returns what is to be installed, with no lists when that is
// nothing. Its errors are [thaw.CodeInvalid].
func findDependencies(code fs.FS, s thaw.Settings) (wanted, error) {
	d := wanted{runtime: s.Root(), scripts: s.InstallScripts}
	var err error
	switch d.runtime {
	case thaw.RuntimePython:
		d.lists, err = readRequirements(code)
	case thaw.RuntimeNode:
		d.lists, err = readPackageJSON(code)
	}
	return d, err
}

// readList returns a file that lists packages, nil when there is none.
func readList(code fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(code, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !info.Mode().IsRegular() {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s is not a file that can be read", name)
	}
	if info.Size() > maxList {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s is larger than %d MiB", name, maxList>>20)
	}
	return fs.ReadFile(code, name)
}

// tool is what installs them, by the name that people know.
func (d wanted) tool() string {
	if d.runtime == thaw.RuntimeNode {
		return "npm"
	}
	return "pip"
}

// into is the folder of the code that they are installed to.
func (d wanted) into() string {
	if d.runtime == thaw.RuntimeNode {
		return nodeModules
	}
	return PythonPackages
}

// tree plans the Debian tree that the tool runs in: that of the runtime, and the tool.
func (d wanted) tree() (treePlan, error) { return planTools(d.runtime) }

func planTools(r thaw.Runtime) (treePlan, error) {
	if r == thaw.RuntimeNode {
		return planTree(r, []string{"npm"})
	}
	return planTree(r, []string{"python3-pip"})
}

// key depends on what is asked for and on what installs it, so that a second deploy
// finds what the first one downloaded.
func (d wanted) key(tree treePlan) string {
	parts := []string{formatVersion, kindDependencies, tree.key(), d.script()}
	for _, name := range slices.Sorted(maps.Keys(d.lists)) {
		parts = append(parts, name, string(d.lists[name]))
	}
	return key(parts...)
}

// addDependencies installs what the code in root asks for beside it, unless it is
// complete.
func (s *Store) addDependencies(ctx context.Context, u *unpacker, settings thaw.Settings, progress Progress) (err error) {
	if settings.Complete() {
		return nil
	}
	d, err := findDependencies(u.root.FS(), settings)
	if err != nil || len(d.lists) == 0 {
		return err
	}
	if err := makeRoom(u.root, d); err != nil {
		return err
	}
	tarball, err := s.installed(ctx, d, progress)
	if err != nil {
		return err
	}
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return u.unpack(ctx, f)
}

// makeRoom removes the node_modules that came with the code, which is what somebody
// else's npm made of the same list. Python's folder is ours alone.
func makeRoom(root *os.Root, d wanted) error {
	if d.runtime == thaw.RuntimeNode {
		return root.RemoveAll(nodeModules)
	}
	if _, err := root.Lstat(d.into()); !errors.Is(err, fs.ErrNotExist) {
		return thaw.Errorf(thaw.CodeInvalid, "the code has a folder %s, which is where requirements.txt is installed: rename it", d.into())
	}
	return nil
}

// installed returns a tar file with what d asks for, installed. It is made once and
// kept by what was asked for.
func (s *Store) installed(ctx context.Context, d wanted, progress Progress) (string, error) {
	plan, err := d.tree()
	if err != nil {
		return "", err
	}
	path := s.path(kindDependencies, d.key(plan))
	if _, err := os.Stat(path); err == nil {
		progress.say("%s: the packages of an earlier deploy are used", d.tool())
	}
	path, err = s.build(ctx, filepath.Base(path), progress, func(ctx context.Context, tmp string) (string, error) {
		t, err := s.toolsTree(ctx, plan, progress)
		if err != nil {
			return "", err
		}
		return s.install(ctx, d, t, tmp, progress)
	})
	if err != nil {
		return "", err
	}
	now := time.Now()
	return path, os.Chtimes(path, now, now) // see pruneDependencies
}

// keptDependencies is how many bytes of installed packages are kept, those used last.
const keptDependencies = 2 << 30

// pruneDependencies removes the installed packages that have not been used for
// longest, when there are too many. No version needs them: they are part of its code
// disk.
func (s *Store) pruneDependencies() (freed int64, err error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, kindDependencies+"-*"+suffix(kindDependencies)))
	if err != nil {
		return 0, err
	}
	used := map[string]time.Time{}
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			used[p] = info.ModTime()
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return used[b].Compare(used[a]) })
	var total int64
	for _, p := range paths {
		if total += fileSize(p); total > keptDependencies {
			n, rerr := removeTree(p)
			freed += n
			err = errors.Join(err, rerr)
		}
	}
	return freed, err
}
