package pagecache_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

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
	// The same value: other tests use the disk.
	if err := r.Set(old); err != nil {
		t.Fatal(err)
	}
	if now, err := r.Get(); err != nil || now != old {
		t.Errorf("Get = %d, %v, want %d", now, err, old)
	}
}
