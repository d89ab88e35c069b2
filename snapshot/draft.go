package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/workingset"
)

// Draft is a snapshot being made. Publish or Discard ends it.
type Draft struct {
	store  *Store
	id     string
	folder string
	// Memory becomes guest memory, shared, while the snapshot is made; State
	// receives the VMM's device state. Both are open for reading and writing.
	Memory, State *os.File
	// Function and Version are what it will be a snapshot of, for the manifest.
	Function string
	Version  int
}

// ID is what the snapshot will be called.
func (d *Draft) ID() string { return d.id }

// Draft begins a snapshot of a guest with memory bytes. Nothing of it can be
// seen until it is published.
//
// It fails with [thaw.CodeUnavailable] when the disk might not hold all of guest
// memory: a VMM that cannot write a page of a mapped file is killed in the
// middle of a guest instruction (SIGBUS).
func (s *Store) Draft(memory int64) (*Draft, error) {
	if err := s.checkSpace(memory); err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text())
	d := &Draft{store: s, id: id, folder: filepath.Join(s.dir, draftPrefix+id)}
	if err := os.Mkdir(d.folder, 0o700); err != nil {
		return nil, fmt.Errorf("begin a snapshot: %w", err)
	}
	if err := d.create(memory); err != nil {
		return nil, errors.Join(fmt.Errorf("begin a snapshot: %w", err), d.Discard())
	}
	return d, nil
}

// create makes the files. What it made of them is Discard's to remove.
func (d *Draft) create(memory int64) (err error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	if d.Memory, err = os.OpenFile(filepath.Join(d.folder, thaw.FileMemory), flags, 0o600); err != nil {
		return err
	}
	if d.State, err = os.OpenFile(filepath.Join(d.folder, thaw.FileState), flags, 0o600); err != nil {
		return err
	}
	return d.Memory.Truncate(memory)
}

func (s *Store) checkSpace(memory int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return fmt.Errorf("look for free space: %w", err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if need := memory + maxState; free < need {
		return thaw.Errorf(thaw.CodeUnavailable, "%d MiB are free in the state folder and a snapshot may need %d: free some space, or choose another folder with --state", free>>20, need>>20)
	}
	return nil
}

// Discard removes the draft. After Publish it does nothing.
func (d *Draft) Discard() error {
	var errs []error
	for _, f := range []*os.File{d.Memory, d.State} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	d.Memory, d.State = nil, nil
	if d.folder != "" {
		errs = append(errs, os.RemoveAll(d.folder))
	}
	d.folder = ""
	return errors.Join(errs...)
}

// Publish turns the draft into a snapshot and returns its manifest. The VMM
// that wrote the files must have ended. Zero pages become holes; both files are
// checksummed and synced, made read-only and, where the file system has it,
// sealed with fs-verity. The manifest is written last.
func (d *Draft) Publish(ctx context.Context, machine thaw.Machine, images thaw.Images) (m thaw.Manifest, err error) {
	defer func() { err = errors.Join(err, d.Discard()) }()
	m = thaw.Manifest{Format: thaw.ManifestFormat, ID: d.id, Created: time.Now().UTC(), Function: d.Function, Version: d.Version, Machine: machine, Images: images}
	nonZero, err := punchZeroPages(d.Memory)
	if err != nil {
		return m, err
	}
	m.NonZeroPages = workingset.CountPages(nonZero)
	if m.Regions, err = d.writeRegions(ctx, nonZero); err != nil {
		return m, err
	}
	if m.Memory, err = seal(ctx, d.Memory); err != nil {
		return m, err
	}
	if m.State, err = seal(ctx, d.State); err != nil {
		return m, err
	}
	m.MemoryBytes = m.Memory.Bytes
	memory := d.Memory
	d.Memory = nil // enableVerity closes it
	if m.Verity, err = enableVerity(memory); err != nil {
		return m, err
	}
	if m.MemoryIdentity, err = d.identity(); err != nil {
		return m, err
	}
	return m, d.activate(m)
}

// writeRegions keeps which pages of the memory file are not zero.
func (d *Draft) writeRegions(ctx context.Context, nonZero []workingset.Run) (thaw.File, error) {
	info, err := d.Memory.Stat()
	if err != nil {
		return thaw.File{}, fmt.Errorf("write the regions: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.folder, thaw.FileRegions), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return thaw.File{}, fmt.Errorf("write the regions: %w", err)
	}
	defer f.Close()
	if err := workingset.EncodeRegions(f, uint32(info.Size()/thaw.PageSize), nonZero); err != nil {
		return thaw.File{}, err
	}
	return seal(ctx, f)
}

func (d *Draft) identity() (thaw.Identity, error) {
	f, err := os.Open(filepath.Join(d.folder, thaw.FileMemory))
	if err != nil {
		return thaw.Identity{}, fmt.Errorf("identify the memory file: %w", err)
	}
	defer f.Close()
	return identify(f)
}

// activate makes the draft visible under its id in one step.
func (d *Draft) activate(m thaw.Manifest) error {
	if err := writeManifest(d.folder, m); err != nil {
		return err
	}
	if err := syncFolder(d.folder); err != nil {
		return err
	}
	if err := os.Rename(d.folder, d.store.folder(d.id)); err != nil {
		return fmt.Errorf("publish the snapshot: %w", err)
	}
	d.folder = ""
	if err := syncFolder(d.store.dir); err != nil {
		return errors.Join(err, d.store.Remove(d.id))
	}
	return nil
}

// seal takes f away from everyone who could write to it, syncs and sums it.
func seal(ctx context.Context, f *os.File) (thaw.File, error) {
	if err := f.Chown(os.Getuid(), os.Getgid()); err != nil {
		return thaw.File{}, fmt.Errorf("seal %s: %w", filepath.Base(f.Name()), err)
	}
	if err := f.Chmod(0o400); err != nil {
		return thaw.File{}, fmt.Errorf("seal %s: %w", filepath.Base(f.Name()), err)
	}
	if err := f.Sync(); err != nil {
		return thaw.File{}, fmt.Errorf("sync %s: %w", filepath.Base(f.Name()), err)
	}
	return sum(ctx, f)
}

func identify(f *os.File) (thaw.Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return thaw.Identity{}, fmt.Errorf("identify %s: %w", filepath.Base(f.Name()), err)
	}
	return thaw.Identity{Inode: st.Ino, ChangeNS: st.Ctim.Nano()}, nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync a folder: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync a folder: %w", err)
	}
	return nil
}
