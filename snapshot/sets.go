package snapshot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/workingset"
)

// NonZero returns the runs of m's memory file that are not zero. The error wraps
// [ErrCorrupt] when they cannot be trusted.
func (s *Store) NonZero(m thaw.Manifest) ([]workingset.Run, error) {
	b, err := s.verified(m, thaw.FileRegions, m.Regions, workingset.MaxRegions(m.MemoryBytes))
	if err != nil {
		return nil, err
	}
	pages, runs, err := workingset.DecodeRegions(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if int64(pages)*thaw.PageSize != m.MemoryBytes {
		return nil, fmt.Errorf("%w: regions of another memory file", ErrCorrupt)
	}
	return runs, nil
}

// WorkingSet reads the set of m called name, [thaw.FileWorkingSet] or
// [thaw.FileHostPages]. A snapshot that has none yet is [fs.ErrNotExist]; a set
// that cannot be trusted, or belongs to another memory file, wraps
// [workingset.ErrCorrupt].
func (s *Store) WorkingSet(m thaw.Manifest, name string) (set workingset.Set, err error) {
	b, err := pagecache.ReadBuffered(s.path(m, name), workingset.Size(int(m.MemoryBytes/thaw.PageSize)))
	if err != nil {
		return set, unusable("working set", err)
	}
	if set, err = workingset.Decode(b); err != nil {
		return set, err
	}
	return set, belongs(m, set.Memory, set.MemoryPages)
}

// LoadingSet is a loading set of a snapshot, open for reading past the page cache.
type LoadingSet struct {
	*workingset.LoadingSet
	File *os.File
}

// Close closes the file.
func (l *LoadingSet) Close() error { return l.File.Close() }

// verifyAll reads the pages' contents, chunk by chunk, and verifies them; each is told
// the bytes of every chunk, and may end it with an error.
func (l *LoadingSet) verifyAll(each func(n int) error) error {
	buf, at := pagecache.Aligned(workingset.ChunkBytes), l.DataOffset()
	for i := range l.Chunks() {
		data := buf[:min(workingset.ChunkBytes, l.Size()-at)]
		if n, err := l.File.ReadAt(data, at); n < len(data) {
			return unusable("loading set", err)
		}
		if err := each(len(data)); err != nil {
			return err
		}
		if err := l.Verify(i, data); err != nil {
			return err
		}
		at += int64(len(data))
	}
	return nil
}

// firstRead is how much of a loading set is read at first: header and table of
// nearly all.
const firstRead = 64 << 10

// LoadingSet opens the loading set of m called name. The errors are those of
// WorkingSet. The pages' contents are not verified.
func (s *Store) LoadingSet(m thaw.Manifest, name string) (*LoadingSet, error) {
	return openLoadingSet(m, s.path(m, name))
}

func openLoadingSet(m thaw.Manifest, path string) (_ *LoadingSet, err error) {
	f, err := pagecache.OpenDirect(path)
	if err != nil {
		return nil, unusable("loading set", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	head, err := readHead(f, m)
	if err != nil {
		return nil, err
	}
	set, err := workingset.DecodeLoadingSet(head)
	if err != nil {
		return nil, err
	}
	if err := belongs(m, set.Memory, set.MemoryPages); err != nil {
		return nil, err
	}
	return &LoadingSet{LoadingSet: set, File: f}, checkSize(f, set)
}

func readHead(f *os.File, m thaw.Manifest) ([]byte, error) {
	buf := pagecache.Aligned(firstRead)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unusable("loading set", err)
	}
	size, err := workingset.HeadSize(buf[:n])
	if err != nil || size <= int64(n) {
		return buf[:n], err
	}
	if size > workingset.MaxLoadingSet(m.MemoryBytes) {
		return nil, fmt.Errorf("loading set %w: its table is too long", workingset.ErrCorrupt)
	}
	buf = pagecache.Aligned(size)
	if n, err = f.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, unusable("loading set", err)
	}
	return buf[:n], nil
}

func checkSize(f *os.File, set *workingset.LoadingSet) error {
	info, err := f.Stat()
	if err != nil {
		return unusable("loading set", err)
	}
	if info.Size() != set.Size() {
		return fmt.Errorf("loading set %w: %d bytes long instead of %d", workingset.ErrCorrupt, info.Size(), set.Size())
	}
	return nil
}

// unusable says of an error in reading a set whether the set is at fault.
func unusable(what string, err error) error {
	if errors.Is(err, unix.EISDIR) || pagecache.Damaged(err) {
		return fmt.Errorf("%s %w: %w", what, workingset.ErrCorrupt, err)
	}
	return fmt.Errorf("read a %s: %w", what, err)
}

func belongs(m thaw.Manifest, memory [32]byte, pages uint32) error {
	if hex.EncodeToString(memory[:]) != m.Memory.SHA256 || int64(pages)*thaw.PageSize != m.MemoryBytes {
		return fmt.Errorf("set %w: it belongs to another snapshot", workingset.ErrCorrupt)
	}
	return nil
}

func (s *Store) path(m thaw.Manifest, name string) string {
	return filepath.Join(s.folder(m.ID), name)
}

// Path returns where the file of m called name is, or will be.
func (s *Store) Path(m thaw.Manifest, name string) string { return s.path(m, name) }

// SetFile is a set of a snapshot as it was at some time: one that replaces it is not
// equal to it. The zero value is none.
type SetFile struct {
	snapshot, name string
	stamp          stamp
}

// Name is that of the file, "" of none.
func (f SetFile) Name() string { return f.name }

// Key is a text that no other has.
func (f SetFile) Key() string {
	return fmt.Sprintf("%s/%s/%d/%d", f.snapshot, f.name, f.stamp.inode, f.stamp.mtime)
}

// stamp tells a file from one that replaces it.
type stamp struct {
	inode uint64
	mtime int64 // nanoseconds
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.Sys().(*syscall.Stat_t).Ino, info.ModTime().UnixNano()}, nil
}

