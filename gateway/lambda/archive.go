package lambda

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"thaw"
)

// The limits of an archive.
const (
	// MaxArchive is its length in bytes: 50 MB, Lambda's limit for one that is
	// uploaded with the request (Lambda quotas, "Deployment package size").
	MaxArchive = 50 << 20
	// maxLink is the longest target of a link that Linux allows (limits.h,
	// PATH_MAX).
	maxLink = 4095
)

// Limits bound what an archive unpacks to.
type Limits struct {
	// Bytes is the length of all files together, Entries how many files, folders
	// and links there may be.
	Bytes   int64
	Entries int
}

// Unpack writes the files of a zip archive as a tar stream to w. Nothing in the
// archive is trusted: what cannot be read, or would be too much, is an error with a
// code that names the entry. Whether names and links stay below the root is for
// the reader of the stream to say, as of any other code.
func Unpack(ctx context.Context, archive []byte, limits Limits, w io.Writer) error {
	entries, err := list(archive, limits)
	if err != nil {
		return err
	}
	left := limits.Bytes
	out := tar.NewWriter(w)
	for _, e := range entries {
		if err := errors.Join(ctx.Err(), write(out, e, &left)); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the code: %w", err)
	}
	return nil
}

// Check reads all of an archive and writes nothing.
func Check(ctx context.Context, archive []byte, limits Limits) error {
	return Unpack(ctx, archive, limits, io.Discard)
}

// list reads the directory of an archive. What that would occupy in memory is bounded
// before it is read: each entry begins with a signature.
func list(archive []byte, limits Limits) ([]*zip.File, error) {
	const signature = "PK\x01\x02"
	if bytes.Count(archive, []byte(signature)) > 8*limits.Entries { // files may hold it, too
		return nil, tooMany(limits)
	}
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the code is not a zip archive that can be read: %w", err)
	}
	if len(r.File) > limits.Entries {
		return nil, tooMany(limits)
	}
	return r.File, nil
}

func tooMany(limits Limits) error {
	return thaw.Errorf(thaw.CodeTooLarge, "the archive has more than %d files and folders: leave out what the function does not need", limits.Entries)
}

// write copies one entry; left is how many bytes may still come.
func write(out *tar.Writer, e *zip.File, left *int64) error {
	const encrypted = 1 // the lowest flag (APPNOTE.TXT, 4.4.4)
	if e.Flags&encrypted != 0 {
		return thaw.Errorf(thaw.CodeInvalid, "archive entry %.200q is encrypted: make the archive without a password", e.Name)
	}
	mode := e.Mode()
	switch {
	case strings.HasSuffix(e.Name, "/"):
		return failed(e, out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: e.Name, Mode: 0o755, Format: tar.FormatPAX}))
	case mode.Type() == fs.ModeSymlink:
		return failed(e, writeLink(out, e))
	case !mode.IsRegular():
		return thaw.Errorf(thaw.CodeInvalid, "archive entry %.200q is neither a file nor a folder nor a link", e.Name)
	}
	if e.UncompressedSize64 > uint64(*left) {
		return thaw.Errorf(thaw.CodeTooLarge, "the code is too large with %.200q: leave out what the function does not need", e.Name)
	}
	*left -= int64(e.UncompressedSize64)
	return failed(e, writeFile(out, e))
}

func writeLink(out *tar.Writer, e *zip.File) error {
	target, err := read(e, maxLink)
	if err != nil {
		return err
	}
	return out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: e.Name, Linkname: string(target), Mode: 0o777, Format: tar.FormatPAX})
}

func read(e *zip.File, most int64) (content []byte, err error) {
	if e.UncompressedSize64 > uint64(most) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "its target is longer than %d bytes", most)
	}
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, most))
}

// writeFile copies as many bytes as the directory says; the reader itself
// compares that with what there is, and its checksum.
func writeFile(out *tar.Writer, e *zip.File) (err error) {
	mode := int64(0o644)
	if e.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.Name, Mode: mode, Size: int64(e.UncompressedSize64), Format: tar.FormatPAX}); err != nil {
		return err
	}
	f, err := e.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(out, f)
	if err == nil && n != int64(e.UncompressedSize64) {
		err = zip.ErrFormat
	}
	return err
}

// failed blames the entry for what is wrong with it.
func failed(e *zip.File, err error) error {
	switch {
	case err == nil || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, context.Canceled):
		return err // whoever reads the stream has said why
	case thaw.CodeOf(err) == thaw.CodeInternal || thaw.CodeOf(err) == thaw.CodeInvalid:
		return thaw.Errorf(thaw.CodeInvalid, "archive entry %.200q cannot be read: %w", e.Name, err)
	}
	return err
}
