// Package image makes everything a guest boots from: a kernel that boots by
// PVH, an initramfs that holds the guest agent and the modules it loads, a
// read-only root disk for each runtime and set of packages and a read-only code
// disk for each function. Each is built once, kept under a content key and shared by every
// function that asks for the same.
//
// Kernel and Python come from the packages of the machine's own Debian, through
// its own apt configuration.
//
// A build happens in a folder called tmp-* beside the result, which is synced
// and renamed when it is complete: a half-built image never has the name of a
// whole one. A build that was killed leaves its tmp-* behind; the next [Open]
// keeps the packages it had downloaded and removes the rest.
package image

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"thaw"
)

// formatVersion is part of every key: raise it when a builder changes what it
// makes from the same input.
const formatVersion = "1"

//go:embed embedded
var embedded embed.FS

// Config says where a store is and what goes into its images.
type Config struct {
	// Dir is the store's folder; Open makes it.
	Dir string
	// Agent is the guest's /init. Nil means the agent this program was built
	// with.
	Agent []byte
	// Runtimes are the files that run a function of a runtime, by their names in
	// [RuntimeDir].
	Runtimes map[thaw.Runtime]map[string][]byte
}

// Store keeps images in one folder. It is safe for concurrent use: two callers
// who need the same image share one build. It holds a lock on the folder until
// Close.
type Store struct {
	dir      string
	lock     *os.File
	agent    []byte
	runtimes map[thaw.Runtime]map[string][]byte
	flights  singleflight.Group

	// mu guards what follows and the link to the kernel in use.
	mu    sync.Mutex
	erofs string // see erofsVersion
	tree  string // key of the Debian tree asked for last
}

// Disk is one image file.
type Disk struct {
	// Key names the content: equal keys mean equal content.
	Key string
	// Path is absolute.
	Path  string
	Bytes int64
}

// Base is what functions of the same runtime and packages share.
type Base struct {
	Kernel    Disk
	Initramfs Disk
	Root      Disk
}

// Images returns the keys of b together with the key of a code disk.
func (b Base) Images(code string) thaw.Images {
	return thaw.Images{Kernel: b.Kernel.Key, Initramfs: b.Initramfs.Key, Root: b.Root.Key, Code: code}
}

// Progress receives one line of text per step of a build and at least one every
// two seconds while something is downloaded. It is called from one goroutine at
// a time. Nil is allowed.
type Progress func(msg string)

// serial keeps the promise that p is called by one goroutine at a time.
func (p Progress) serial() Progress {
	if p == nil {
		return nil
	}
	var mu sync.Mutex
	return func(msg string) {
		mu.Lock()
		defer mu.Unlock()
		p(msg)
	}
}

func (p Progress) say(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// Open makes the store's folder if needed, takes its lock and clears what killed
// builds left. A folder in use by another process is a [thaw.CodeUnavailable]
// error.
func Open(cfg Config) (_ *Store, err error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve image folder: %w", err)
	}
	s := &Store{dir: dir, agent: cfg.Agent, runtimes: cfg.Runtimes}
	if s.agent == nil {
		if s.agent, err = embeddedAgent(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.cacheDir(), 0o755); err != nil {
		return nil, diskError("make image folder", err)
	}
	if s.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close gives the folder up to other processes. No build may be under way. A
// second call does nothing.
func (s *Store) Close() error {
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("unlock image folder: %w", err)
	}
	return nil
}

// lockFolder takes the lock that keeps other processes out of dir. It lasts
// until the file is closed, also by the end of the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError("lock image folder", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = thaw.Errorf(thaw.CodeUnavailable, "the image folder %s is in use by another thaw: stop it, or choose another folder with --images", dir)
	}
	return nil, errors.Join(err, f.Close())
}

