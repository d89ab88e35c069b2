// Package snapshot keeps snapshots on disk: it publishes them whole or not at
// all, verifies them before use, and moves what cannot be trusted out of the
// way.
//
// A snapshot is a folder of a store:
//
//	manifest.json  written last, see [thaw.Manifest]
//	state          device state and registers, as QEMU writes them
//	memory         guest memory, page for page; zero pages are holes
//	regions        which pages of memory are not zero, see package workingset
//	working-set    what restores have recorded of first touches, once one has
//	host-pages     what FaaSnap's recording has seen, once it has
//	loading-set-*  pages laid out for one sequential read, made of these two
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"thaw"
	"thaw/pagecache"
)

// Store is a folder of snapshots and one for quarantined artifacts. Its methods
// may be called concurrently, for one snapshot by one caller at a time unless
// they only read.
type Store struct {
	dir, quarantine string
	holds           holds
}

const draftPrefix = "draft-"

// NewStore opens the store in dir, making it if need be, and removes what a
// killed process left half done.
func NewStore(dir, quarantine string) (*Store, error) {
	s := &Store{dir: dir, quarantine: quarantine}
	for _, d := range []string{dir, quarantine} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the snapshot store: %w", err)
		}
	}
	return s, s.sweep()
}

// View reads a store that belongs to another process: it changes nothing.
func View(dir string) *Store { return &Store{dir: dir} }

// sweep removes drafts, and in a snapshot the files that were being written
// aside: their names begin with a dot.
func (s *Store) sweep() error {
	for _, pattern := range []string{draftPrefix + "*", "*/.*"} {
		left, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("remove what is not finished: %w", err)
			}
		}
	}
	return nil
}

// ErrCorrupt says that a snapshot's file is not what its manifest says.
var ErrCorrupt = errors.New("snapshot is corrupt")

// unreadable wraps err, met in reading a snapshot's file, in [ErrCorrupt] when it
// says something about the file. What says something about this process, such as
// too many open files, must not cost a snapshot.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || pagecache.Damaged(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("read a snapshot: %w", err)
}

// ErrStale says that a snapshot is sound but was made for another machine.
var ErrStale = errors.New("snapshot does not fit this machine")

var idRule = regexp.MustCompile(`^[a-z0-9]{8,64}$`)

func (s *Store) folder(id string) string { return filepath.Join(s.dir, id) }

// IDs returns the ids of all published snapshots.
func (s *Store) IDs() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if idRule.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Manifest reads the manifest of snapshot id. What is missing or cannot be read
// is [ErrCorrupt].
func (s *Store) Manifest(id string) (thaw.Manifest, error) {
	if !idRule.MatchString(id) {
		return thaw.Manifest{}, fmt.Errorf("%w: %q is not a snapshot id", ErrCorrupt, id)
	}
	return readManifest(s.folder(id), id)
}

// readManifest reads the manifest of snapshot id, which is in folder.
func readManifest(folder, id string) (m thaw.Manifest, err error) {
	b, err := os.ReadFile(filepath.Join(folder, thaw.FileManifest))
	if err != nil {
		return m, unreadable(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrCorrupt, err)
	}
	if m.Format != thaw.ManifestFormat {
		return m, fmt.Errorf("%w: manifest format %d, this build reads %d", ErrStale, m.Format, thaw.ManifestFormat)
	}
	if m.ID != id || m.Memory.Bytes != m.MemoryBytes || m.MemoryBytes <= 0 || m.MemoryBytes > thaw.MaxMemory {
		return m, fmt.Errorf("%w: manifest contradicts itself", ErrCorrupt)
	}
	return m, nil
}

func writeManifest(folder string, m thaw.Manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(folder, thaw.FileManifest), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// Remove deletes snapshot id. VMs that were restored from it keep their open
// files.
func (s *Store) Remove(id string) error {
	if !idRule.MatchString(id) {
		return fmt.Errorf("remove snapshot: %q is not an id", id)
	}
	gone, err := s.hide(s.folder(id), id)
	if err != nil {
		return err
	}
	return removeAll(gone)
}

// hide takes what is at path out of sight in one step, so that a kill leaves no
// half of it, and returns where it is then. One that is not there is fine.
func (s *Store) hide(path, name string) (gone string, err error) {
	gone = filepath.Join(s.dir, draftPrefix+"removed-"+name)
	if err := os.Rename(path, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("remove snapshot %s: %w", name, err)
	}
	return gone, nil
}

func removeAll(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove a snapshot: %w", err)
	}
	return nil
}

// Quarantine moves the whole snapshot id out of use and writes reason beside
// it, for a person to look at. The oldest of many are deleted.
func (s *Store) Quarantine(id string, reason error) error {
	if !idRule.MatchString(id) {
		return fmt.Errorf("quarantine: %q is not a snapshot id", id)
	}
	return s.setAside(s.folder(id), id, reason)
}

// QuarantineSet does the same with a set only, unless another one has taken its place.
// With none it does nothing.
func (s *Store) QuarantineSet(set SetFile, reason error) error {
	if set == (SetFile{}) {
		return nil
	}
	path := filepath.Join(s.folder(set.snapshot), set.name)
	if now, err := stampOf(path); err == nil && now != set.stamp {
		return nil // somebody else was quicker
	}
	return s.setAside(path, set.snapshot+"."+set.name, reason)
}

const reasonSuffix = ".reason"

func (s *Store) setAside(path, name string, reason error) error {
	to := filepath.Join(s.quarantine, name)
	for n := 1; exists(to); n++ {
		to = filepath.Join(s.quarantine, fmt.Sprintf("%s.%d", name, n))
	}
	err := os.Rename(path, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was quicker
	}
	if err != nil {
		return fmt.Errorf("quarantine %s: %w", name, err)
	}
	text := strings.TrimSpace(reason.Error()) + "\n"
	if err := renameio.WriteFile(to+reasonSuffix, []byte(text), 0o600); err != nil {
		return fmt.Errorf("quarantine %s: %w", name, err)
	}
	return s.trimQuarantine()
}

// maxQuarantine bounds what the quarantine keeps: a snapshot is as large as a
// guest's memory.
const maxQuarantine = 8

// trimQuarantine deletes all but the newest artifacts. Their reasons stay.
func (s *Store) trimQuarantine() error {
	entries, err := os.ReadDir(s.quarantine)
	if err != nil {
		return fmt.Errorf("trim the quarantine: %w", err)
	}
	kept := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), reasonSuffix) })
	slices.SortFunc(kept, func(a, b fs.DirEntry) int { return s.setAsideAt(b.Name()).Compare(s.setAsideAt(a.Name())) })
	var errs []error
	for _, e := range kept[min(len(kept), maxQuarantine):] {
		errs = append(errs, os.RemoveAll(filepath.Join(s.quarantine, e.Name())))
	}
	return errors.Join(errs...)
}

// setAsideAt is when the artifact called name came here: when its reason was
// written. A rename leaves the artifact's own time as it was.
func (s *Store) setAsideAt(name string) time.Time {
	info, err := os.Stat(filepath.Join(s.quarantine, name+reasonSuffix))
	if err != nil {
		return time.Time{} // a kill came between: it goes first
	}
	return info.ModTime()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
