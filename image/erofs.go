package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
)

// erofsID is the UUID of every disk: a random one would make equal content
// different.
const erofsID = "7c3a1f4e-6b1d-4a57-9f0e-2d1c5b8a9e30"

// owners says whom the files of a disk belong to.
type owners bool

const (
	allRoot    owners = false
	keepOwners owners = true
)

// makeErofs writes the folder dir as a read-only file system into the file
// path. It is not compressed, so that a page read is a page served, and the same
// folder gives the same bytes: all times are 0 and there are no extended attributes.
func makeErofs(ctx context.Context, dir, path string, whose owners) (string, error) {
	args := []string{"-T0", "-U" + erofsID, "-x-1", "--quiet"}
	if whose == allRoot {
		args = append(args, "--all-root")
	}
	mkfs := command{name: "mkfs.erofs", args: append(args, path, dir)}
	if err := mkfs.run(ctx); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o444)
}

var erofsRule = regexp.MustCompile(`mkfs\.erofs \(?[^)\n]*?([0-9]+\.[0-9.]+)`)

// erofsVersion returns the version of mkfs.erofs. It is part of the keys of
// disks, because another version may lay out the same files differently.
func (s *Store) erofsVersion(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.erofs != "" {
		return s.erofs, nil
	}
	if err := needTools("mkfs.erofs"); err != nil {
		return "", err
	}
	// Every version says what it is before it complains about missing
	// arguments; only new ones have -V.
	out, err := exec.CommandContext(ctx, "mkfs.erofs").CombinedOutput()
	m := erofsRule.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("find out the version of mkfs.erofs: %w", err)
	}
	s.erofs = string(m[1])
	return s.erofs, nil
}