// embeddedAgent returns nil when this program was built without an agent.
func embeddedAgent() ([]byte, error) {
	b, err := embedded.ReadFile("embedded/thaw-agent")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Base returns the kernel, initramfs and root disk for the runtime and packages
// of settings, which must be valid, and builds what is missing, which takes about
// a minute and a download the first time. It returns a [thaw.CodeUnavailable]
// error when the machine lacks something and a [thaw.CodeInvalid] error that
// names the packages that Debian does not have. Cancelling ctx ends the child
// processes and removes the unfinished build.
func (s *Store) Base(ctx context.Context, settings thaw.Settings, progress Progress) (Base, error) {
	progress = progress.serial()
	return s.base(ctx, progress, func() (Disk, error) { return s.root(ctx, settings, progress) })
}

// base makes what root disks of every kind need besides, and then the root disk.
func (s *Store) base(ctx context.Context, progress Progress, root func() (Disk, error)) (b Base, err error) {
	if len(s.agent) == 0 {
		return b, thaw.Errorf(thaw.CodeUnavailable, "this build holds no guest agent: build with `make build`")
	}
	k, err := s.kernel(ctx, progress)
	if err != nil {
		return b, err
	}
	if b.Kernel, err = k.disk(); err != nil {
		return b, err
	}
	if b.Initramfs, err = s.initramfs(ctx, k); err != nil {
		return b, err
	}
	b.Root, err = root()
	return b, err
}

// Files are the paths of the images of one version.
type Files struct {
	Kernel, Initramfs, Root, Code string
}

var keyRule = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Files returns where the images with the given keys are, or a
// [thaw.CodeUnavailable] error that names the first one that is gone.
func (s *Store) Files(im thaw.Images) (Files, error) { return Locate(s.dir, im) }

// Locate is [Store.Files] of the store in dir, which may be in use by another
// process.
func Locate(dir string, im thaw.Images) (Files, error) {
	s := &Store{dir: dir}
	f := Files{
		Kernel:    filepath.Join(s.path(kindKernel, im.Kernel), vmlinuxName),
		Initramfs: s.path(kindInitramfs, im.Initramfs),
		Root:      s.path(kindRoot, im.Root),
		Code:      s.path(kindCode, im.Code),
	}
	for _, c := range []struct{ what, key, path string }{
		{"kernel", im.Kernel, f.Kernel},
		{"initramfs", im.Initramfs, f.Initramfs},
		{"root disk", im.Root, f.Root},
		{"code disk", im.Code, f.Code},
	} {
		if !keyRule.MatchString(c.key) {
			return Files{}, thaw.Errorf(thaw.CodeUnavailable, "the %s has no valid key %q: deploy the function again", c.what, c.key)
		}
		if _, err := os.Stat(c.path); err != nil {
			return Files{}, thaw.Errorf(thaw.CodeUnavailable, "the %s is gone (%w): deploy the function again", c.what, err)
		}
	}
	return f, nil
}

// HasCode says whether the code disk with the given key is there.
func (s *Store) HasCode(key string) bool {
	if !keyRule.MatchString(key) {
		return false
	}
	_, err := os.Stat(s.path(kindCode, key))
	return err == nil
}

// The kinds of image. Each is a prefix of a name in the store's folder.
const (
	kindKernel    = "kernel"
	kindInitramfs = "initramfs"
	kindRoot      = "root"
	kindCode      = "code"
	kindPython    = "python" // Debian tree of that runtime
	kindNode      = "node"   // the same
	kindDebian    = "debian" // the same, with no interpreter of ours
	kindTools     = "tools"  // Debian tree of what installs packages, as a folder
	kindLayer     = "layer"  // of an OCI image, as it was fetched; its key is its digest

	kindDependencies = "deps"
)

// suffixes give the name of each kind its ending.
func suffix(kind string) string {
	switch kind {
	case kindInitramfs:
		return ".cpio"
	case kindRoot, kindCode:
		return ".erofs"
	case kindDependencies:
		return ".tar"
	}
	return ""
}

func (s *Store) path(kind, key string) string {
	return filepath.Join(s.dir, kind+"-"+key+suffix(kind))
}

func (s *Store) cacheDir() string { return filepath.Join(s.dir, "cache") }

// Keys returns the keys of all that v is made of: its images, the layers of an OCI
// image, and the Debian tree that another bootstrap would make its root disk from.
func Keys(v thaw.Version) []string {
	keys := []string{v.Images.Kernel, v.Images.Initramfs, v.Images.Root, v.Images.Code}
	if v.Container != nil {
		for _, l := range v.Container.Layers {
			keys = append(keys, strings.TrimPrefix(l, "sha256:"))
		}
	}
	if p, err := planTree(v.Root(), v.Packages); err == nil { // otherwise Prune keeps every tree
		keys = append(keys, p.key())
	}
	return keys
}

// Prune removes the images whose key keep does not want, and reports how many
// bytes that freed. The kernel in use and the Debian trees of the runtimes themselves,
// of what installs packages, and of what was asked for last stay, and so does the
// package cache. The caller must know of every key that [Store.Base] and [Store.Code]
// returned, or not call it meanwhile.
func (s *Store) Prune(keep func(key string) bool) (freed int64, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, fmt.Errorf("list images: %w", err)
	}
	trees, terr := ownTrees()
	inUse := append(trees, s.currentKernel(), s.lastTree())
	freed, err = s.pruneDependencies()
	for _, e := range entries {
		kind, key, ok := parseName(e.Name())
		isTree := kind == kindPython || kind == kindNode || kind == kindDebian || kind == kindTools
		if !ok || kind == kindDependencies || slices.Contains(inUse, key) || keep(key) || isTree && terr != nil {
			continue
		}
		n, rerr := removeTree(filepath.Join(s.dir, e.Name()))
		freed += n
		err = errors.Join(err, rerr)
	}
	return freed, err
}

// ownTrees are the keys of the Debian trees that belong to no version.
func ownTrees() (keys []string, err error) {
	for _, r := range []thaw.Runtime{thaw.RuntimePython, thaw.RuntimeNode} {
		plain, perr := planTree(r, nil)
		tools, terr := planTools(r)
		keys, err = append(keys, plain.key(), tools.key()), errors.Join(err, perr, terr)
	}
	return keys, err
}

// parseName is the inverse of path.
func parseName(name string) (kind, key string, ok bool) {
	kind, rest, found := strings.Cut(name, "-")
	if !found {
		return "", "", false
	}
	key = strings.TrimSuffix(rest, suffix(kind))
	ok = keyRule.MatchString(key) && kind+"-"+key+suffix(kind) == name
	return kind, key, ok
}
