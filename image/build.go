package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"thaw"
)

// tmpPrefix marks the folder of a build that is not finished.
const tmpPrefix = "tmp-"

// build makes the image called name once: make writes it as result inside the
// folder tmp, and it is renamed to its place when it is complete. Callers who
// ask for the same name meanwhile wait for the same build. When that build was
// cancelled by the one who had started it, another one who waits starts anew.
func (s *Store) build(ctx context.Context, name string, progress Progress, make func(ctx context.Context, tmp string) (result string, err error)) (string, error) {
	final := filepath.Join(s.dir, name)
	for {
		if _, err := os.Stat(final); err == nil {
			return final, nil
		}
		leads, err := s.share(ctx, name, func() error { return s.buildOnce(ctx, final, make) })
		if err == nil {
			return final, nil
		}
		if leads || ctx.Err() != nil || !isCancelled(err) {
			return "", err
		}
		progress.say("the build that was under way has been cancelled: starting again")
	}
}

// share runs f unless another caller is running it for the same name, in which
// case it waits for that one. A caller that leads returns only after f has, so
// that nothing of a cancelled build is left when it returns.
func (s *Store) share(ctx context.Context, name string, f func() error) (leads bool, err error) {
	var mine atomic.Bool
	done := s.flights.DoChan(name, func() (any, error) {
		mine.Store(true)
		return nil, f()
	})
	select {
	case r := <-done:
		return mine.Load(), r.Err
	case <-ctx.Done():
		if mine.Load() {
			return true, (<-done).Err
		}
		return false, ctx.Err()
	}
}

func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// buildOnce runs make in a fresh folder and publishes its result as final.
func (s *Store) buildOnce(ctx context.Context, final string, make func(ctx context.Context, tmp string) (string, error)) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Stat(final); err == nil {
		return nil // the previous flight of this name has just landed
	}
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return diskError("make build folder", err)
	}
	defer func() { err = errors.Join(err, s.discard(tmp)) }()
	result, err := make(ctx, tmp)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return diskError("build "+filepath.Base(final), err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return publish(result, final)
}

// publish gives a complete file or folder its name: synced first, so that the
// name never outlives the content.
func publish(result, final string) error {
	if err := syncTree(result); err != nil {
		return diskError("sync "+filepath.Base(final), err)
	}
	if err := os.Rename(result, final); err != nil {
		return diskError("publish "+filepath.Base(final), err)
	}
	return diskError("sync image folder", syncPath(filepath.Dir(final)))
}

func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !(d.IsDir() || d.Type().IsRegular()) {
			return err
		}
		return syncPath(path)
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep clears what killed builds left behind.
func (s *Store) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, tmpPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for unfinished builds: %w", err)
	}
	for _, tmp := range left {
		if err := s.discard(tmp); err != nil {
			return fmt.Errorf("clear unfinished build: %w", err)
		}
	}
	return nil
}

// discard removes the folder of a build, after taking the packages that it had
// downloaded into the cache.
func (s *Store) discard(tmp string) error {
	herr := s.harvest(tmp)
	_, rerr := removeTree(tmp)
	return errors.Join(herr, rerr)
}

// removeTree removes path and reports the bytes of the regular files in it.
func removeTree(path string) (bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err != nil {
		return 0, fmt.Errorf("remove %s: %w", filepath.Base(path), err)
	}
	return bytes, nil
}

// diskError adds what was being done to err and, when the disk is full, what to
// do about it. It keeps the code of an error that has one; nil stays nil.
func diskError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return thaw.Errorf(thaw.CodeUnavailable, "%s: the disk of the image folder is full: free about 1 GiB and try again: %w", doing, err)
	case thaw.CodeOf(err) != thaw.CodeInternal:
		return err // it says by itself what is wrong
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// key hashes parts in a way that no two lists of parts share.
func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		hashPart(h, []byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashPart writes the length of b before b, so that parts cannot run together.
func hashPart(h hash.Hash, b []byte) {
	fmt.Fprintf(h, "%d:", len(b))
	h.Write(b)
}

func diskOf(key, path string) (Disk, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Disk{}, fmt.Errorf("look at image: %w", err)
	}
	return Disk{Key: key, Path: path, Bytes: info.Size()}, nil
}
