package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/workingset"
)

// maxState bounds the device state file: QEMU's is some 150 KiB.
const maxState = 64 << 20

// Opened is a snapshot that was verified for one restore. Close it when the VM
// that came out of it has ended.
type Opened struct {
	thaw.Manifest
	// Memory is the memory file, read only.
	Memory *os.File
	// State holds the verified bytes of the state file, in memory.
	State *os.File

	release func() // of the snapshot's hold
}

// Close closes both files.
func (o *Opened) Close() error {
	o.release()
	return errors.Join(o.Memory.Close(), o.State.Close())
}

// Open verifies the snapshot whose manifest is m for a restore on machine: the state
// file by checksum, the memory file by length and identity, and by checksum if
// its identity has changed, as after a copy of the store. The error wraps
// [ErrCorrupt] or [ErrStale] when the snapshot is of no use. Until it is closed
// nobody can discard the snapshot.
func (s *Store) Open(ctx context.Context, m thaw.Manifest, machine thaw.Machine) (_ *Opened, err error) {
	release := s.holds.take(m.ID)
	defer func() {
		if err != nil {
			release()
		}
	}()
	if m.Machine != machine {
		return nil, fmt.Errorf("%w: made by %+v, this is %+v", ErrStale, m.Machine, machine)
	}
	state, err := s.state(m)
	if err != nil {
		return nil, err
	}
	memory, m, err := s.memory(ctx, m)
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	return &Opened{Manifest: m, Memory: memory, State: state, release: release}, nil
}

// state returns the verified state in a memfd, so that what was summed is what
// is loaded.
func (s *Store) state(m thaw.Manifest) (*os.File, error) {
	b, err := s.verified(m, thaw.FileState, m.State, maxState)
	if err != nil {
		return nil, err
	}
	return memoryFile("state", b)
}

// verified reads a small file of m and compares it with its checksum.
func (s *Store) verified(m thaw.Manifest, name string, want thaw.File, limit int64) ([]byte, error) {
	path := filepath.Join(s.folder(m.ID), name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if info.Size() != want.Bytes || want.Bytes > limit {
		return nil, fmt.Errorf("%w: %s file is not %d bytes long", ErrCorrupt, name, want.Bytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if digest := sha256.Sum256(b); hex.EncodeToString(digest[:]) != want.SHA256 {
		return nil, fmt.Errorf("%w: checksum of the %s file differs", ErrCorrupt, name)
	}
	return b, nil
}

func memoryFile(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep the state in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the state in memory: %w", err), f.Close())
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the state in memory: %w", err), f.Close())
	}
	return f, nil
}

// memory opens the memory file and returns m with the identity it has now.
func (s *Store) memory(ctx context.Context, m thaw.Manifest) (*os.File, thaw.Manifest, error) {
	f, err := os.Open(filepath.Join(s.folder(m.ID), thaw.FileMemory))
	if err != nil {
		return nil, m, unreadable(err)
	}
	if m, err = s.checkMemory(ctx, f, m); err != nil {
		return nil, m, errors.Join(err, f.Close())
	}
	return f, m, nil
}

func (s *Store) checkMemory(ctx context.Context, f *os.File, m thaw.Manifest) (thaw.Manifest, error) {
	info, err := f.Stat()
	if err != nil {
		return m, unreadable(err)
	}
	if info.Size() != m.MemoryBytes {
		return m, fmt.Errorf("%w: memory file is not %d bytes long", ErrCorrupt, m.MemoryBytes)
	}
	identity, err := identify(f)
	if err != nil || identity == m.MemoryIdentity {
		return m, err
	}
	if err := sameSum(ctx, f, m.Memory); err != nil {
		return m, err
	}
	m.MemoryIdentity = identity
	return m, writeManifest(s.folder(m.ID), m)
}

func sameSum(ctx context.Context, f *os.File, want thaw.File) error {
	got, err := sum(ctx, f)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: checksum of the %s file differs", ErrCorrupt, filepath.Base(f.Name()))
	}
	return nil
}

// Verify checks every file of snapshot id by checksum, which reads all of them.
func (s *Store) Verify(ctx context.Context, id string) error {
	m, err := s.Manifest(id)
	if err != nil {
		return err
	}
	state, err := s.state(m)
	if err != nil {
		return err
	}
	memory, m, err := s.memory(ctx, m)
	if err != nil {
		return errors.Join(err, state.Close())
	}
	_, regions := s.NonZero(m)
	return errors.Join(sameSum(ctx, memory, m.Memory), regions, s.verifySets(m), memory.Close(), state.Close())
}

// Info returns snapshot id's manifest and sizes.
func (s *Store) Info(id string) (thaw.SnapshotInfo, error) {
	m, err := s.Manifest(id)
	if err != nil {
		return thaw.SnapshotInfo{}, err
	}
	info := thaw.SnapshotInfo{Manifest: m, Folder: s.folder(id)}
	if err := measure(&info); err != nil {
		return info, err
	}
	for _, name := range required() {
		if !slices.ContainsFunc(info.Files, func(f thaw.SnapshotFile) bool { return f.Name == name }) {
			return info, fmt.Errorf("size of %s: %w", name, fs.ErrNotExist)
		}
	}
	return info, nil
}

// measure fills in the sizes of the files that are in info's folder.
func measure(info *thaw.SnapshotInfo) error {
	for _, name := range FileNames() {
		f, err := fileSize(filepath.Join(info.Folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info.DiskBytes += f.DiskBytes
		info.Files = append(info.Files, f)
		switch name {
		case thaw.FileWorkingSet:
			info.WorkingSetPages = workingset.PagesOf(f.Bytes)
		case thaw.FileHostPages:
			info.HostPages = workingset.PagesOf(f.Bytes)
		}
	}
	return nil
}

func fileSize(path string) (thaw.SnapshotFile, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return thaw.SnapshotFile{}, fmt.Errorf("size of %s: %w", filepath.Base(path), err)
	}
	return thaw.SnapshotFile{Name: filepath.Base(path), Bytes: st.Size, DiskBytes: st.Blocks * 512}, nil
}

// FileNames are the names of all files that a snapshot may have.
func FileNames() []string { return append(required(), sets()...) }

// sets are those of the files that a snapshot is good without.
func sets() []string {
	return []string{thaw.FileWorkingSet, thaw.FileHostPages,
		thaw.FileLoadingSetReap, thaw.FileLoadingSetFaaSnap, thaw.FileLoadingSetThaw}
}

// required are those of the files that are there from the beginning.
func required() []string {
	return []string{thaw.FileManifest, thaw.FileState, thaw.FileMemory, thaw.FileRegions}
}
