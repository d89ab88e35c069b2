package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"thaw"
)

// The files of an image layout (OCI image specification, "Image Layout").
const (
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	indexFile  = "index.json"
	blobFolder = "blobs/sha256"
)

// layout is an image layout as a source.
type layout struct{ files fs.FS }

// BlobPath is where a layout has a blob.
func BlobPath(d v1.Descriptor) string { return blobFolder + "/" + d.Digest.Hex }

// OpenLayout finds the image for this platform in an image layout: the one called
// tag, or the only one when tag is empty. Files is used for as long as the image.
func OpenLayout(ctx context.Context, files fs.FS, tag string) (*Image, error) {
	raw, err := readSmall(files, indexFile)
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s of the layout cannot be read: %w", indexFile, err)
	}
	list := index.Manifests
	if tag != "" {
		if list, err = tagged(list, tag); err != nil {
			return nil, err
		}
	}
	from := layout{files}
	d, err := pick(list)
	if err != nil {
		return nil, err
	}
	doc, err := readDocument(d, func() (io.ReadCloser, error) { return from.manifest(ctx, d) })
	if err != nil {
		return nil, err
	}
	return resolve(ctx, from, doc)
}

func readSmall(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "it is no OCI image layout: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(raw) > maxDocument {
		return nil, thaw.Errorf(thaw.CodeTooLarge, "%s has more than %d bytes", name, maxDocument)
	}
	return raw, nil
}

func (l layout) manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return l.blob(ctx, d)
}

func (l layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := l.files.Open(BlobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the image is not whole: blob %s is missing", d.Digest)
	}
	return f, err
}

// checkDigest accepts what this package can verify.
func checkDigest(d v1.Descriptor) error {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 2*sha256.Size {
		return thaw.Errorf(thaw.CodeInvalid, "digest %.100q of the image is not a SHA-256", d.Digest.String())
	}
	return nil
}
