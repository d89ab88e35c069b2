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
	"strings"
	"time"

	"thaw"
	"thaw/pagecache"
	"thaw/workingset"
)

// tellTime is how often Check tells how far it is.
const tellTime = 200 * time.Millisecond

// checker compares the files of one snapshot with their checksums.
type checker struct {
	folder   string
	id       string // in its manifest
	manifest thaw.Manifest
	unusable error // why the manifest is, nil when it was read
	events   func(thaw.FileCheck)
	told     time.Time
}

// Check compares every file of what List calls id with its checksum, and unlike
// [Store.Verify] changes nothing. Files are read past the page cache where their
// file system allows that: what counts is what is on the disk. events is called
// for each file when it is done, and while it is read a few times a second. An
// error is not the snapshot's fault but that it could not be read, or was removed
// meanwhile.
func (s *Store) Check(ctx context.Context, id string, events func(thaw.FileCheck)) ([]thaw.FileCheck, error) {
	a, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if a.set != "" {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s is a set that was taken out of its snapshot, not a snapshot (%s): verify %s", id, reasonOf(a), a.id)
	}
	c := &checker{folder: a.path, id: a.id, events: events, unusable: fs.ErrNotExist}
	var checks []thaw.FileCheck
	for _, name := range FileNames() { // the manifest first
		f, there, err := c.check(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("check %s of snapshot %s: %w", name, id, err)
		}
		if there {
			checks = append(checks, f)
			events(f)
		}
	}
	return checks, nil
}

// check reads one file. A set that is not there was not recorded.
func (c *checker) check(ctx context.Context, name string) (f thaw.FileCheck, there bool, err error) {
	start := time.Now()
	c.told = start
	f = thaw.FileCheck{Name: name, Optional: slices.Contains(sets(), name)}
	problem := c.read(ctx, &f)
	f.DurationMS = float64(time.Since(start).Microseconds()) / 1e3
	if errors.Is(problem, fs.ErrNotExist) && f.Optional {
		return f, false, nil
	}
	if f.Status, err = statusOf(problem); err != nil {
		return f, false, err
	}
	if problem != nil {
		f.Problem = strings.TrimPrefix(problem.Error(), ErrCorrupt.Error()+": ")
	}
	if f.Status != thaw.CheckOK && !exists(c.folder) {
		return f, false, thaw.Errorf(thaw.CodeNotFound, "it was removed or put in quarantine meanwhile")
	}
	return f, true, nil
}

// errSkipped says that nobody knows what belongs in a file.
var errSkipped = errors.New("the manifest that says what belongs in it cannot be used")

// statusOf says of a problem in reading a file what it means for that, unless it
// is not the file's.
func statusOf(problem error) (thaw.CheckStatus, error) {
	switch {
	case problem == nil:
		return thaw.CheckOK, nil
	case errors.Is(problem, errSkipped):
		return thaw.CheckSkipped, nil
	case errors.Is(problem, fs.ErrNotExist):
		return thaw.CheckMissing, nil
	case errors.Is(problem, ErrStale):
		return thaw.CheckStale, nil
	case errors.Is(problem, ErrCorrupt), errors.Is(problem, workingset.ErrCorrupt):
		return thaw.CheckCorrupt, nil
	}
	return "", problem
}

func (c *checker) read(ctx context.Context, f *thaw.FileCheck) error {
	path := filepath.Join(c.folder, f.Name)
	info, err := os.Lstat(path)
	if err != nil {
		return unreadable(err)
	}
	if f.Bytes = info.Size(); !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is not a file", ErrCorrupt)
	}
	if f.Name == thaw.FileManifest {
		f.ReadBytes = f.Bytes
		c.manifest, c.unusable = readManifest(c.folder, c.id)
		return c.unusable
	}
	if c.unusable != nil {
		return errSkipped
	}
	switch f.Name {
	case thaw.FileState:
		return c.summed(ctx, f, c.manifest.State)
	case thaw.FileMemory:
		return c.summed(ctx, f, c.manifest.Memory)
	case thaw.FileRegions:
		return c.summed(ctx, f, c.manifest.Regions)
	case thaw.FileWorkingSet, thaw.FileHostPages:
		return c.workingSet(f)
	}
	return c.loadingSet(ctx, f)
}

// summed compares a file with its checksum in the manifest.
func (c *checker) summed(ctx context.Context, f *thaw.FileCheck, want thaw.File) error {
	if f.Bytes != want.Bytes {
		return fmt.Errorf("%w: it is %d bytes long instead of %d", ErrCorrupt, f.Bytes, want.Bytes)
	}
	file, err := pagecache.OpenDirect(filepath.Join(c.folder, f.Name))
	if err != nil {
		return unreadable(err)
	}
	defer file.Close()
	digest := sha256.New()
	for buf := pagecache.Aligned(1 << 20); f.ReadBytes < f.Bytes; {
		n, err := file.Read(buf)
		if err != nil {
			return unreadable(err)
		}
		_, _ = digest.Write(buf[:n]) // never fails
		if err := c.progress(ctx, f, n); err != nil {
			return err
		}
	}
	if hex.EncodeToString(digest.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("%w: its checksum differs from that in the manifest", ErrCorrupt)
	}
	return nil
}

// workingSet checks a file that is small and has its checksums inside.
func (c *checker) workingSet(f *thaw.FileCheck) error {
	b, _, err := pagecache.ReadDirect(filepath.Join(c.folder, f.Name), workingset.Size(workingset.MaxPages))
	if err != nil {
		return unusable("working set", err)
	}
	f.ReadBytes = f.Bytes
	set, err := workingset.Decode(b)
	if err != nil {
		return err
	}
	return belongs(c.manifest, set.Memory, set.MemoryPages)
}

// loadingSet checks a file that has a checksum for each chunk inside.
func (c *checker) loadingSet(ctx context.Context, f *thaw.FileCheck) error {
	l, err := openLoadingSet(c.manifest, filepath.Join(c.folder, f.Name))
	if err != nil {
		return err
	}
	defer l.Close()
	f.ReadBytes = l.DataOffset()
	return l.verifyAll(func(n int) error { return c.progress(ctx, f, n) })
}

// progress notes that n more bytes were read, and tells of it unless it did just
// now.
func (c *checker) progress(ctx context.Context, f *thaw.FileCheck, n int) error {
	f.ReadBytes += int64(n)
	if time.Since(c.told) >= tellTime {
		c.told = time.Now()
		c.events(*f)
	}
	return context.Cause(ctx)
}
