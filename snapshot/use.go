package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
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
}

// Close closes both files.
func (o *Opened) Close() error { return errors.Join(o.Memory.Close(), o.State.Close()) }

// Open verifies the snapshot whose manifest is m for a restore on machine: the state
// file by checksum, the memory file by length and identity, and by checksum if
// its identity has changed, as after a copy of the store. The error wraps
// [ErrCorrupt] or [ErrStale] when the snapshot is of no use.
func (s *Store) Open(ctx context.Context, m thaw.Manifest, machine thaw.Machine) (*Opened, error) {
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
	return &Opened{Manifest: m, Memory: memory, State: state}, nil
}

// state returns the verified state in a memfd, so that what was summed is what
// is loaded.
func (s *Store) state(m thaw.Manifest) (*os.File, error) {
	path := filepath.Join(s.folder(m.ID), thaw.FileState)
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if info.Size() != m.State.Bytes || m.State.Bytes > maxState {
		return nil, fmt.Errorf("%w: state file is not %d bytes long", ErrCorrupt, m.State.Bytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if digest := sha256.Sum256(b); hex.EncodeToString(digest[:]) != m.State.SHA256 {
		return nil, fmt.Errorf("%w: checksum of the state file differs", ErrCorrupt)
	}
	return memoryFile("state", b)
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
	return errors.Join(sameSum(ctx, memory, m.Memory), memory.Close(), state.Close())
}

// WorkingSet reads the working set of m, past the page cache and with one
// request. A snapshot that has none yet is [fs.ErrNotExist]; a set that cannot
// be trusted, or belongs to another memory file, wraps
// [workingset.ErrCorrupt].
func (s *Store) WorkingSet(m thaw.Manifest) (*workingset.File, error) {
	b, _, err := pagecache.ReadDirect(s.workingSetPath(m.ID), workingset.Size(int(m.MemoryBytes/thaw.PageSize)))
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EISDIR) || errors.Is(err, pagecache.ErrTooLong) {
		return nil, fmt.Errorf("%w: %w", workingset.ErrCorrupt, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the working set: %w", err)
	}
	f, err := workingset.Decode(b)
	if err != nil {
		return nil, err
	}
	if hex.EncodeToString(f.Memory[:]) != m.Memory.SHA256 || int64(f.MemoryPages)*thaw.PageSize != m.MemoryBytes {
		return nil, fmt.Errorf("%w: it belongs to another snapshot", workingset.ErrCorrupt)
	}
	return f, nil
}

func (s *Store) workingSetPath(id string) string {
	return filepath.Join(s.folder(id), thaw.FileWorkingSet)
}

// HasWorkingSet says whether one was recorded.
func (s *Store) HasWorkingSet(id string) bool { return exists(s.workingSetPath(id)) }

// PublishWorkingSet writes set as the working set of m, with the contents of its
// pages: all of it or nothing. A snapshot that has one already keeps it, which
// is false.
func (s *Store) PublishWorkingSet(ctx context.Context, m thaw.Manifest, set workingset.Set) (bool, error) {
	if s.HasWorkingSet(m.ID) {
		return false, nil
	}
	memory, m, err := s.memory(ctx, m)
	if err != nil {
		return false, err
	}
	defer memory.Close()
	digest, err := hex.DecodeString(m.Memory.SHA256)
	if err != nil {
		return false, fmt.Errorf("publish the working set: %w", err)
	}
	copy(set.Memory[:], digest)
	set.MemoryPages = uint32(m.MemoryBytes / thaw.PageSize)
	var b bytes.Buffer
	if err := workingset.Encode(&b, set, memory); err != nil {
		return false, err
	}
	if err := renameio.WriteFile(s.workingSetPath(m.ID), b.Bytes(), 0o400); err != nil {
		return false, fmt.Errorf("publish the working set: %w", err)
	}
	return true, nil
}

// Info returns snapshot id's manifest and sizes.
func (s *Store) Info(id string) (thaw.SnapshotInfo, error) {
	m, err := s.Manifest(id)
	if err != nil {
		return thaw.SnapshotInfo{}, err
	}
	info := thaw.SnapshotInfo{Manifest: m, Folder: s.folder(id)}
	for _, name := range []string{thaw.FileManifest, thaw.FileState, thaw.FileMemory, thaw.FileWorkingSet} {
		n, err := DiskBytes(filepath.Join(info.Folder, name))
		if errors.Is(err, fs.ErrNotExist) && name == thaw.FileWorkingSet {
			continue
		}
		if err != nil {
			return info, err
		}
		info.DiskBytes += n
	}
	if set, err := os.Stat(s.workingSetPath(id)); err == nil {
		info.WorkingSetPages = workingset.PagesOf(set.Size())
	}
	return info, nil
}
