package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guestPages is the size of the guest memory in these tests: over 1 MiB, which
// is how much Publish looks at in one go.
const guestPages = 600

// used are the pages of it that hold something: the first and the last, some on
// both sides of the first MiB, and one whose last byte alone is not zero.
func used() []int64 { return []int64{0, 9, 254, 255, 256, 300, guestPages - 1} }

func machine() thaw.Machine {
	return thaw.Machine{VMM: "qemu", VMMVersion: "7.2.1", Accelerator: "tcg", CPUModel: "max", Kernel: "k1"}
}

func images() thaw.Images {
	return thaw.Images{Kernel: "kernel-key", Initramfs: "initramfs-key", Root: "root-key", Code: "code-key"}
}

func newStore(t *testing.T) (s *snapshot.Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	return reopen(t, dir), dir
}

func reopen(t *testing.T, dir string) *snapshot.Store {
	t.Helper()
	s, err := snapshot.NewStore(filepath.Join(dir, "snapshots"), filepath.Join(dir, "quarantine"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// guestMemory is guest memory as a VMM leaves it; all of it is written, zeroes
// too.
func guestMemory() []byte {
	b := make([]byte, guestPages*thaw.PageSize)
	for _, p := range used() {
		page := b[p*thaw.PageSize:][:thaw.PageSize]
		if p == 300 {
			page[thaw.PageSize-1] = 1
			continue
		}
		copy(page, bytes.Repeat([]byte{byte(p), 0xa5}, thaw.PageSize/2))
	}
	return b
}

func guestState() []byte { return bytes.Repeat([]byte("registers"), 1000) }

// draft begins a snapshot and writes what a VMM would.
func draft(t *testing.T, s *snapshot.Store) *snapshot.Draft {
	t.Helper()
	d, err := s.Draft(guestPages * thaw.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Memory.WriteAt(guestMemory(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.State.Write(guestState()); err != nil {
		t.Fatal(err)
	}
	return d
}

func publish(t *testing.T, s *snapshot.Store) thaw.Manifest {
	t.Helper()
	m, err := draft(t, s).Publish(t.Context(), machine(), images())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ids(t *testing.T, s *snapshot.Store) []string {
	t.Helper()
	ids, err := s.IDs()
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// names lists folder, hidden files too.
func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// sameDescriptors fails the test if it leaves other descriptors open than those
// that are open now.
func sameDescriptors(t *testing.T) {
	t.Helper()
	before := len(names(t, "/proc/self/fd"))
	t.Cleanup(func() {
		if after := len(names(t, "/proc/self/fd")); after != before {
			t.Errorf("%d descriptors are open, %d were before", after, before)
		}
	})
}

func TestPublish(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	folder := filepath.Join(dir, "snapshots", m.ID)
	if d := cmp.Diff([]string{m.ID}, ids(t, s)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{m.ID}, names(t, filepath.Dir(folder))); d != "" {
		t.Error("something else is left in the store:", d)
	}
	if d := cmp.Diff([]string{thaw.FileManifest, thaw.FileMemory, thaw.FileRegions, thaw.FileState}, names(t, folder)); d != "" {
		t.Error(d)
	}
	t.Run("ManifestIsReadBack", func(t *testing.T) {
		got, err := s.Manifest(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	})
	t.Run("Manifest", func(t *testing.T) {
		if m.Format != thaw.ManifestFormat || m.Machine != machine() || m.Images != images() || m.Created.IsZero() {
			t.Errorf("manifest is %+v", m)
		}
		if m.NonZeroPages != int64(len(used())) || m.MemoryBytes != guestPages*thaw.PageSize {
			t.Errorf("%d pages of %d bytes are not zero, want %d of %d", m.NonZeroPages, m.MemoryBytes, len(used()), guestPages*thaw.PageSize)
		}
		want := []thaw.File{fileOf(guestMemory()), fileOf(guestState())}
		if d := cmp.Diff(want, []thaw.File{m.Memory, m.State}); d != "" {
			t.Error(d)
		}
	})
	t.Run("FilesAreReadOnly", func(t *testing.T) {
		for name, want := range map[string]fs.FileMode{thaw.FileMemory: 0o400, thaw.FileState: 0o400, thaw.FileManifest: 0o600, "": fs.ModeDir | 0o700} {
			info, err := os.Stat(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != want {
				t.Errorf("%q has mode %v, want %v", name, info.Mode(), want)
			}
		}
	})
	t.Run("ZeroPagesAreHoles", func(t *testing.T) { checkHoles(t, filepath.Join(folder, thaw.FileMemory)) })
	t.Run("Verify", func(t *testing.T) {
		if err := s.Verify(t.Context(), m.ID); err != nil {
			t.Error(err)
		}
	})
}

func fileOf(b []byte) thaw.File {
	digest := sha256.Sum256(b)
	return thaw.File{Bytes: int64(len(b)), SHA256: hex.EncodeToString(digest[:])}
}

func checkHoles(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, guestMemory()) {
		t.Error("contents of the memory file have changed")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var data []int64
	for p := range int64(guestPages) {
		if at, err := f.Seek(p*thaw.PageSize, unix.SEEK_DATA); err == nil && at == p*thaw.PageSize {
			data = append(data, p)
		}
	}
	if d := cmp.Diff(used(), data); d != "" {
		t.Error("pages that are not a hole:", d)
	}
	onDisk, err := snapshot.DiskBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	// A file system may need a block for the list of extents.
	if need := int64(len(used())) * thaw.PageSize; onDisk < need || onDisk > need+2*thaw.PageSize {
		t.Errorf("memory file occupies %d bytes, its pages %d", onDisk, need)
	}
}

func TestPublishZeroesOnly(t *testing.T) {
	s, _ := newStore(t)
	d, err := s.Draft(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Memory.Write(make([]byte, 1<<19)); err != nil {
		t.Fatal(err)
	}
	m, err := d.Publish(t.Context(), machine(), images())
	if err != nil || m.NonZeroPages != 0 || m.Memory != fileOf(make([]byte, 1<<20)) {
		t.Fatalf("Publish = %+v, %v", m, err)
	}
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Error(err)
	}
}

func TestDraftCannotBeSeen(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	d := draft(t, s)
	if got := ids(t, s); len(got) != 0 {
		t.Errorf("an unfinished draft is listed: %v", got)
	}
	for range 2 {
		if err := d.Discard(); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, filepath.Join(dir, "snapshots")); len(got) != 0 {
		t.Errorf("a discarded draft leaves %v", got)
	}
}

func TestDiscardAfterPublish(t *testing.T) {
	s, _ := newStore(t)
	d := draft(t, s)
	m, err := d.Publish(t.Context(), machine(), images())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Errorf("Discard after Publish harmed the snapshot: %v", err)
	}
}

func TestPublishThatFailsLeavesNothing(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	d := draft(t, s)
	_ = d.State.Close()
	if _, err := d.Publish(t.Context(), machine(), images()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Publish = %v, want a closed file", err)
	}
	if got := names(t, filepath.Join(dir, "snapshots")); len(got) != 0 {
		t.Errorf("a failed Publish leaves %v", got)
	}
}

func TestDraftOfNoSizeLeavesNothing(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	func() {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("Draft panics: %v", p)
			}
		}()
		if d, err := s.Draft(-1); err == nil {
			t.Errorf("Draft of -1 bytes = %v", d)
		}
	}()
	if got := names(t, filepath.Join(dir, "snapshots")); len(got) != 0 {
		t.Errorf("a failed Draft leaves %v", got)
	}
}

func TestDraftThatDoesNotFit(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	if _, err := s.Draft(1 << 60); thaw.CodeOf(err) != thaw.CodeUnavailable {
		t.Errorf("Draft of more than the disk = %v, want %s", err, thaw.CodeUnavailable)
	}
	if got := names(t, filepath.Join(dir, "snapshots")); len(got) != 0 {
		t.Errorf("a refused Draft leaves %v", got)
	}
}

func TestNewStoreSweepsWhatAKillLeft(t *testing.T) {
	s, dir := newStore(t)
	kept := publish(t, s)
	d := draft(t, s) // never ended, as by a kill
	defer d.Memory.Close()
	defer d.State.Close()
	removed := filepath.Join(dir, "snapshots", "draft-removed-"+strings.Repeat("a", 26))
	if err := os.MkdirAll(filepath.Join(removed, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir)
	if d := cmp.Diff([]string{kept.ID}, names(t, filepath.Join(dir, "snapshots"))); d != "" {
		t.Error(d)
	}
	if err := s.Verify(t.Context(), kept.ID); err != nil {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	s, dir := newStore(t)
	m, other := publish(t, s), publish(t, s)
	for range 2 { // the second time it is missing
		if err := s.Remove(m.ID); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff([]string{other.ID}, names(t, filepath.Join(dir, "snapshots"))); d != "" {
		t.Error(d)
	}
	if _, err := s.Manifest(m.ID); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("Manifest after Remove = %v", err)
	}
}

func TestQuarantine(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	folder, quarantine := filepath.Join(dir, "snapshots", m.ID), filepath.Join(dir, "quarantine")
	aside := filepath.Join(dir, "aside")
	if err := os.CopyFS(aside, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := s.Quarantine(m.ID, errors.New("first reason")); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, s); len(got) != 0 {
		t.Errorf("quarantined snapshots are listed: %v", got)
	}
	if err := os.Rename(aside, folder); err != nil { // comes back, as from a backup
		t.Fatal(err)
	}
	if err := s.Quarantine(m.ID, errors.New("second reason\n")); err != nil {
		t.Fatal(err)
	}
	want := []string{m.ID, m.ID + ".1", m.ID + ".1.reason", m.ID + ".reason"}
	if d := cmp.Diff(want, names(t, quarantine)); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{m.ID + ".reason": "first reason\n", m.ID + ".1.reason": "second reason\n"} {
		if b, err := os.ReadFile(filepath.Join(quarantine, name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, want)
		}
	}
	for _, name := range []string{m.ID, m.ID + ".1"} {
		if d := cmp.Diff([]string{thaw.FileManifest, thaw.FileMemory, thaw.FileRegions, thaw.FileState}, names(t, filepath.Join(quarantine, name))); d != "" {
			t.Error(d)
		}
	}
	t.Run("OfWhatIsGone", func(t *testing.T) {
		if err := s.Quarantine(m.ID, errors.New("third reason")); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(quarantine, m.ID+".reason")); err != nil || string(b) != "first reason\n" {
			t.Errorf("first reason has become %q, %v", b, err)
		}
	})
}

func TestIDsThatAreNone(t *testing.T) {
	for _, id := range []string{
		"", ".", "..", "../victim", "victim/../../victim", "/etc", "short", "UPPERCASE1", "with space 1", "ümlaut-1234",
		"draft-abcdefgh", strings.Repeat("a", 65), strings.Repeat("a", 300), "abcdefgh\x00", "abcdefgh\n",
	} {
		t.Run(id, func(t *testing.T) {
			s, dir := newStore(t)
			kept := publish(t, s)
			victim := filepath.Join(dir, "victim")
			if err := os.CopyFS(victim, os.DirFS(filepath.Join(dir, "snapshots", kept.ID))); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			_, openErr := openByID(t.Context(), s, id, machine())
			_, manifestErr := s.Manifest(id)
			_, infoErr := s.Info(id)
			for name, err := range map[string]error{"Open": openErr, "Manifest": manifestErr, "Info": infoErr, "Verify": s.Verify(t.Context(), id)} {
				if !errors.Is(err, snapshot.ErrCorrupt) {
					t.Errorf("%s = %v, want ErrCorrupt", name, err)
				}
			}
			_, setErr := s.SetFile(thaw.Manifest{ID: id}, thaw.FileWorkingSet)
			for name, err := range map[string]error{
				"Remove":     s.Remove(id),
				"Quarantine": s.Quarantine(id, errors.New("reason")),
				"SetFile":    setErr,
			} {
				if err == nil {
					t.Errorf("%s did not refuse", name)
				}
			}
			if d := cmp.Diff(before, tree(t, dir)); d != "" {
				t.Error("files have moved:", d)
			}
		})
	}
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, strings.TrimPrefix(path, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestInfo(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	info, err := s.Info(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "snapshots", m.ID)
	want := thaw.SnapshotInfo{Manifest: m, Folder: folder}
	for _, name := range names(t, folder) {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(folder, name), &st); err != nil {
			t.Fatal(err)
		}
		want.DiskBytes += st.Blocks * 512
		want.Files = append(want.Files, thaw.SnapshotFile{Name: name, Bytes: st.Size, DiskBytes: st.Blocks * 512})
	}
	byName := cmpopts.SortSlices(func(a, b thaw.SnapshotFile) bool { return a.Name < b.Name })
	if d := cmp.Diff(want, info, byName); d != "" {
		t.Error(d)
	}
	publishSets(t, s, m, 9, 300)
	if again, err := s.Info(m.ID); err != nil || again.WorkingSetPages != 2 || again.DiskBytes <= info.DiskBytes {
		t.Errorf("Info with a working set = %+v, %v", again, err)
	}
}

// edit changes the manifest of the snapshot in folder by hand.
func edit(t *testing.T, folder string, change func(m *thaw.Manifest)) {
	t.Helper()
	path := filepath.Join(folder, thaw.FileManifest)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m thaw.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	change(&m)
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
