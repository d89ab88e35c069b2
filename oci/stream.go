package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"thaw"
)

const (
	// MaxUpload bounds a stream in bytes: layers may be stored as they are unpacked.
	MaxUpload = MaxBytes + maxFiles*(4<<10) + 4*maxDocument
	// maxFiles bounds what is in a stream: layers, descriptions, and what is passed
	// over.
	maxFiles = 4 * MaxLayers
)

// Write writes the image as a tar stream of an image layout, descriptions first,
// for [Receive].
func (im *Image) Write(ctx context.Context, w io.Writer) error {
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{im.manifest.Descriptor}})
	if err != nil {
		return fmt.Errorf("write an index: %w", err)
	}
	tw := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		raw  []byte
	}{
		{layoutFile, []byte(layoutText)},
		{indexFile, index},
		{BlobPath(im.manifest.Descriptor), im.manifest.raw},
		{BlobPath(im.config.Descriptor), im.config.raw},
	} {
		err := tw.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.raw))})
		if err == nil {
			_, err = tw.Write(f.raw)
		}
		if err != nil {
			return fmt.Errorf("send the image: %w", err)
		}
	}
	for _, l := range distinct(im.Layers) {
		if err := im.writeLayer(ctx, tw, l); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("send the image: %w", err)
	}
	return nil
}

func (im *Image) writeLayer(ctx context.Context, tw *tar.Writer, l v1.Descriptor) (err error) {
	r, err := im.Open(ctx, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := tw.WriteHeader(&tar.Header{Name: BlobPath(l), Mode: 0o644, Size: l.Size}); err != nil {
		return fmt.Errorf("send the image: %w", err)
	}
	if _, err := io.Copy(tw, r); err != nil {
		return fmt.Errorf("send the image: %w", err)
	}
	return nil
}

// blobRule is the name of a blob in a stream.
var blobRule = regexp.MustCompile(`^` + blobFolder + `/([0-9a-f]{64})$`)

// Receive stores a tar stream of an image layout, in any order, in the folder dir
// and finds the image for this platform in it. Blobs are checked as they come.
// What does not belong to a layout is passed over.
func Receive(ctx context.Context, stream io.Reader, dir string) (*Image, error) {
	if err := os.MkdirAll(filepath.Join(dir, blobFolder), 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the image: %w", err)
	}
	left := int64(MaxUpload)
	tr := tar.NewReader(&limited{ctx, stream, &left})
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return OpenLayout(ctx, os.DirFS(dir), "")
		}
		if err == nil && n >= maxFiles {
			err = thaw.Errorf(thaw.CodeTooLarge, "the upload has more than %d files: an image layout has one for each layer, and a few", maxFiles)
		}
		if err == nil && hdr.Typeflag == tar.TypeReg {
			err = receive(dir, hdr, tr)
		}
		if err != nil {
			return nil, blame(err, "the upload is no tar stream of an OCI image layout")
		}
	}
}

func receive(dir string, hdr *tar.Header, r io.Reader) (err error) {
	name := path.Clean(hdr.Name)
	blob := blobRule.FindStringSubmatch(name)
	if blob == nil && (name != indexFile || hdr.Size > maxDocument) {
		return nil
	}
	if blob != nil {
		r = verify(io.NopCloser(r), v1.Descriptor{Size: hdr.Size, Digest: v1.Hash{Algorithm: "sha256", Hex: blob[1]}})
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return thaw.Errorf(thaw.CodeInvalid, "the upload has %s twice", name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, r)
	return err
}
