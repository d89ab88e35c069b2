package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"thaw"
)

// tarFile is the regular files of a tar file, by name. They may be read at the
// same time.
type tarFile struct {
	*os.File
	at map[string]span
}

type span struct {
	header    *tar.Header
	from, len int64
}

// openTar lists a tar file.
func openTar(file string) (_ *tarFile, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "cannot open the image: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	t := &tarFile{f, map[string]span{}}
	for r := tar.NewReader(f); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "%s is no tar file: give what `docker save` writes, or an OCI image layout as a tar file, not compressed: %w", file, err)
		}
		// The reader takes no more than the header: what follows is the content.
		from, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", file, err)
		}
		if hdr.Typeflag == tar.TypeReg {
			t.at[path.Clean(hdr.Name)] = span{hdr, from, hdr.Size}
		}
	}
}

// Open implements [fs.FS].
func (t *tarFile) Open(name string) (fs.File, error) {
	s, ok := t.at[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return member{io.NewSectionReader(t.File, s.from, s.len), s.header}, nil
}

// member is an open file in a tar file.
type member struct {
	*io.SectionReader
	header *tar.Header
}

func (m member) Stat() (fs.FileInfo, error) { return m.header.FileInfo(), nil }
func (member) Close() error                 { return nil }

// docker is what `docker save` wrote, as a source: its layers become bare tar
// streams, whose digests its configuration has.
type docker struct {
	config []byte
	layers map[v1.Hash]v1.Layer
}

// openDocker finds the image called tag, or the only one, in what `docker save`
// wrote. A manifest is made for it.
func openDocker(ctx context.Context, file, tag string) (*Image, error) {
	wanted, err := dockerTag(tag)
	if err != nil {
		return nil, err
	}
	found, err := tarball.ImageFromPath(file, wanted)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s: %w", file, err)
	}
	from := docker{layers: map[v1.Hash]v1.Layer{}}
	if from.config, err = found.RawConfigFile(); err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s: %w", file, err)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: describe(types.OCIConfigJSON, from.config).Descriptor}
	layers, err := found.Layers()
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s: %w", file, err)
	}
	for _, l := range layers {
		d, err := measure(ctx, l)
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "%s: read a layer: %w", file, err)
		}
		m.Layers, from.layers[d.Digest] = append(m.Layers, d), l
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write a manifest: %w", err)
	}
	return load(ctx, from, describe(types.OCIManifestSchema1, raw))
}

func dockerTag(tag string) (*name.Tag, error) {
	if tag == "" {
		return nil, nil
	}
	t, err := name.NewTag(tag)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "image name %.100q is not valid: %w", tag, err)
	}
	return &t, nil
}

// measure reads a layer once to say what it is as a bare tar stream.
func measure(ctx context.Context, l v1.Layer) (v1.Descriptor, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return v1.Descriptor{}, err
	}
	left, sum := int64(MaxBytes), sha256.New()
	n, err := io.Copy(sum, &limited{ctx, r, &left})
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: n, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}}
	return d, errors.Join(err, r.Close())
}

func (d docker) manifest(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return nil, fmt.Errorf("an index in a Docker archive") // the manifest is ours
}

func (d docker) blob(_ context.Context, want v1.Descriptor) (io.ReadCloser, error) {
	if l, ok := d.layers[want.Digest]; ok {
		return l.Uncompressed()
	}
	return io.NopCloser(bytes.NewReader(d.config)), nil
}
