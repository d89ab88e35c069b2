package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"thaw"
)

const (
	// SandboxID is the user and group id that functions run as, the one AWS
	// Lambda gives its sandbox user.
	SandboxID = 993
	// RuntimeDir is where a root disk has the files of its runtime.
	RuntimeDir = "/var/runtime"
)

// root returns the root disk for a runtime and packages.
func (s *Store) root(ctx context.Context, settings thaw.Settings, progress Progress) (Disk, error) {
	p, err := s.rootPlan(ctx, settings, progress)
	if err != nil {
		return Disk{}, err
	}
	path, err := s.build(ctx, filepath.Base(s.path(kindRoot, p.key)), progress, func(ctx context.Context, tmp string) (string, error) {
		if err := needRoot(); err != nil {
			return "", err
		}
		dir := filepath.Join(tmp, "root")
		if err := p.fill(ctx, dir); err != nil {
			return "", err
		}
		progress.say("%s: writing the root disk", settings.Runtime)
		return makeErofs(ctx, dir, filepath.Join(tmp, "disk"), allRoot)
	})
	if err != nil {
		return Disk{}, err
	}
	return diskOf(p.key, path)
}

// rootPlan is how to fill a root folder, and the key of the disk
// that comes of it.
type rootPlan struct {
	key  string
	fill func(ctx context.Context, dir string) error
}

func (s *Store) rootPlan(ctx context.Context, settings thaw.Settings, progress Progress) (rootPlan, error) {
	tool, err := s.erofsVersion(ctx)
	if err != nil {
		return rootPlan{}, err
	}
	parts := []string{formatVersion, kindRoot, string(settings.Root()), tool, baseText()}
	if settings.Root() == thaw.RuntimeProvided && len(settings.Packages) == 0 {
		return rootPlan{key(parts...), func(_ context.Context, dir string) error { return writeBase(dir) }}, nil
	}
	t, err := s.rootTree(ctx, settings, progress)
	parts = append(parts, t.sum, strings.Join(trimmed(), " "))
	parts = append(parts, runtimeText(s.runtimes[settings.Root()])...)
	fill := func(ctx context.Context, dir string) error { return s.fillTree(ctx, t, settings.Root(), dir) }
	return rootPlan{key(parts...), fill}, err
}

// runtimeText stands for the files of a runtime in keys.
func runtimeText(files map[string][]byte) (parts []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, name, string(files[name]))
	}
	return parts
}

func (s *Store) rootTree(ctx context.Context, settings thaw.Settings, progress Progress) (tree, error) {
	if settings.Root() != thaw.RuntimeProvided && len(s.runtimes[settings.Root()]) == 0 {
		return tree{}, thaw.Errorf(thaw.CodeUnavailable, "this build holds no bootstrap for %s", settings.Root())
	}
	p, err := planTree(settings.Root(), settings.Packages)
	if err != nil {
		return tree{}, err
	}
	return s.debianTree(ctx, p, progress)
}

// unpackTree unpacks a Debian tree into the new folder dir.
func unpackTree(ctx context.Context, t tree, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return command{name: "tar", args: []string{"--extract", "--numeric-owner", "--preserve-permissions", "--file", t.path, "--directory", dir}}.run(ctx)
}

