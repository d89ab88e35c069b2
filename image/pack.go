package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"thaw"
)

// packed is an entry that goes into the tar.
type packed struct {
	name string
	info fs.FileInfo
	link string
}

// Pack writes the folder dir to w as a tar stream for [Store.Code], as [PackFS]
// does. It never follows a link.
func Pack(dir string, w io.Writer) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "cannot open the code folder: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return PackFS(root.FS(), w)
}

// PackFS writes code to w as a tar stream for [Store.Code]: in a fixed order and
// without owners and times, so that the same files give the same bytes. It leaves
// out thaw.yaml, .git, __pycache__ and the like, and a node_modules that is installed
// from package-lock.json, and looks at everything before it writes
// the first byte: code over the limits or with an entry that is not allowed gives
// a [thaw.CodeInvalid] or [thaw.CodeTooLarge] error.
func PackFS(code fs.FS, w io.Writer) error {
	modules := replacesModules(code)
	return packAll(code, w, func(path, name string) bool { return leftOut(path, name) || modules && path == nodeModules })
}

// packAll packs all but what leave names.
func packAll(code fs.FS, w io.Writer, leave func(path, name string) bool) error {
	entries, err := survey(code, leave)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := e.write(code, tw); err != nil {
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("pack code: %w", err)
	}
	return nil
}

// leftOut reports what is never part of a function. thaw.yaml is its settings: they
// may change while its code disk stays the same.
func leftOut(path, name string) bool {
	if path == "thaw.yaml" {
		return true
	}
	switch name {
	case ".git", ".hg", ".svn", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".DS_Store":
		return true
	}
	return false
}

// survey lists what to pack, in the order of the walk, which is by name.
func survey(code fs.FS, leave func(path, name string) bool) ([]packed, error) {
	var entries []packed
	var total int64
	err := fs.WalkDir(code, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if leave(name, d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := inspect(code, name, d)
		if err != nil {
			return err
		}
		if e.info.Mode().IsRegular() {
			total += e.info.Size()
		}
		entries = append(entries, e)
		return checkLimits(len(entries), total)
	})
	if err != nil {
		return nil, fmt.Errorf("look at code folder: %w", err)
	}
	return entries, nil
}

func checkLimits(entries int, total int64) error {
	if entries > MaxCodeEntries {
		return thaw.Errorf(thaw.CodeTooLarge, "the code folder has more than %d files and folders: is it the right folder?", MaxCodeEntries)
	}
	if total > MaxCodeBytes {
		return thaw.Errorf(thaw.CodeTooLarge, "the code folder is larger than %d MiB: leave out what the function does not need", MaxCodeBytes>>20)
	}
	return nil
}

// inspect refuses what cannot be on a code disk.
func inspect(code fs.FS, name string, d fs.DirEntry) (packed, error) {
	if !fs.ValidPath(name) {
		return packed{}, thaw.Errorf(thaw.CodeInvalid, "%q is no valid name: rename it, in UTF-8", name)
	}
	info, err := d.Info()
	if err != nil {
		return packed{}, err
	}
	e := packed{name: name, info: info}
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
		return e, nil
	case fs.ModeSymlink:
		e.link, err = fs.ReadLink(code, name)
		if err != nil {
			return packed{}, err
		}
		if filepath.IsAbs(e.link) || !filepath.IsLocal(path.Join(path.Dir(name), e.link)) {
			return packed{}, thaw.Errorf(thaw.CodeInvalid, "%s is a link to %s, out of the code folder: copy the file instead", name, e.link)
		}
		return e, nil
	}
	return packed{}, thaw.Errorf(thaw.CodeInvalid, "%s is %s: only files, folders and links can be deployed", name, describeMode(info.Mode()))
}

func describeMode(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "of an unknown type"
}

func (e packed) write(code fs.FS, tw *tar.Writer) error {
	hdr := &tar.Header{Name: e.name, Mode: 0o644, Format: tar.FormatPAX}
	switch {
	case e.info.IsDir():
		hdr.Typeflag, hdr.Name, hdr.Mode = tar.TypeDir, strings.TrimSuffix(e.name, "/")+"/", 0o755
	case e.link != "":
		hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, e.link, 0o777
	default:
		hdr.Typeflag, hdr.Size = tar.TypeReg, e.info.Size()
		if e.info.Mode()&0o111 != 0 {
			hdr.Mode = 0o755
		}
	}
	if err := tw.WriteHeader(hdr); err != nil || hdr.Typeflag != tar.TypeReg {
		return err
	}
	return e.copy(code, tw)
}

// copy writes exactly the size in the header, or says that the file changed.
func (e packed) copy(code fs.FS, tw *tar.Writer) (err error) {
	f, err := code.Open(e.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(tw, io.LimitReader(f, e.info.Size()))
	if err == nil && n < e.info.Size() {
		err = thaw.Errorf(thaw.CodeConflict, "the file became shorter while it was read: try again")
	}
	return err
}
