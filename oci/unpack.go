package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"thaw"
)

// Names in a layer that say what is gone of the layers below (OCI image
// specification, "Whiteouts").
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq" // everything in this folder
	whiteoutOwn    = ".wh..wh."     // what AUFS keeps for itself
)

// The lengths that Linux allows a path and one name in it (limits.h, PATH_MAX and
// NAME_MAX).
const (
	maxPathLen = 4095
	maxPart    = 255
)

// Unpacker applies layers, the lowest first, to a folder that is its own. Owners
// and permissions are kept, set-user-id bits and extended attributes are not, and
// devices and named pipes are left out: guests have no use for them. It runs as
// root, and for one goroutine.
type Unpacker struct {
	root    *os.File
	path    string          // of root, without links
	touched map[string]bool // what the layer under way has made
	entries int
	left    int64 // bytes that layers may still have
	room    int64 // bytes that files may still have, with holes
}

// NewUnpacker returns an Unpacker for the empty folder dir. Close it.
func NewUnpacker(dir string) (*Unpacker, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder for layers: %w", err)
	}
	u := &Unpacker{root: os.NewFile(uintptr(fd), dir), touched: map[string]bool{}, left: MaxBytes, room: MaxBytes}
	if u.path, err = os.Readlink(procPath(u.root)); err != nil {
		return nil, errors.Join(fmt.Errorf("find folder for layers: %w", err), u.root.Close())
	}
	return u, nil
}

// Close ends the use of the folder.
func (u *Unpacker) Close() error { return u.root.Close() }

// Apply unpacks a layer, which may be compressed with gzip or zstd. A layer that
// is not what diffID says, is damaged or goes where it must not is a
// [thaw.CodeInvalid] error, one that goes over the limits a [thaw.CodeTooLarge]
// one. After an error the folder is of no use.
func (u *Unpacker) Apply(ctx context.Context, layer io.Reader, diffID v1.Hash) error {
	u.touched = map[string]bool{}
	got, err := u.apply(ctx, layer)
	if err != nil {
		return blame(err, "layer %s of the image cannot be unpacked", diffID)
	}
	if diffID.Algorithm != "sha256" || got != diffID.Hex {
		return thaw.Errorf(thaw.CodeInvalid, "a layer of the image is damaged: it holds sha256:%s, not %s", got, diffID)
	}
	return nil
}

// apply unpacks a layer and returns the digest of what it held.
func (u *Unpacker) apply(ctx context.Context, layer io.Reader) (digest string, err error) {
	r, err := decompress(layer)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sum := sha256.New()
	tee := io.TeeReader(&limited{ctx, r, &u.left}, sum)
	if err := u.each(tar.NewReader(tee)); err != nil {
		return "", err
	}
	// What follows the end of the archive is a part of it, too.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (u *Unpacker) each(tr *tar.Reader) error {
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if u.entries++; u.entries > MaxEntries {
			return thaw.Errorf(thaw.CodeTooLarge, "the image has more than %d files, folders and links", MaxEntries)
		}
		if err := u.entry(hdr, tr); err != nil {
			return blame(err, "entry %.200q of a layer cannot be made", hdr.Name)
		}
	}
}

// decompress undoes what the first bytes show, whatever the layer is called.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// limited reads so many bytes, while ctx lasts.
type limited struct {
	ctx  context.Context //nolint:containedctx // of the one call that reads
	from io.Reader
	left *int64
}

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.from.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return 0, tooLarge()
	}
	return n, err
}

// blame says that the image is at fault for err, unless the machine is, or err
// says by itself what is wrong.
func blame(err error, format string, args ...any) error {
	for _, own := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EROFS, unix.EPERM, unix.EACCES, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, own) {
			return err
		}
	}
	if err == nil || thaw.CodeOf(err) != thaw.CodeInternal {
		return err
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s: %w", fmt.Sprintf(format, args...), err)
}

// entryName returns the cleaned name of an entry: relative to the folder, and ""
// for the folder itself.
func entryName(name string) (string, error) {
	if len(name) > maxPathLen || strings.ContainsRune(name, 0) {
		return "", thaw.Errorf(thaw.CodeInvalid, "a layer names %.200q, which is no name", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || len(part) > maxPart {
			return "", thaw.Errorf(thaw.CodeInvalid, "a layer names %.200q, which is not allowed", name)
		}
	}
	clean := path.Clean("/" + name)[1:]
	if clean != "" && !filepath.IsLocal(clean) {
		return "", thaw.Errorf(thaw.CodeInvalid, "a layer names %.200q, which is not allowed", name)
	}
	return clean, nil
}

// procPath is a path to what f is open on, whatever it is called meanwhile
// (proc_pid_fd(5)).
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
