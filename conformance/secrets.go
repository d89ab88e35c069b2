package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"thaw"
	"thaw/conformance/probe"
)

// search looks for every value of the secret in the files of a probe's snapshot, as
// they are after its clones were recorded. That takes the daemon's own machine.
func (r *runner) search(ctx context.Context, runtime thaw.Runtime) error {
	d, err := r.client.Describe(ctx, FunctionName(runtime))
	if err != nil || d.SnapshotInfo == nil {
		return err
	}
	for _, f := range d.SnapshotInfo.Files {
		path := filepath.Join(d.SnapshotInfo.Folder, f.Name)
		found, err := r.holds(path)
		if err != nil {
			continue // not searched: the test says so if it is true of all
		}
		r.seen.searched = append(r.seen.searched, path)
		if found {
			r.seen.leaked = append(r.seen.leaked, path)
		}
	}
	return nil
}

func (r *runner) holds(path string) (bool, error) {
	for _, value := range r.seen.given {
		f, err := os.Open(path)
		if err != nil {
			return false, err
		}
		found, err := contains(f, []byte(value))
		if err = errors.Join(err, f.Close()); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// contains says whether r holds text.
func contains(r io.Reader, text []byte) (bool, error) {
	buf := make([]byte, 1<<20)
	kept := 0 // the end of what was read before, in which text may begin
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], text) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		end := min(kept+n, len(text)-1)
		copy(buf, buf[kept+n-end:kept+n])
		kept = end
	}
}

// checkSecrets wants each clone to have found the value that held when it was made.
func checkSecrets(o observed) finding {
	var f finding
	clones := append(o.clones(), o.first)
	for _, c := range clones {
		if want := o.given[c.version()]; c.report.Secret != want || want == "" {
			f.wrong(c, "version %d found %q in %s, want %q", c.record.Version, c.report.Secret, probe.SecretFile, want)
		}
	}
	f.seen = fmt.Sprintf("%d clones of %d versions: each found the value of then", len(clones), len(o.given))
	return f
}

// checkLeaks wants no snapshot to hold what its clones were given.
func checkLeaks(o observed) finding {
	var f finding
	if len(o.searched) == 0 {
		f.failures = append(f.failures, "the files of no snapshot could be read: run this as root on the daemon's machine")
	}
	for _, path := range o.leaked {
		f.failures = append(f.failures, path+" holds the secret")
	}
	f.seen = fmt.Sprintf("%d files of snapshots, their sets included, hold no value of the secret", len(o.searched))
	return f
}
