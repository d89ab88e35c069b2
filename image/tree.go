package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"thaw"
)

// treePlan says what the Debian tree of a root disk is made of.
type treePlan struct {
	// runtime is what the tree holds the interpreter of, none for provided.
	runtime  thaw.Runtime
	codename string
	// merged is the folder of mmdebstrap's hooks that make /bin a link from the start,
	// "" where it has none. Without them the package usrmerge makes it one, which brings
	// the whole of Perl.
	merged string
	// added are the packages that a function asks for, in order.
	added []string
}

func planTree(r thaw.Runtime, added []string) (treePlan, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return treePlan{}, fmt.Errorf("find out the Debian release: %w", err)
	}
	codename, err := release(string(b))
	return treePlan{r, codename, mergedHooks(), added}, err
}

func mergedHooks() string {
	const dir = "/usr/share/mmdebstrap/hooks/merged-usr"
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// kind is that of the tree's name in the store.
func (p treePlan) kind() string {
	switch p.runtime {
	case thaw.RuntimeNode:
		return kindNode
	case thaw.RuntimeProvided:
		return kindDebian
	}
	return kindPython
}

// key leaves no doubt where the packages end: no package has a name like a path.
func (p treePlan) key() string {
	args := append(p.packages(), p.excludes()...)
	return key(append(args, formatVersion, p.kind(), p.codename, p.merged, p.compileHook())...)
}

// packages are the interpreter with its whole standard library, the data that parts
// of that library, and programs of all kinds, look for: time zones and certificates,
// and what was added. Debian's essential packages, a shell among them, are there anyway.
func (p treePlan) packages() []string {
	packages := append([]string{"tzdata", "ca-certificates"}, p.added...)
	switch p.runtime {
	case thaw.RuntimePython:
		return append([]string{"python3"}, packages...)
	case thaw.RuntimeNode:
		return append([]string{"nodejs"}, packages...)
	}
	return packages
}

// excludes are left out of the tree. dpkg, once it runs inside, does not even unpack
// them; mmdebstrap itself could leave them out too, by starting a filter in Python for
// every package, which takes longer than to write them.
func (treePlan) excludes() []string {
	return []string{
		"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*",
		"/usr/share/zoneinfo/right/*", "/usr/share/zoneinfo/posix/*",
	}
}

// leftOut is all that a tree does not hold: that, and what differs between machines.
func (p treePlan) leftOut() []string {
	return append(p.excludes(), "/dev", "/proc", "/sys", "/run", "/tmp", "/etc/apt", "/etc/hostname", "/etc/resolv.conf", "/var/cache", "/var/log", "/var/lib/apt")
}

// excludeHook tells the dpkg of the new root.
func (p treePlan) excludeHook() string {
	return `mkdir -p "$1/etc/dpkg/dpkg.cfg.d" && printf 'path-exclude=%s\n' '` + strings.Join(p.excludes(), "' '") + `' > "$1/etc/dpkg/dpkg.cfg.d/thaw"`
}

// compileHook compiles Python's library again, in a way that does not look at
// the time of the source (PEP 552, unchecked hash): the disk has all times 0,
// by which an ordinary .pyc would count as stale on every import. The inner
// shell finds the folders inside the new root.
const compileHook = `chroot "$1" sh -c 'exec python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.*'`

// compileHook is [compileHook] for the packages of p. Those that are added may
// hold files that are not for this version of Python, by which compileall ends
// with 1 after it has compiled the rest. Node.js compiles what it loads.
func (p treePlan) compileHook() string {
	if p.runtime != thaw.RuntimePython {
		return ""
	}
	if len(p.added) == 0 {
		return compileHook
	}
	return compileHook + ` || [ $? -eq 1 ]`
}

// seedHook puts the packages downloaded earlier into the new root before it
// looks for packages. They are links within one file system.
const seedHook = `mkdir -p "$1/` + archives + `" && cp --archive --link --force "$THAW_ARCHIVES/." "$1/` + archives + `/"`

// The files of the folder of a Debian tree.
const (
	treeName = "tree.tar"
	sumName  = "sha256"
)

// tree is a Debian tree as a tar file, with the hash of it. It is apart from the
// disk so that a new bootstrap does not cost a new tree, and it stays as it is
// when Debian has newer packages, so that snapshots stay useful.
type tree struct {
	path, sum string
}

// debianTree returns the Debian tree that p plans.
func (s *Store) debianTree(ctx context.Context, p treePlan, progress Progress) (tree, error) {
	s.noteTree(p.key())
	dir, err := s.build(ctx, filepath.Base(s.path(p.kind(), p.key())), progress, func(ctx context.Context, tmp string) (string, error) {
		return s.buildTree(ctx, p, tmp, progress)
	})
	if err != nil {
		return tree{}, err
	}
	sum, err := os.ReadFile(filepath.Join(dir, sumName))
	if err != nil {
		return tree{}, fmt.Errorf("read hash of Debian tree: %w", err)
	}
	return tree{filepath.Join(dir, treeName), string(sum)}, nil
}

func (s *Store) buildTree(ctx context.Context, p treePlan, tmp string, progress Progress) (string, error) {
	root, out := filepath.Join(tmp, "debian"), filepath.Join(tmp, "out")
	if err := s.debian(ctx, p, tmp, root, progress); err != nil {
		return "", err
	}
	progress.say("%s: packing the tree", p.runtime)
	if err := errors.Join(os.Mkdir(out, 0o755), packTree(ctx, root, filepath.Join(out, treeName), p.leftOut())); err != nil {
		return "", err
	}
	return out, writeSum(filepath.Join(out, treeName), filepath.Join(out, sumName))
}

// toolsTree returns the folder of the tree that p plans. It is one and not a tar file,
// because npm alone has thirty thousand files, and unpacking them for every deploy
// takes longer than what npm does with them.
func (s *Store) toolsTree(ctx context.Context, p treePlan, progress Progress) (string, error) {
	return s.build(ctx, filepath.Base(s.path(kindTools, p.key())), progress, func(ctx context.Context, tmp string) (string, error) {
		root := filepath.Join(tmp, "debian")
		if err := s.debian(ctx, p, tmp, root, progress); err != nil {
			return "", err
		}
		return root, errors.Join(s.harvest(tmp), removeAll(root, p.leftOut()), syncDisk(root))
	})
}

// syncDisk syncs all files at once. One at a time they take minutes; after this they
// are found to be synced.
func syncDisk(dir string) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// debian runs mmdebstrap. It makes a folder and not a tar file, because it
// removes the latter with all it has downloaded when it fails.
func (s *Store) debian(ctx context.Context, p treePlan, tmp, root string, progress Progress) error {
	if err := errors.Join(needRoot(), needTools("mmdebstrap", "apt-get", "apt-config", "unshare", "tar")); err != nil {
		return err
	}
	// MkdirTemp makes it 0700, which keeps apt's own user out.
	if err := errors.Join(os.MkdirAll(s.archives(), 0o755), os.Chmod(tmp, 0o755)); err != nil {
		return err
	}
	args, err := p.args(ctx, tmp, root)
	if err != nil {
		return err
	}
	progress.say("%s: making a Debian %s tree with %s", p.runtime, p.codename, strings.Join(p.packages(), ", "))
	missing := unknownPackages{codename: p.codename}
	var step atomic.Value
	step.Store("starting mmdebstrap")
	stop := heartbeat(ctx, func() { progress.say("%s: %v, %s of packages", p.runtime, step.Load(), downloaded(root)) })
	defer stop()
	c := command{
		name: "unshare", args: append(isolate(), args...), abrupt: true,
		env: []string{"TMPDIR=" + tmp, "THAW_ARCHIVES=" + s.archives(), "THAW_PACKAGES=" + strings.Join(p.added, " "), "SOURCE_DATE_EPOCH=1"},
		line: func(line string) {
			missing.line(line)
			if text, ok := strings.CutPrefix(line, "I: "); ok && interesting(text) {
				step.Store(strings.TrimSuffix(text, "..."))
				progress.say("%s: %s", p.runtime, text)
			}
		},
	}
	return networkError(missing.explain(c.run(ctx)))
}

// noteTree and lastTree keep the tree that was asked for last, which belongs to
// no version yet, or never when its code does not initialise: the next attempt
// shall find it.
func (s *Store) noteTree(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tree = key
}

func (s *Store) lastTree() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree
}

