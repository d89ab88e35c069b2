package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"thaw"
)

// folder is an open folder below an Unpacker's. One step from it leads nowhere
// else, as long as the last part of a path is not followed.
type folder struct {
	*os.File
	name string // below the root, all links followed; "" is the root itself
}

// at is a path to what is called base in f.
func (f folder) at(base string) string { return procPath(f.File) + "/" + base }

// enter opens a folder by its name. Links on the way are followed as if the
// root were "/", as a guest will (openat2(2), RESOLVE_IN_ROOT).
func (u *Unpacker) enter(name string) (folder, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(u.root.Fd()), path.Join(".", name), &how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) { // something was renamed meanwhile, anywhere
			continue
		}
		if err != nil {
			return folder{}, &os.PathError{Op: "enter", Path: name, Err: err}
		}
		f := folder{File: os.NewFile(uintptr(fd), name)}
		where, err := os.Readlink(procPath(f.File))
		if err != nil {
			return folder{}, errors.Join(err, f.Close())
		}
		f.name = strings.TrimPrefix(strings.TrimPrefix(where, u.path), "/")
		return f, nil
	}
}

// make opens a folder and makes what is missing on the way.
func (u *Unpacker) make(name string) (folder, error) {
	f, err := u.enter(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	parent, err := u.make(path.Dir(name))
	if err != nil {
		return folder{}, err
	}
	base := path.Base(name)
	err = os.Mkdir(parent.at(base), 0o755)
	if err == nil {
		u.touch(parent, base)
		err = os.Chmod(parent.at(base), 0o755) // whatever the umask
	}
	if err = errors.Join(err, parent.Close()); err != nil {
		return folder{}, err
	}
	return u.enter(name)
}

// touch notes that the layer under way has made base in f.
func (u *Unpacker) touch(f folder, base string) {
	for name := path.Join(f.name, base); name != "." && !u.touched[name]; name = path.Dir(name) {
		u.touched[name] = true
	}
}

// split returns the folder that name is in and what it is called there.
func split(name string) (dir, base string) {
	dir, base = path.Split(path.Clean("/" + name))
	return strings.Trim(dir, "/"), base
}

// entry makes, or hides, what an entry of a layer says.
func (u *Unpacker) entry(hdr *tar.Header, r io.Reader) (err error) {
	name, err := entryName(hdr.Name)
	if err != nil || name == "" || hdr.Typeflag == tar.TypeXGlobalHeader {
		return err
	}
	dir, base := split(name)
	if strings.HasPrefix(base, whiteout) {
		return u.hide(dir, base)
	}
	f, err := u.make(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if hdr.Typeflag == tar.TypeLink {
		return u.link(f, base, hdr.Linkname)
	}
	if err := u.clear(f, base, hdr.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	u.touch(f, base)
	if hdr.Size < 0 || hdr.Size > u.room {
		return tooLarge()
	}
	u.room -= hdr.Size
	return create(f.at(base), hdr, r)
}

// create makes one entry where nothing is, or only a folder when it is one.
func create(at string, hdr *tar.Header, r io.Reader) error {
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= noID || int64(hdr.Gid) >= noID {
		return thaw.Errorf(thaw.CodeInvalid, "entry %.200q of a layer belongs to %d:%d, which nobody can be", hdr.Name, hdr.Uid, hdr.Gid)
	}
	mode := fs.FileMode(hdr.Mode & 0o777)
	switch hdr.Typeflag {
	case tar.TypeDir:
		if hdr.Mode&unix.S_ISVTX != 0 {
			mode |= fs.ModeSticky
		}
		if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return errors.Join(os.Lchown(at, hdr.Uid, hdr.Gid), os.Chmod(at, mode))
	case tar.TypeReg, tar.TypeGNUSparse:
		return createFile(at, hdr, mode, r)
	case tar.TypeSymlink:
		return errors.Join(os.Symlink(hdr.Linkname, at), os.Lchown(at, hdr.Uid, hdr.Gid))
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil
	}
	return thaw.Errorf(thaw.CodeInvalid, "entry %.200q of a layer is of the unknown type %q", hdr.Name, hdr.Typeflag)
}

// noID is what no user and group can have (chown(2): -1 means unchanged).
const noID = 1<<32 - 1

func createFile(at string, hdr *tar.Header, mode fs.FileMode, r io.Reader) (err error) {
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return errors.Join(f.Chown(hdr.Uid, hdr.Gid), f.Chmod(mode))
}

// link makes a second name of a file, which may be of a layer below.
func (u *Unpacker) link(f folder, base, target string) (err error) {
	name, err := entryName(target)
	if err != nil {
		return err
	}
	dir, last := split(name)
	from, err := u.enter(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if from.name == f.name && last == base {
		return nil
	}
	info, err := os.Lstat(from.at(last))
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("link to the folder %s", name)
	}
	if err := u.clear(f, base, false); err != nil {
		return err
	}
	u.touch(f, base)
	return os.Link(from.at(last), f.at(base))
}

// clear removes what an entry replaces: all but a folder by a folder.
func (u *Unpacker) clear(f folder, base string, folder bool) error {
	info, err := os.Lstat(f.at(base))
	if errors.Is(err, fs.ErrNotExist) || err == nil && folder && info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(f.at(base))
}

// hide applies a whiteout to what the layers below have made. The entries of its
// own layer stay, whether they come before or after it.
func (u *Unpacker) hide(dir, base string) (err error) {
	gone := strings.TrimPrefix(base, whiteout)
	if gone == "" || gone == "." || gone == ".." {
		return thaw.Errorf(thaw.CodeInvalid, "a layer hides %.200q, which is no name", gone)
	}
	f, err := u.enter(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // nothing to hide
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	switch {
	case base == whiteoutOpaque:
		return u.removeBelow(f)
	case strings.HasPrefix(base, whiteoutOwn):
		return nil
	}
	return u.removeLower(f, gone)
}

func (u *Unpacker) removeBelow(f folder) error {
	children, err := os.ReadDir(procPath(f.File))
	for _, c := range children {
		err = errors.Join(err, u.removeLower(f, c.Name()))
	}
	return err
}

// removeLower removes base from f, except for what this layer has made.
func (u *Unpacker) removeLower(f folder, base string) (err error) {
	name := path.Join(f.name, base)
	if !u.touched[name] {
		return os.RemoveAll(f.at(base))
	}
	if info, err := os.Lstat(f.at(base)); err != nil || !info.IsDir() {
		return nil //nolint:nilerr // it stays
	}
	inner, err := u.enter(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inner.Close()) }()
	return u.removeBelow(inner)
}

// MakeFolder makes a folder, in place of anything else of that name in a folder
// that is made if need be. Links on the way to it are followed.
func (u *Unpacker) MakeFolder(name string, mode fs.FileMode) error {
	return u.place(name, true, func(at string) error {
		if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Chmod(at, mode)
	})
}

// MakeFile makes a file of root's that everyone may read, in place of anything
// else of that name.
func (u *Unpacker) MakeFile(name, text string) error {
	return u.place(name, false, func(at string) error {
		return createFile(at, &tar.Header{}, 0o444, strings.NewReader(text))
	})
}

// IsEmpty reports that there is no name, or a file with nothing in it.
func (u *Unpacker) IsEmpty(name string) (bool, error) {
	dir, base := split(name)
	f, err := u.enter(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, blame(err, "%s of the image cannot be looked at", name)
	}
	defer f.Close()
	info, err := os.Lstat(f.at(base))
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0, nil
}

func (u *Unpacker) place(name string, folder bool, make func(at string) error) (err error) {
	dir, base := split(name)
	defer func() { err = blame(err, "%s cannot be made in the image", name) }()
	f, err := u.make(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := u.clear(f, base, folder); err != nil {
		return err
	}
	return make(f.at(base))
}

// EnsureFolder makes a folder unless there is one, also by a link.
func (u *Unpacker) EnsureFolder(name string) error {
	f, err := u.make(strings.Trim(path.Clean("/"+name), "/"))
	if err == nil {
		err = f.Close()
	}
	return blame(err, "%s cannot be made in the image", name)
}
