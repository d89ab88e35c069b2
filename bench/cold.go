package bench

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"thaw"
	"thaw/pagecache"
)

// chill drops every file of the function from the page cache and verifies that
// nothing is left of any.
func chill(d thaw.Description) error { return Chill(Artifacts(d)) }

// Chill drops the files with these names from the page cache and verifies that
// nothing is left of any (mincore).
func Chill(names []string) error {
	for _, name := range names {
		if err := chillFile(name); err != nil {
			return err
		}
	}
	return nil
}

// fill reads every file of the function into the page cache and verifies that all
// of each is there.
func fill(d thaw.Description) error {
	for _, name := range Artifacts(d) {
		if err := fillFile(name); err != nil {
			return err
		}
	}
	return nil
}

// Artifacts are all files that a start may read.
func Artifacts(d thaw.Description) []string {
	names := append([]string(nil), d.Disks...)
	for _, f := range d.SnapshotInfo.Files {
		names = append(names, filepath.Join(d.SnapshotInfo.Folder, f.Name))
	}
	return names
}

// open opens an artifact.
func open(name string) (*os.File, error) {
	f, err := os.Open(name)
	if os.IsNotExist(err) || os.IsPermission(err) {
		err = thaw.Errorf(thaw.CodeInvalid, "the benchmark must run as root on the daemon's machine, to empty the page cache: %w", err)
	}
	return f, err
}

func fillFile(name string) error {
	f, err := open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// Pages may be dropped again before they are counted.
	for wait := time.Millisecond; ; wait *= 2 {
		size, err := io.Copy(io.Discard, io.NewSectionReader(f, 0, math.MaxInt64))
		if err != nil {
			return err
		}
		there, err := pagecache.Resident(f)
		want := int((size + thaw.PageSize - 1) / thaw.PageSize)
		if err != nil || there >= want {
			return err
		}
		if wait > time.Second {
			return thaw.Errorf(thaw.CodeConflict, "only %d of %d pages of %s stay in the page cache: is there enough memory?", there, want, filepath.Base(name))
		}
		time.Sleep(wait)
	}
}

func chillFile(name string) error {
	f, err := open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// A VM that has just ended may hold its mappings for a moment.
	for wait := time.Millisecond; ; wait *= 2 {
		if err := pagecache.Evict(f); err != nil {
			return err
		}
		left, err := pagecache.Resident(f)
		if err != nil || left == 0 {
			return err
		}
		if wait > time.Second {
			return thaw.Errorf(thaw.CodeConflict, "%d pages of %s stay in the page cache: is another instance of the function running?", left, filepath.Base(name))
		}
		time.Sleep(wait)
	}
}