// packTree writes a tree as a tar file without what differs between machines
// and times, so that the same packages give the same bytes.
func packTree(ctx context.Context, root, file string, leftOut []string) error {
	args := []string{"--create", "--format=gnu", "--sort=name", "--numeric-owner", "--mtime=@1"}
	for _, e := range leftOut {
		args = append(args, "--exclude=."+e)
	}
	return command{name: "tar", args: append(args, "--file", file, "--directory", root, ".")}.run(ctx)
}

// interesting picks the lines of mmdebstrap that begin a step.
func interesting(text string) bool {
	return strings.HasSuffix(text, "...") && !strings.HasPrefix(text, "using") && !strings.Contains(text, "received signal")
}

// isolate runs mmdebstrap in its own process and mount namespaces: when it is
// killed, all its processes and the mounts inside the new root go with it.
func isolate() []string {
	return []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "mmdebstrap"}
}

// writeSum writes the hash of a file into another.
func writeSum(file, sumFile string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	return os.WriteFile(sumFile, fmt.Appendf(nil, "%x", h.Sum(nil)), 0o644)
}

func (p treePlan) args(ctx context.Context, tmp, out string) ([]string, error) {
	sources, err := writeSources(tmp, "/etc/apt", p.codename)
	if err != nil {
		return nil, err
	}
	opts, err := aptOptions(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{
		"--mode=root", "--variant=essential", "--format=directory", "--include=" + strings.Join(p.packages(), ","),
		"--skip=essential/unlink,cleanup/apt/cache",
		"--setup-hook=" + seedHook, "--setup-hook=" + p.excludeHook(),
	}
	if p.merged != "" {
		args = append(args, "--hook-dir="+p.merged)
	}
	if hook := p.compileHook(); hook != "" {
		args = append(args, "--customize-hook="+hook)
	}
	if len(p.added) > 0 {
		args = append(args, "--setup-hook="+knownHook)
	}
	for _, o := range opts {
		args = append(args, "--aptopt="+o)
	}
	return append(append(args, p.codename, out), sources...), nil
}

// downloaded says how much is in the package folder of a root being built.
func downloaded(root string) string {
	var got int64
	for _, where := range []string{"*.deb", "partial/*.deb"} {
		debs, err := filepath.Glob(filepath.Join(root, archives, where))
		if err != nil {
			return "no number"
		}
		for _, d := range debs {
			got += fileSize(d)
		}
	}
	return megabytes(got)
}
