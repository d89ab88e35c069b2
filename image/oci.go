package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/oci"
)

// pulls is how many layers are pulled at the same time, as many as Docker does.
const pulls = 3

// Container is an OCI image that has been found: which one it is and how it wants
// to be run. Close it.
type Container struct {
	thaw.Container
	store *Store
	image *oci.Image
	tmp   string
	// uploaded is the folder that the image came into, "" for one in a registry.
	uploaded string
}

// OpenContainer finds the OCI image that want names in its registry, or takes it out
// of code, a tar stream of an image layout as [oci.Image.Write] writes it. Nothing in
// the image is trusted, see package oci, whose errors it returns.
func (s *Store) OpenContainer(ctx context.Context, code io.Reader, want thaw.ContainerImage, progress Progress) (_ *Container, err error) {
	c := &Container{store: s}
	if c.tmp, err = os.MkdirTemp(s.dir, tmpPrefix); err != nil {
		return nil, diskError("make folder for an image", err)
	}
	if err := c.find(ctx, code, want, progress.serial()); err != nil {
		return nil, errors.Join(diskError("read the image", err), c.Close())
	}
	return c, nil
}

// Close removes what has been uploaded, except for the layers that have been used.
func (c *Container) Close() error { return c.store.discard(c.tmp) }

func (c *Container) find(ctx context.Context, code io.Reader, want thaw.ContainerImage, progress Progress) (err error) {
	if want.Uploaded {
		progress.say("image: receiving %s", want.Reference)
		c.uploaded = filepath.Join(c.tmp, "upload")
		c.image, err = oci.Receive(ctx, code, c.uploaded)
	} else {
		c.image, err = pullFrom(ctx, want, progress)
	}
	if err == nil {
		c.Container, err = c.image.Container(want)
	}
	return err
}

func pullFrom(ctx context.Context, want thaw.ContainerImage, progress Progress) (*oci.Image, error) {
	ref, err := oci.ParseRemote(want.Reference, want.Insecure)
	if err != nil {
		return nil, err
	}
	progress.say("image: asking %s for %s", ref.Context().RegistryStr(), ref)
	return oci.Remote(ctx, ref)
}

// Base returns what the function boots from, and makes what is missing: the root disk
// is what the image's layers have. Layers are kept, so that what other images share
// with it is not pulled again, until [Store.Prune] removes them with the last version
// that has them.
func (c *Container) Base(ctx context.Context, progress Progress) (Base, error) {
	progress = progress.serial()
	return c.store.base(ctx, progress, func() (Disk, error) { return c.unpacked(ctx, progress) })
}

// SameRoot returns what a function boots from whose root disk is there by its key.
func (s *Store) SameRoot(ctx context.Context, root string, progress Progress) (Base, error) {
	return s.base(ctx, progress.serial(), func() (Disk, error) {
		d, err := diskOf(root, s.path(kindRoot, root))
		if err != nil {
			return d, thaw.Errorf(thaw.CodeUnavailable, "the root disk is gone: deploy the image again: %w", err)
		}
		return d, nil
	})
}

// unpacked returns the root disk that has what the layers of an image have, and
// the folder that its command starts in. It does not depend on what else the image
// says, nor on how its layers were compressed.
func (c *Container) unpacked(ctx context.Context, progress Progress) (Disk, error) {
	s := c.store
	tool, err := s.erofsVersion(ctx)
	if err != nil {
		return Disk{}, err
	}
	parts := []string{formatVersion, kindRoot, "oci", tool, fmt.Sprint(baseFiles(), mountPoints()), c.WorkingDirectory}
	for _, id := range c.image.Config.RootFS.DiffIDs {
		parts = append(parts, id.String())
	}
	key := key(parts...)
	path, err := s.build(ctx, filepath.Base(s.path(kindRoot, key)), progress, func(ctx context.Context, tmp string) (string, error) {
		if err := needRoot(); err != nil {
			return "", err
		}
		files, err := c.layers(ctx, progress)
		if err != nil {
			return "", err
		}
		dir := filepath.Join(tmp, "root")
		if err := c.unpack(ctx, files, dir, progress); err != nil {
			return "", err
		}
		progress.say("image: writing the root disk")
		return makeErofs(ctx, dir, filepath.Join(tmp, "disk"), keepOwners)
	})
	if err != nil {
		return Disk{}, err
	}
	return diskOf(key, path)
}

// layers returns the files of the image's layers, lowest first, and gets those
// that are not in the store.
func (c *Container) layers(ctx context.Context, progress Progress) ([]string, error) {
	im := c.image
	var got atomic.Int64
	stop := heartbeat(ctx, func() { progress.say("image: %s pulled", percent(got.Load(), im.Bytes())) })
	defer stop()
	files := make([]string, len(im.Layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pulls)
	for i, l := range im.Layers {
		group.Go(func() (err error) {
			files[i], err = c.layer(ctx, l, &got)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	progress.say("image: %d layers, %s, are here", len(im.Layers), megabytes(im.Bytes()))
	return files, nil
}

// layer returns the file of a layer. What its name says has been checked when it
// came, and what it holds is when it is unpacked.
func (c *Container) layer(ctx context.Context, l v1.Descriptor, got *atomic.Int64) (string, error) {
	defer got.Add(l.Size)
	return c.store.build(ctx, filepath.Base(c.store.path(kindLayer, l.Digest.Hex)), nil, func(ctx context.Context, tmp string) (string, error) {
		if c.uploaded != "" {
			return filepath.Join(c.uploaded, oci.BlobPath(l)), nil
		}
		defer got.Add(-l.Size)
		return pull(ctx, c.image, l, filepath.Join(tmp, "layer"), got)
	})
}

func pull(ctx context.Context, im *oci.Image, l v1.Descriptor, file string, got *atomic.Int64) (_ string, err error) {
	r, err := im.Open(ctx, l)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		got.Add(int64(n))
		return n, err
	}))
	return file, errors.Join(err, f.Close())
}

// unpack fills the new folder dir with what a guest of the image needs.
func (c *Container) unpack(ctx context.Context, files []string, dir string, progress Progress) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	u, err := oci.NewUnpacker(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	for i, file := range files {
		progress.say("image: unpacking layer %d of %d", i+1, len(files))
		if err := applyLayer(ctx, u, file, c.image.Config.RootFS.DiffIDs[i]); err != nil {
			return err
		}
	}
	return furnish(u, c.WorkingDirectory)
}

func applyLayer(ctx context.Context, u *oci.Unpacker, file string, id v1.Hash) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return u.Apply(ctx, f, id)
}

// mountPoints are the folders that a guest mounts on, and where it lays its
// identity; whatever an image has there, they are folders.
func mountPoints() []string { return []string{"/dev", "/proc", "/sys", "/run", "/tmp"} }

// furnish adds what every guest needs. As Docker does at the start of a container,
// it gives files that name the machine a content, unless they have one.
func furnish(u *oci.Unpacker, workingDirectory string) error {
	for _, dir := range mountPoints() {
		mode := fs.FileMode(0o755)
		if dir == "/tmp" {
			mode = 0o777 | fs.ModeSticky
		}
		if err := u.MakeFolder(dir, mode); err != nil {
			return err
		}
	}
	for _, f := range baseFiles() {
		empty, err := u.IsEmpty(f.path)
		if err != nil {
			return err
		}
		// Clones must not share an identity, nor one with the image.
		if empty || f.path == "/etc/machine-id" {
			if err := u.MakeFile(f.path, f.text); err != nil {
				return err
			}
		}
	}
	return u.EnsureFolder(workingDirectory)
}
