package pagecache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"thaw/pagecache"
)

func file(t *testing.T, size int) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(bytes.Repeat([]byte{7}, size)); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDamaged: a bad sector is the file's fault, too many open files are not.
func TestDamaged(t *testing.T) {
	for _, err := range []error{unix.EIO, unix.ENODATA, unix.EILSEQ, io.EOF, io.ErrUnexpectedEOF, pagecache.ErrTooLong} {
		if !pagecache.Damaged(fmt.Errorf("read: %w", err)) {
			t.Errorf("%v is not", err)
		}
	}
	for _, err := range []error{nil, unix.EMFILE, unix.ENOMEM, unix.EAGAIN, os.ErrClosed, os.ErrNotExist} {
		if pagecache.Damaged(err) {
			t.Errorf("%v is", err)
		}
	}
}

func TestEvictDirtyPages(t *testing.T) {
	f := file(t, 1<<20)
	if n, err := pagecache.Resident(f); err != nil || n != 256 {
		t.Fatalf("Resident after a write = %d, %v, want 256", n, err)
	}
	if err := pagecache.Evict(f); err != nil {
		t.Fatal(err)
	}
	if n, err := pagecache.Resident(f); err != nil || n != 0 {
		t.Errorf("Resident after Evict = %d, %v, want 0", n, err)
	}
}

func TestReadDirect(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 4097, 1 << 20} {
		f := file(t, size)
		if err := pagecache.Evict(f); err != nil {
			t.Fatal(err)
		}
		b, direct, err := pagecache.ReadDirect(f.Name(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, bytes.Repeat([]byte{7}, size)) {
			t.Errorf("read %d bytes of %d, or the wrong ones", len(b), size)
		}
		if n, err := pagecache.Resident(f); direct && (err != nil || n != 0) {
			t.Errorf("%d pages of %d bytes are in the page cache after a direct read", n, size)
		}
	}
}

func TestReadDirectRefusesWhatIsTooLong(t *testing.T) {
	if _, _, err := pagecache.ReadDirect(file(t, 4097).Name(), 4096); err == nil {
		t.Error("ReadDirect past its limit worked")
	}
}

func TestReadaheadIsPutBack(t *testing.T) {
	r, err := pagecache.ReadaheadOf(t.TempDir())
	if err != nil {
		t.Skipf("%v: run with TMPDIR on a disk", err)
	}
	old, err := r.Get()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	want := func(what string, kib int) {
		t.Helper()
		if now, err := r.Get(); err != nil || now != kib {
			t.Errorf("%s: %d KiB, %v, want %d", what, now, err, kib)
		}
	}
	// The same value: other tests use the disk.
	h, err := r.Hold(old, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Hold(old, dir); !errors.Is(err, pagecache.ErrHeld) {
		t.Errorf("a second Hold = %v, want ErrHeld", err)
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	want("after Release", old)
	// What a killed process leaves.
	files, err := filepath.Glob(filepath.Join(dir, "thaw-readahead-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(strconv.Itoa(old)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Recover(dir); err != nil {
		t.Fatal(err)
	}
	want("after Recover", old)
	if info, err := os.Stat(files[0]); err != nil || info.Size() != 0 {
		t.Errorf("after Recover the file is %d bytes long, %v", info.Size(), err)
	}
}