// SetFile returns the set of m called name as it is now. Ask before reading it.
func (s *Store) SetFile(m thaw.Manifest, name string) (SetFile, error) {
	if !idRule.MatchString(m.ID) || !slices.Contains(sets(), name) {
		return SetFile{}, fmt.Errorf("%q of %q is not a set of a snapshot", name, m.ID)
	}
	at, err := stampOf(s.path(m, name))
	if err != nil {
		return SetFile{}, err
	}
	return SetFile{m.ID, name, at}, nil
}

// Has says whether m has the file called name.
func (s *Store) Has(m thaw.Manifest, name string) bool { return exists(s.path(m, name)) }

// Sum fills in which memory file a set of m belongs to.
func Sum(m thaw.Manifest) (memory [32]byte, pages uint32, err error) {
	digest, err := hex.DecodeString(m.Memory.SHA256)
	if err != nil || len(digest) != len(memory) {
		return memory, 0, fmt.Errorf("%w: manifest has no checksum of the memory file", ErrCorrupt)
	}
	copy(memory[:], digest)
	return memory, uint32(m.MemoryBytes / thaw.PageSize), nil
}

// PublishWorkingSet writes an encoded working set as the one of m called name: all
// of it or nothing, and over the one before only once it was read back.
func (s *Store) PublishWorkingSet(m thaw.Manifest, name string, encoded []byte) error {
	write := func(w io.Writer) error { _, err := w.Write(encoded); return err }
	return s.publish(m, name, write, func(name string) error {
		b, _, err := pagecache.ReadDirect(name, int64(len(encoded)))
		if err != nil {
			return err
		}
		_, err = workingset.Decode(b)
		return err
	})
}

// PublishLoadingSet does the same with a loading set and the pages that belong to
// it, out of the memory file that m tells of and no other.
func (s *Store) PublishLoadingSet(ctx context.Context, m thaw.Manifest, name string, set workingset.LoadingSet) error {
	memory, m, err := s.memory(ctx, m)
	if err != nil {
		return err
	}
	defer memory.Close()
	write := func(w io.Writer) error { return workingset.EncodeLoadingSet(w, set, memory) }
	return s.publish(m, name, write, func(name string) error { return verifyLoading(m, name) })
}

func verifyLoading(m thaw.Manifest, path string) error {
	l, err := openLoadingSet(m, path)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.verifyAll(func(int) error { return nil })
}

// publish writes aside, has the file verified as it is on the disk, and renames it.
func (s *Store) publish(m thaw.Manifest, name string, write func(io.Writer) error, verify func(path string) error) error {
	f, err := renameio.NewPendingFile(s.path(m, name), renameio.WithPermissions(0o400))
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	defer f.Cleanup() //nolint:errcheck // nothing is left after the rename
	if err := write(f); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := verify(f.Name()); err != nil {
		return fmt.Errorf("read %s back: %w", name, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

// verifySets checks those of m's sets that exist. A bad one is quarantined: the
// snapshot is good without.
func (s *Store) verifySets(m thaw.Manifest) error {
	working := func(name string) error { _, err := s.WorkingSet(m, name); return err }
	loading := func(name string) error { return verifyLoading(m, s.path(m, name)) }
	var errs []error
	for _, name := range []string{thaw.FileWorkingSet, thaw.FileHostPages} {
		errs = append(errs, s.judge(m, name, working))
	}
	for _, name := range []string{thaw.FileLoadingSetReap, thaw.FileLoadingSetFaaSnap, thaw.FileLoadingSetThaw} {
		errs = append(errs, s.judge(m, name, loading))
	}
	return errors.Join(errs...)
}

// judge quarantines a set that is corrupt. One that is not there is fine.
func (s *Store) judge(m thaw.Manifest, name string, verify func(name string) error) error {
	set, err := s.SetFile(m, name)
	if err == nil {
		err = verify(name)
	}
	if errors.Is(err, workingset.ErrCorrupt) {
		return s.QuarantineSet(set, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
