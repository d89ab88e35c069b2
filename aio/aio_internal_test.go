package aio

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const block = 64 << 10

// file holds n blocks that can be told from each other.
func file(t *testing.T, n int) (*os.File, []byte) {
	t.Helper()
	content := make([]byte, n*block)
	random := rand.NewChaCha8([32]byte{7})
	_, _ = random.Read(content)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // a tmpfs before Linux 6.6
		f, err = os.Open(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, content
}

func area(t *testing.T, size int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

// queues are what New may return.
func queues(t *testing.T, depth int) map[string]*Queue {
	t.Helper()
	q := New(depth)
	if q.plain != nil {
		t.Error("this kernel gives no context for asynchronous I/O: see io_setup(2)")
	}
	return map[string]*Queue{"kernel": q, "plain": newPlain(depth)}
}

// TestRead has several reads under way, one of which reaches over the end.
func TestRead(t *testing.T) {
	t.Parallel()
	const n = 8
	f, content := file(t, n)
	for name, q := range queues(t, n+1) {
		t.Run(name, func(t *testing.T) {
			buf := area(t, (n+1)*block)
			for i := range n + 1 {
				if err := q.Read(int(f.Fd()), i, buf[i*block:][:block], int64(i)*block); err != nil {
					t.Fatal(err)
				}
			}
			seen := map[int]bool{}
			for range n + 1 {
				e, err := q.Wait()
				if err != nil || e.Err != nil {
					t.Fatal(err, e.Err)
				}
				want := block
				if e.Tag == n {
					want = 0
				}
				if e.N != want || seen[e.Tag] {
					t.Errorf("read %d returned %d bytes, want %d (seen before: %v)", e.Tag, e.N, want, seen[e.Tag])
				}
				seen[e.Tag] = true
			}
			if !bytes.Equal(buf[:len(content)], content) {
				t.Error("what was read is not what the file holds")
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadFails: a descriptor that cannot be read is an error of Read or of the read.
func TestReadFails(t *testing.T) {
	t.Parallel()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, q := range queues(t, 1) {
		t.Run(name, func(t *testing.T) {
			defer q.Close()
			err := q.Read(int(f.Fd()), 1, area(t, block), 0)
			if err == nil {
				e, waitErr := q.Wait()
				err = errors.Join(waitErr, e.Err)
			}
			if !errors.Is(err, unix.EBADF) {
				t.Errorf("reading a file opened for writing: %v, want %v", err, unix.EBADF)
			}
		})
	}
}
