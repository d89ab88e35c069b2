// Package oci reads OCI and Docker images: from a registry, from an image layout
// in a folder or a tar file, from what `docker save` writes. It picks the image
// for linux/amd64, checks everything against its digest, tells how the image
// wants to be run, and unpacks its layers into a folder.
//
// Nothing in an image is trusted. Lengths are bounded, what a layer names stays
// below the folder, and a layer that is not what its digest says is an error
// before anybody uses what came of it.
//
// The formats are those of the OCI image specification, version 1.1
// (https://github.com/opencontainers/image-spec), and of Docker's image
// manifest, version 2, schema 2, which differs in the names of media types.
package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"thaw"
)

// The limits of an image.
const (
	// MaxBytes is the size of all layers together, unpacked: 10 GiB, as AWS Lambda
	// has it for an image (Lambda quotas, "Container image code package size").
	MaxBytes = 10 << 30
	// MaxEntries bounds the files, folders and links of all layers together.
	MaxEntries = 500_000
	// MaxLayers bounds the layers. Docker makes at most 127.
	MaxLayers = 256
	// maxDocument bounds a manifest, an index and a configuration: 4 MiB, what
	// registries must accept (OCI distribution specification, "Pushing Manifests").
	maxDocument = 4 << 20
)

// Image is an image of one platform somewhere. Its manifest and configuration
// have been read, its layers not yet.
type Image struct {
	// Digest is that of the manifest.
	Digest v1.Hash
	// Layers are the layers as they are stored, lowest first.
	Layers []v1.Descriptor
	// Config says what is in the image and how it is run.
	Config v1.ConfigFile

	manifest, config document
	from             source
}

// document is a piece of JSON and where it stands.
type document struct {
	v1.Descriptor
	raw []byte
}

// source is where blobs come from. What it returns has not been checked.
type source interface {
	// manifest opens a manifest or an index.
	manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	// blob opens a configuration or a layer.
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// load reads the image whose manifest has been found.
func load(ctx context.Context, from source, manifest document) (*Image, error) {
	m, err := v1.ParseManifest(bytes.NewReader(manifest.raw))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the manifest of the image cannot be read: %w", err)
	}
	if err := checkManifest(m); err != nil {
		return nil, err
	}
	config, err := readDocument(m.Config, func() (io.ReadCloser, error) { return from.blob(ctx, m.Config) })
	if err != nil {
		return nil, err
	}
	im := &Image{Digest: manifest.Digest, Layers: m.Layers, manifest: manifest, config: config, from: from}
	if err := json.Unmarshal(config.raw, &im.Config); err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the configuration of the image cannot be read: %w", err)
	}
	return im, im.check()
}

// checkManifest refuses what only looks like an image.
func checkManifest(m *v1.Manifest) error {
	if !m.Config.MediaType.IsConfig() {
		return thaw.Errorf(thaw.CodeInvalid, "it is no image that can be run but holds %.100q", m.Config.MediaType)
	}
	if len(m.Layers) > MaxLayers {
		return thaw.Errorf(thaw.CodeTooLarge, "the image has %d layers: at most %d are accepted", len(m.Layers), MaxLayers)
	}
	for _, l := range m.Layers {
		if !l.MediaType.IsLayer() || !l.MediaType.IsDistributable() {
			return thaw.Errorf(thaw.CodeInvalid, "layer %s of the image is %.100q, which is not understood", l.Digest, l.MediaType)
		}
		if err := checkDigest(l); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) check() error {
	if p := im.Config.Platform(); p == nil || !isOurs(*p) {
		return wrongPlatform([]v1.Platform{{OS: im.Config.OS, Architecture: im.Config.Architecture}})
	}
	if len(im.Config.RootFS.DiffIDs) != len(im.Layers) {
		return thaw.Errorf(thaw.CodeInvalid, "the image is broken: it has %d layers and its configuration says %d", len(im.Layers), len(im.Config.RootFS.DiffIDs))
	}
	if im.Bytes() > MaxBytes {
		return tooLarge()
	}
	return nil
}

// Bytes is the size of all layers as they are stored.
func (im *Image) Bytes() (n int64) {
	for _, l := range im.Layers {
		if l.Size < 0 || l.Size > MaxBytes {
			return MaxBytes + 1
		}
		n += l.Size
	}
	return n
}

func tooLarge() error {
	return thaw.Errorf(thaw.CodeTooLarge, "the image is larger than %d GiB: leave out what the function does not need", MaxBytes>>30)
}

// Open opens a layer. Reading it to its end gives an error unless it is what its
// digest says.
func (im *Image) Open(ctx context.Context, layer v1.Descriptor) (io.ReadCloser, error) {
	r, err := im.from.blob(ctx, layer)
	if err != nil {
		return nil, err
	}
	return verify(r, layer), nil
}

// readDocument reads a small blob and checks it.
func readDocument(d v1.Descriptor, open func() (io.ReadCloser, error)) (document, error) {
	if d.Size < 0 || d.Size > maxDocument {
		return document{}, thaw.Errorf(thaw.CodeTooLarge, "a description in the image has %d bytes: at most %d are accepted", d.Size, maxDocument)
	}
	if err := checkDigest(d); err != nil {
		return document{}, err
	}
	r, err := open()
	if err != nil {
		return document{}, err
	}
	raw, err := io.ReadAll(verify(r, d))
	return document{d, raw}, errors.Join(err, r.Close())
}

// describe returns the document that raw is.
func describe(kind types.MediaType, raw []byte) document {
	sum := sha256.Sum256(raw)
	return document{v1.Descriptor{MediaType: kind, Size: int64(len(raw)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}, raw}
}

// verified reads a blob and gives an error in place of its end unless size and
// digest are right, and as soon as it is longer.
type verified struct {
	io.ReadCloser
	want v1.Descriptor
	sum  hash.Hash
	left int64
}

func verify(r io.ReadCloser, want v1.Descriptor) io.ReadCloser {
	return &verified{ReadCloser: r, want: want, sum: sha256.New(), left: want.Size}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.sum.Write(p[:n])
	v.left -= int64(n)
	switch {
	case v.left < 0:
		return 0, v.damaged(fmt.Sprintf("it is longer than %d bytes", v.want.Size))
	case err == nil:
		return n, nil
	case v.left == 0: // whatever else there is to say of it
		if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.want.Digest.Hex {
			return n, v.damaged("its content is sha256:" + got)
		}
	case errors.Is(err, io.EOF):
		return n, v.damaged(fmt.Sprintf("%d of %d bytes are missing", v.left, v.want.Size))
	}
	return n, err
}

func (v *verified) damaged(how string) error {
	return thaw.Errorf(thaw.CodeInvalid, "blob %s of the image is damaged: %s: push or save the image again", v.want.Digest, how)
}