// fillTree unpacks a Debian tree and makes it a guest's root.
func (s *Store) fillTree(ctx context.Context, t tree, r thaw.Runtime, dir string) error {
	if err := unpackTree(ctx, t, dir); err != nil {
		return err
	}
	if err := trim(dir); err != nil {
		return err
	}
	if err := writeBase(dir); err != nil {
		return err
	}
	for name, content := range s.runtimes[r] {
		if err := writeInside(dir, filepath.Join(RuntimeDir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// trimmed are the paths that no function needs: package management, its
// records, what only building or logging in uses. The disk is read-only and its
// owners are all root, so programs that change users go as well.
func trimmed() []string {
	return []string{
		"boot", "home", "media", "mnt", "srv", "root", "dev", "proc", "sys", "run", "tmp",
		"etc/apt", "etc/dpkg", "etc/init.d", "etc/rc*.d", "etc/cron*", "etc/logrotate.d", "etc/systemd",
		"etc/pam*", "etc/security", "etc/shadow*", "etc/gshadow*", "etc/passwd*", "etc/group*", "etc/subuid*", "etc/subgid*",
		"etc/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/fstab", "etc/motd", "etc/issue*", "etc/skel", "etc/update-motd.d",
		"var/cache", "var/backups", "var/log", "var/lib", "var/spool", "var/mail", "var/local", "var/opt",
		"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion",
		"usr/share/perl", "usr/share/perl5", "etc/perl", "usr/share/bug", "usr/share/doc-base", "usr/share/polkit-1", "usr/share/dpkg", "usr/share/debconf", "usr/share/pam*", "usr/share/keyrings", "usr/share/pixmaps", "usr/share/menu", "usr/share/python3/debpython",
		"usr/lib/apt", "usr/lib/dpkg", "usr/lib/init", "usr/lib/systemd", "usr/lib/valgrind", "usr/lib/udev", "usr/lib/tmpfiles.d",
		"usr/lib/x86_64-linux-gnu/perl-base", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/security",
		"usr/bin/perl*", "usr/bin/apt*", "usr/bin/dpkg*", "usr/bin/deb*", "usr/sbin/dpkg*",
		"usr/bin/passwd", "usr/bin/chsh", "usr/bin/chfn", "usr/bin/chage", "usr/bin/gpasswd", "usr/bin/newgrp", "usr/bin/expiry", "bin/su", "bin/mount", "bin/umount", "bin/login", "usr/bin/su", "usr/bin/mount", "usr/bin/umount",
	}
}

// removeAll removes what matches the patterns from a tree. It works through [os.Root],
// so that a link in the tree leads nowhere outside of it.
func removeAll(dir string, patterns []string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, pattern := range patterns {
		matches, err := fs.Glob(root.FS(), strings.TrimPrefix(pattern, "/"))
		if err != nil {
			return fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, m := range matches {
			if err := root.RemoveAll(m); err != nil {
				return fmt.Errorf("remove %s: %w", m, err)
			}
		}
	}
	return nil
}

// trim removes the trimmed paths and every set-user-id bit from a tree.
func trim(dir string) (err error) {
	if err := removeAll(dir, trimmed()); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
			return err
		}
		return root.Chmod(path, info.Mode().Perm())
	})
}

// baseFile is a file of every root disk.
type baseFile struct{ path, text string }

// baseFiles makes a root that a static program finds its way in: users, names
// and an empty machine-id(5), because a snapshot's clones must not share one.
func baseFiles() []baseFile {
	return []baseFile{
		{"/etc/passwd", fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nsandbox:x:%d:%d:sandbox:/tmp:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n", SandboxID, SandboxID)},
		{"/etc/group", fmt.Sprintf("root:x:0:\nsandbox:x:%d:\nnogroup:x:65534:\n", SandboxID)},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"},
		{"/etc/hostname", "localhost\n"},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
		{"/etc/resolv.conf", ""},
		{"/etc/machine-id", ""},
	}
}

// baseFolders are the folders of every root disk, most of them to mount on.
func baseFolders() []string {
	return []string{"/dev", "/proc", "/sys", "/run", "/mnt", "/opt", "/etc/ssl/certs", "/var/task", "/var/runtime", "/var/tmp", "/tmp"}
}

// baseText stands for writeBase in keys.
func baseText() string {
	return fmt.Sprintf("%v%v", baseFiles(), baseFolders())
}

func writeBase(dir string) error {
	for _, f := range baseFolders() {
		if err := os.MkdirAll(filepath.Join(dir, f), 0o755); err != nil {
			return err
		}
	}
	for _, f := range baseFiles() {
		if err := writeInside(dir, f.path, []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	for _, f := range []string{"/tmp", "/var/tmp"} {
		if err := os.Chmod(filepath.Join(dir, f), 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// writeInside writes a file below dir and never through a link out of it.
func writeInside(dir, path string, content []byte, mode fs.FileMode) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	rel := strings.TrimPrefix(path, "/")
	if err := root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	return root.WriteFile(rel, content, mode)
}
