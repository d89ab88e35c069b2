package oci

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"thaw"
)

// The kinds of image that are on a disk, as a reference begins.
const (
	kindLayout  = "oci"
	kindArchive = "oci-archive"
	kindDocker  = "docker-archive"
)

// Local is an image on a disk. Close it after its last use.
type Local struct {
	*Image
	io.Closer
}

// IsLocal reports whether a reference names an image on a disk and not one in a
// registry: oci:FOLDER[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME],
// or a path that begins with / or . or ends with .tar.
func IsLocal(ref string) bool {
	kind, _, _ := parseLocal(ref)
	return kind != ""
}

// parseLocal takes a reference to an image on a disk apart. The kind of a plain
// path is "path", that of a reference to a registry "".
func parseLocal(ref string) (kind, file, tag string) {
	kind, rest, ok := strings.Cut(ref, ":")
	switch {
	case ok && (kind == kindLayout || kind == kindArchive || kind == kindDocker):
		file, tag, _ = strings.Cut(rest, ":")
		return kind, file, tag
	case strings.HasPrefix(ref, "/"), strings.HasPrefix(ref, "./"), strings.HasPrefix(ref, "../"), ref == ".", ref == "..":
		file, tag, _ = strings.Cut(ref, ":")
		return "path", file, tag
	case strings.HasSuffix(ref, ".tar"):
		return "path", ref, ""
	}
	return "", "", ""
}

// OpenLocal finds the image for this platform on a disk, see [IsLocal].
func OpenLocal(ctx context.Context, ref string) (*Local, error) {
	kind, file, tag := parseLocal(ref)
	if kind == "path" {
		var err error
		if kind, err = detect(file); err != nil {
			return nil, err
		}
	}
	switch kind {
	case kindLayout:
		im, err := OpenLayout(ctx, os.DirFS(file), tag)
		return local(im, nopCloser{}, err)
	case kindArchive:
		t, err := openTar(file)
		if err != nil {
			return nil, err
		}
		im, err := OpenLayout(ctx, t, tag)
		return local(im, t, err)
	case kindDocker:
		im, err := openDocker(ctx, file, tag)
		return local(im, nopCloser{}, err)
	}
	return nil, thaw.Errorf(thaw.CodeInvalid, "%.200q names no image on a disk", ref)
}

func local(im *Image, c io.Closer, err error) (*Local, error) {
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Local{im, c}, nil
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// detect tells what is at a path.
func detect(file string) (kind string, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "cannot open the image: %w", err)
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(file, layoutFile)); err != nil {
			return "", thaw.Errorf(thaw.CodeInvalid, "%s is no OCI image layout: there is no file %s in it", file, layoutFile)
		}
		return kindLayout, nil
	}
	t, err := openTar(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, k := range []struct{ has, kind string }{{layoutFile, kindArchive}, {"manifest.json", kindDocker}} {
		if f, err := t.Open(k.has); err == nil {
			return k.kind, f.Close()
		}
	}
	return "", thaw.Errorf(thaw.CodeInvalid, "%s holds no image: give what `docker save` writes, or an OCI image layout as a tar file", file)
}

var _ fs.FS = (*tarFile)(nil)

// From is ref as it is from elsewhere when it was written in the folder dir: a path
// in it that is not absolute is one from there.
func From(dir, ref string) string {
	kind, file, _ := parseLocal(ref)
	if kind == "" || filepath.IsAbs(file) {
		return ref
	}
	prefix := ""
	if kind != "path" {
		prefix = kind + ":"
	}
	whole := filepath.Join(dir, file)
	if prefix == "" && !filepath.IsAbs(whole) && !strings.HasPrefix(whole, "..") {
		whole = "./" + whole // or it could be a name in a registry
	}
	return prefix + whole + strings.TrimPrefix(ref, prefix+file)
}
