package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"thaw"
)

// The limits of a function's code.
const (
	// MaxCodeBytes is the size of all files together: 250 MiB, AWS Lambda's
	// limit for an unzipped deployment package (Lambda quotas, "Deployment
	// package size").
	MaxCodeBytes = 250 << 20
	// MaxCodeEntries bounds files, folders and links together.
	MaxCodeEntries = 20_000
	// MaxUpload bounds the tar stream: the files and what tar adds to each.
	MaxUpload = MaxCodeBytes + MaxCodeEntries*4<<10
	// maxPathLen and maxPart are the lengths that Linux allows a path and one
	// name in it (limits.h, PATH_MAX and NAME_MAX).
	maxPathLen = 4095
	maxPart    = 255
)

// Code makes the code disk of a function from a tar stream, as [Pack] writes
// it, after checking with [CheckHandler] that it fits the settings. Nothing in
// the stream is trusted: what does not belong in it gives a [thaw.CodeInvalid]
// error that names the entry, what is too big a [thaw.CodeTooLarge] one. What the code
// asks for in requirements.txt or package.json is installed beside it, for which it must
// be possible to build images; the lines of pip and npm go to progress. The key
// depends on names, executable bits, link targets and contents only, so the
// same folder always gives the same disk.
func (s *Store) Code(ctx context.Context, tarball io.Reader, settings thaw.Settings, progress Progress) (d Disk, err error) {
	tool, err := s.erofsVersion(ctx)
	if err != nil {
		return d, err
	}
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return d, diskError("make upload folder", err)
	}
	defer func() { err = errors.Join(err, s.discard(tmp)) }()
	dir := filepath.Join(tmp, "code")
	listing, err := s.receive(ctx, dir, tarball, settings, progress.serial())
	if err != nil {
		return d, diskError("read code", err)
	}
	ckey := key(formatVersion, kindCode, tool, listing)
	name := filepath.Base(s.path(kindCode, ckey))
	file, err := s.build(ctx, name, nil, func(ctx context.Context, out string) (string, error) {
		return makeErofs(ctx, dir, filepath.Join(out, "disk"), allRoot)
	})
	if err != nil {
		return d, err
	}
	return diskOf(ckey, file)
}

// receive unpacks the stream into the new folder dir, checks it, adds what it asks
// for and returns the hash of what is there.
func (s *Store) receive(ctx context.Context, dir string, r io.Reader, settings thaw.Settings, progress Progress) (listing string, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := &unpacker{root: root}
	if err := u.unpack(ctx, r); err != nil {
		return "", err
	}
	if err := CheckHandler(root.FS(), settings); err != nil {
		return "", err
	}
	if err := s.addDependencies(ctx, u, settings, progress); err != nil {
		return "", err
	}
	return hashTree(ctx, root)
}

// unpacker writes the entries of a tar stream below a root.
type unpacker struct {
	root    *os.Root
	entries int
	bytes   int64
}

// unpack writes the entries of one stream; the limits are for all streams together.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) error {
	in := &io.LimitedReader{R: r, N: MaxUpload + 1}
	tr := tar.NewReader(in)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = u.entry(ctx, hdr, tr)
		}
		if in.N <= 0 {
			return thaw.Errorf(thaw.CodeTooLarge, "the upload is larger than %s: leave out what the function does not need", megabytes(MaxUpload))
		}
		if err != nil {
			return streamError(err)
		}
	}
}

// streamError gives errors of the stream itself a code; others keep theirs.
func streamError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return thaw.Errorf(thaw.CodeInvalid, "the upload is not a whole tar stream: %w", err)
	}
	return err
}

