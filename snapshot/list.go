package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"thaw"
)

// artifact is a snapshot, or what is in quarantine of one.
type artifact struct {
	name        string // what to ask for it by: id, in quarantine perhaps with an ending
	id          string // of the snapshot
	set         string // the name of a set that is in quarantine by itself, else ""
	path        string
	quarantined bool
}

// List describes every snapshot, and everything in quarantine, also what of it
// cannot be read. Only those in quarantine have a status.
func (s *Store) List() ([]thaw.Snapshot, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.quarantine)
	if err != nil {
		return nil, fmt.Errorf("list the quarantine: %w", err)
	}
	var all []thaw.Snapshot
	for _, id := range ids {
		all = append(all, s.describe(s.published(id)))
	}
	for _, e := range entries {
		if a, ok := s.aside(e.Name()); ok {
			all = append(all, s.describe(a))
		}
	}
	return all, nil
}

// Find describes what List calls id. An id that none can have is a
// [thaw.CodeInvalid] error, one that is not there a [thaw.CodeNotFound] one.
func (s *Store) Find(id string) (thaw.Snapshot, error) {
	a, err := s.find(id)
	if err != nil {
		return thaw.Snapshot{}, err
	}
	return s.describe(a), nil
}

func (s *Store) find(id string) (artifact, error) {
	if err := thaw.CheckSnapshotID(id); err != nil {
		return artifact{}, err
	}
	if idRule.MatchString(id) && exists(s.folder(id)) {
		return s.published(id), nil
	}
	if a, ok := s.aside(id); ok && exists(a.path) {
		return a, nil
	}
	return artifact{}, thaw.Errorf(thaw.CodeNotFound, "there is no snapshot %s, and it is not in quarantine either: take one from the list of snapshots", id)
}

func (s *Store) published(id string) artifact {
	return artifact{name: id, id: id, path: s.folder(id)}
}

// aside tells what setAside has called name: an id, the name of the set if it is
// only that, and a number if the name was taken.
func (s *Store) aside(name string) (artifact, bool) {
	if thaw.CheckSnapshotID(name) != nil || strings.HasSuffix(name, reasonSuffix) {
		return artifact{}, false
	}
	id, rest, _ := strings.Cut(name, ".")
	set, _, _ := strings.Cut(rest, ".")
	if !slices.Contains(sets(), set) {
		set = ""
	}
	return artifact{name: name, id: id, set: set, path: filepath.Join(s.quarantine, name), quarantined: true}, true
}

// describe reads what there is of a.
func (s *Store) describe(a artifact) thaw.Snapshot {
	d := thaw.Snapshot{Set: a.set}
	var err error
	if a.set == "" {
		err = describeFolder(&d, a)
		d.Users = s.holds.count(a.id)
	} else {
		err = s.describeSet(&d, a)
	}
	d.ID, d.Folder = a.name, a.path
	if err != nil {
		d.Problem = err.Error()
	}
	if a.quarantined {
		d.Status = thaw.SnapshotQuarantined
		d.Problem = reasonOf(a)
		d.Quarantined = s.setAsideAt(a.name)
	}
	return d
}

// describeFolder reads the manifest and the sizes of the files.
func describeFolder(d *thaw.Snapshot, a artifact) (err error) {
	d.Folder = a.path
	d.Manifest, err = readManifest(a.path, a.id)
	return errors.Join(err, measure(&d.SnapshotInfo))
}

// describeSet reads the size of a set. Whose it is says the snapshot, if that is
// still there.
func (s *Store) describeSet(d *thaw.Snapshot, a artifact) error {
	if m, err := s.Manifest(a.id); err == nil {
		d.Function, d.Version = m.Function, m.Version
	}
	f, err := fileSize(a.path)
	f.Name = a.set
	d.Files, d.DiskBytes = []thaw.SnapshotFile{f}, f.DiskBytes
	return err
}

// reasonOf is what setAside wrote beside a.
func reasonOf(a artifact) string {
	b, err := os.ReadFile(a.path + reasonSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return "no reason is known"
	}
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}
