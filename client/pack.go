package client

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"thaw"
)

// Pack writes the files under dir to w as a tar stream for [Client.Deploy]. Two
// folders with the same content give the same bytes: names are sorted, owners
// are root and times are zero. It leaves out folders called .git and
// __pycache__. A symbolic link is kept as one and must stay inside dir; devices,
// sockets and pipes are refused. No file outside dir is read.
func Pack(w io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	defer root.Close()
	p := packer{root: root, dir: dir, out: tar.NewWriter(w)}
	if err := fs.WalkDir(root.FS(), ".", p.visit); err != nil {
		return err
	}
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("end tar stream: %w", err)
	}
	return nil
}

type packer struct {
	root *os.Root
	dir  string
	out  *tar.Writer
}

func (p packer) visit(name string, entry fs.DirEntry, err error) error {
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	if name == "." {
		return nil
	}
	if entry.IsDir() && leftOut(entry.Name()) {
		return fs.SkipDir
	}
	info, err := entry.Info()
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	switch info.Mode().Type() {
	case 0:
		return p.file(name)
	case fs.ModeDir:
		return p.header(name+"/", tar.TypeDir, info.Mode(), 0, "")
	case fs.ModeSymlink:
		return p.link(name)
	default:
		return thaw.Errorf(thaw.CodeInvalid, "%s is neither a file nor a folder nor a link: remove it", filepath.Join(p.dir, name))
	}
}

func leftOut(name string) bool { return name == ".git" || name == "__pycache__" }

func (p packer) file(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, so that size and content agree
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	if err := p.header(name, tar.TypeReg, info.Mode(), info.Size(), ""); err != nil {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(f, info.Size()))
	if err == nil && n < info.Size() {
		return thaw.Errorf(thaw.CodeInvalid, "%s became shorter while it was read: deploy again", filepath.Join(p.dir, name))
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

func (p packer) link(name string) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	to := path.Join(path.Dir(name), target)
	if path.IsAbs(target) || to == ".." || strings.HasPrefix(to, "../") {
		return thaw.Errorf(thaw.CodeInvalid, "link %s leads out of the function's folder, to %s: copy what it names", filepath.Join(p.dir, name), target)
	}
	return p.header(name, tar.TypeSymlink, 0o777, 0, target)
}

func (p packer) header(name string, kind byte, mode fs.FileMode, size int64, target string) error {
	err := p.out.WriteHeader(&tar.Header{
		Typeflag: kind,
		Name:     name,
		Linkname: target,
		Size:     size,
		Mode:     int64(mode.Perm()),
		ModTime:  time.Unix(0, 0),
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}