func (u *unpacker) entry(ctx context.Context, hdr *tar.Header, r io.Reader) error {
	name, err := entryName(hdr.Name)
	if err != nil {
		return err
	}
	if u.entries++; u.entries > MaxCodeEntries {
		return thaw.Errorf(thaw.CodeTooLarge, "the code has more than %d files and folders", MaxCodeEntries)
	}
	if name == "." {
		return nil
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return u.tell(name, u.root.MkdirAll(name, 0o755))
	case tar.TypeReg:
		return u.file(ctx, name, hdr, r)
	case tar.TypeSymlink:
		return u.link(name, hdr.Linkname)
	case tar.TypeXGlobalHeader:
		return nil // pax(1) comments, such as the commit git archive writes
	}
	return thaw.Errorf(thaw.CodeInvalid, "code entry %q is %s: only files, folders and symbolic links are allowed", name, typeName(hdr.Typeflag))
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	}
	return fmt.Sprintf("of the unknown type %q", flag)
}

// entryName returns the cleaned name of an entry, which stays below the root.
func entryName(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || len(name) > maxPathLen || strings.ContainsRune(name, 0) || !filepath.IsLocal(clean) {
		return "", thaw.Errorf(thaw.CodeInvalid, "code entry %.200q has a name that is not allowed: use paths relative to the code folder", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", thaw.Errorf(thaw.CodeInvalid, "code entry %.200q goes up with ..: use paths relative to the code folder", name)
		}
		if len(part) > maxPart {
			return "", thaw.Errorf(thaw.CodeInvalid, "code entry %.200q has a name of more than %d bytes", name, maxPart)
		}
	}
	return clean, nil
}

func (u *unpacker) file(ctx context.Context, name string, hdr *tar.Header, r io.Reader) (err error) {
	if hdr.Size < 0 || hdr.Size > MaxCodeBytes-u.bytes {
		return thaw.Errorf(thaw.CodeTooLarge, "the code is larger than %d MiB with %q: leave out what the function does not need", MaxCodeBytes>>20, name)
	}
	u.bytes += hdr.Size
	if err := u.parent(name); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if hdr.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return u.tell(name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return err
	}
	_, err = io.Copy(f, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
	return err
}

// readerFunc is a function that reads.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// link makes a symbolic link that stays in the code folder. The host never
// follows one except through [os.Root].
func (u *unpacker) link(name, target string) error {
	inside := filepath.IsLocal(path.Join(path.Dir(name), target))
	if target == "" || len(target) > maxPathLen || path.IsAbs(target) || strings.ContainsRune(target, 0) || !inside {
		return thaw.Errorf(thaw.CodeInvalid, "code entry %q is a link to %.200q, out of the code folder: copy the file instead", name, target)
	}
	if err := u.parent(name); err != nil {
		return err
	}
	return u.tell(name, u.root.Symlink(target, name))
}

func (u *unpacker) parent(name string) error {
	err := u.root.MkdirAll(path.Dir(name), 0o755)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
		return thaw.Errorf(thaw.CodeInvalid, "code entry %q cannot be made: it is below a file", name)
	}
	return u.tell(name, err)
}

// tell blames the entry for an error that comes from what it says.
func (u *unpacker) tell(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EMFILE):
		return err
	case errors.Is(err, fs.ErrExist):
		return thaw.Errorf(thaw.CodeInvalid, "code entry %q is there twice", name)
	}
	return thaw.Errorf(thaw.CodeInvalid, "code entry %q cannot be made: %w", name, err)
}

// hashTree hashes the sorted list of everything below root.
func hashTree(ctx context.Context, root *os.Root) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		kind, content, err := describe(root, name, d)
		if err != nil {
			return err
		}
		for _, part := range []string{name, kind, content} {
			hashPart(h, []byte(part))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("hash code: %w", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// describe returns what matters about one entry: what it is, and its content.
func describe(root *os.Root, name string, d fs.DirEntry) (kind, content string, err error) {
	switch d.Type() {
	case fs.ModeDir:
		return "folder", "", nil
	case fs.ModeSymlink:
		target, err := root.Readlink(name)
		return "link", target, err
	}
	f, err := root.Open(name)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	kind = "file"
	if info.Mode()&0o111 != 0 {
		kind = "executable"
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return kind, string(h.Sum(nil)), err
}
