package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/snapshot"
)

func TestOpen(t *testing.T) {
	s, _ := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	o, err := openByID(t.Context(), s, m.ID, machine())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	state, err := io.ReadAll(o.State)
	if err != nil || !bytes.Equal(state, guestState()) {
		t.Errorf("state has %d bytes, %v, or the wrong ones", len(state), err)
	}
	memory, err := io.ReadAll(o.Memory)
	if err != nil || !bytes.Equal(memory, guestMemory()) {
		t.Errorf("memory has %d bytes, %v, or the wrong ones", len(memory), err)
	}
	if _, err := o.Memory.WriteAt([]byte{1}, 0); err == nil {
		t.Error("memory file is open for writing")
	}
	t.Run("RemovedMeanwhile", func(t *testing.T) {
		if err := s.Remove(m.ID); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, thaw.PageSize)
		if _, err := o.Memory.ReadAt(b, 9*thaw.PageSize); err != nil || b[0] != 9 {
			t.Errorf("open memory file cannot be read any more: %d, %v", b[0], err)
		}
	})
}

func TestOpenOnAnotherMachine(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	for name, change := range map[string]func(m *thaw.Machine){
		"VMM":         func(m *thaw.Machine) { m.VMM = "firecracker" },
		"VMMVersion":  func(m *thaw.Machine) { m.VMMVersion = "7.2.2" },
		"Accelerator": func(m *thaw.Machine) { m.Accelerator = "kvm" },
		"CPUModel":    func(m *thaw.Machine) { m.CPUModel = "" },
		"Kernel":      func(m *thaw.Machine) { m.Kernel = "k2" },
	} {
		t.Run(name, func(t *testing.T) {
			sameDescriptors(t)
			other := machine()
			change(&other)
			wantOnly(t, openError(t, s, m.ID, other), snapshot.ErrStale)
		})
	}
}

func openError(t *testing.T, s *snapshot.Store, id string, machine thaw.Machine) error {
	t.Helper()
	o, err := openByID(t.Context(), s, id, machine)
	if err == nil {
		return o.Close()
	}
	return err
}

// wantOnly checks that err wraps one of the two sentinels and not the other:
// one snapshot is kept for a person to look at, the other is deleted.
func wantOnly(t *testing.T, err, want error) {
	t.Helper()
	for _, e := range []error{snapshot.ErrCorrupt, snapshot.ErrStale} {
		if is, should := errors.Is(err, e), errors.Is(want, e); is != should {
			t.Errorf("error %v wraps %q: %v, want %v", err, e, is, should)
		}
	}
}

func TestOpenOfWhatWasDamaged(t *testing.T) {
	onFile := func(name string, change func(t *testing.T, path string)) func(*testing.T, string) {
		return func(t *testing.T, folder string) { change(t, filepath.Join(folder, name)) }
	}
	onManifest := func(change func(m *thaw.Manifest)) func(*testing.T, string) {
		return func(t *testing.T, folder string) { edit(t, folder, change) }
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, folder string)
		want   error
	}{
		"StateFlipped":       {onFile(thaw.FileState, flip), snapshot.ErrCorrupt},
		"StateCut":           {onFile(thaw.FileState, resize(-1)), snapshot.ErrCorrupt},
		"StateGrown":         {onFile(thaw.FileState, resize(1)), snapshot.ErrCorrupt},
		"StateMissing":       {onFile(thaw.FileState, remove), snapshot.ErrCorrupt},
		"StateIsAFolder":     {onFile(thaw.FileState, folderInstead), snapshot.ErrCorrupt},
		"MemoryFlipped":      {onFile(thaw.FileMemory, flip), snapshot.ErrCorrupt},
		"MemoryCut":          {onFile(thaw.FileMemory, resize(-thaw.PageSize)), snapshot.ErrCorrupt},
		"MemoryGrown":        {onFile(thaw.FileMemory, resize(thaw.PageSize)), snapshot.ErrCorrupt},
		"MemoryMissing":      {onFile(thaw.FileMemory, remove), snapshot.ErrCorrupt},
		"MemoryIsAFolder":    {onFile(thaw.FileMemory, folderInstead), snapshot.ErrCorrupt},
		"ManifestCut":        {onFile(thaw.FileManifest, resize(-10)), snapshot.ErrCorrupt},
		"ManifestEmpty":      {onFile(thaw.FileManifest, overwrite("")), snapshot.ErrCorrupt},
		"ManifestIsNull":     {onFile(thaw.FileManifest, overwrite("null")), snapshot.ErrStale}, // format 0
		"ManifestIsGarbage":  {onFile(thaw.FileManifest, overwrite("\x00\xff")), snapshot.ErrCorrupt},
		"ManifestMissing":    {onFile(thaw.FileManifest, remove), snapshot.ErrCorrupt},
		"FolderMissing":      {func(_ *testing.T, folder string) { _ = os.RemoveAll(folder) }, snapshot.ErrCorrupt},
		"OlderFormat":        {onManifest(func(m *thaw.Manifest) { m.Format-- }), snapshot.ErrStale},
		"NewerFormat":        {onManifest(func(m *thaw.Manifest) { m.Format++ }), snapshot.ErrStale},
		"AnotherID":          {onManifest(func(m *thaw.Manifest) { m.ID = "abcdefghij" }), snapshot.ErrCorrupt},
		"IDIsAPath":          {onManifest(func(m *thaw.Manifest) { m.ID = "../" + m.ID }), snapshot.ErrCorrupt},
		"NoMemory":           {onManifest(func(m *thaw.Manifest) { m.MemoryBytes, m.Memory.Bytes = 0, 0 }), snapshot.ErrCorrupt},
		"NegativeMemory":     {onManifest(func(m *thaw.Manifest) { m.MemoryBytes, m.Memory.Bytes = -1, -1 }), snapshot.ErrCorrupt},
		"HugeMemory":         {onManifest(func(m *thaw.Manifest) { m.MemoryBytes, m.Memory.Bytes = 1<<62, 1<<62 }), snapshot.ErrCorrupt},
		"SizesContradict":    {onManifest(func(m *thaw.Manifest) { m.MemoryBytes += thaw.PageSize }), snapshot.ErrCorrupt},
		"HugeState":          {onManifest(func(m *thaw.Manifest) { m.State.Bytes = 1 << 62 }), snapshot.ErrCorrupt},
		"StateSumDiffers":    {onManifest(func(m *thaw.Manifest) { m.State.SHA256 = m.Memory.SHA256 }), snapshot.ErrCorrupt},
		"IdentityAndSumDiff": {onManifest(func(m *thaw.Manifest) { m.Memory.SHA256, m.MemoryIdentity.Inode = m.State.SHA256, 1 }), snapshot.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			c.damage(t, filepath.Join(dir, "snapshots", m.ID))
			wantOnly(t, openError(t, s, m.ID, machine()), c.want)
			wantOnly(t, s.Verify(t.Context(), m.ID), c.want)
		})
	}
}

// flip changes one bit in the middle.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	rewrite(t, path, b)
}

// rewrite writes b in place, as the owner can: the file keeps its inode.
func rewrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
}

func resize(by int64) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()+by); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func folderInstead(t *testing.T, path string) {
	t.Helper()
	remove(t, path)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func overwrite(text string) func(t *testing.T, path string) {
	return func(t *testing.T, path string) { t.Helper(); rewrite(t, path, []byte(text)) }
}

// TestVerifyReadsMemory: Open trusts a memory file of the same identity, so that
// it need not read all of it; Verify does not.
func TestVerifyReadsMemory(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	folder := filepath.Join(dir, "snapshots", m.ID)
	flip(t, filepath.Join(folder, thaw.FileMemory))
	edit(t, folder, func(m *thaw.Manifest) { m.MemoryIdentity = identity(t, folder) })
	if err := openError(t, s, m.ID, machine()); err != nil {
		t.Errorf("Open of the same identity = %v", err)
	}
	if err := s.Verify(t.Context(), m.ID); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("Verify = %v, want ErrCorrupt", err)
	}
}

func identity(t *testing.T, folder string) thaw.Identity {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(folder, thaw.FileMemory), &st); err != nil {
		t.Fatal(err)
	}
	return thaw.Identity{Inode: st.Ino, ChangeNS: st.Ctim.Nano()}
}

// moved are the ways in which a memory file comes to be another one of the same
// contents.
func moved() map[string]func(t *testing.T, folder string) {
	return map[string]func(t *testing.T, folder string){
		"CopiedAwayAndBack": func(t *testing.T, folder string) {
			away := filepath.Join(t.TempDir(), "away")
			for _, way := range [][2]string{{folder, away}, {away, folder}} {
				if err := os.CopyFS(way[1], os.DirFS(way[0])); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(way[0]); err != nil {
					t.Fatal(err)
				}
			}
		},
		"Rewritten":   func(t *testing.T, folder string) { rewrite(t, filepath.Join(folder, thaw.FileMemory), guestMemory()) },
		"ModeChanged": func(t *testing.T, folder string) { _ = os.Chmod(filepath.Join(folder, thaw.FileMemory), 0o600) },
	}
}

func TestOpenOfWhatWasMoved(t *testing.T) {
	for name, move := range moved() {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			folder := filepath.Join(dir, "snapshots", m.ID)
			move(t, folder)
			want := identity(t, folder)
			if want == m.MemoryIdentity {
				t.Fatal("identity has not changed")
			}
			o, err := openByID(t.Context(), s, m.ID, machine())
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			if o.MemoryIdentity != want {
				t.Errorf("opened identity is %+v, want %+v: whoever uses it sums the file again", o.MemoryIdentity, want)
			}
			got, err := s.Manifest(m.ID)
			if err != nil || got.MemoryIdentity != want {
				t.Errorf("identity in the manifest is %+v, %v, want %+v", got.MemoryIdentity, err, want)
			}
			before := manifestInode(t, folder)
			if err := openError(t, s, m.ID, machine()); err != nil {
				t.Error(err)
			}
			if manifestInode(t, folder) != before {
				t.Error("second Open writes the manifest again")
			}
		})
	}
}

func manifestInode(t *testing.T, folder string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(folder, thaw.FileManifest), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestOpenAtOnce: restores of one snapshot run side by side, also the first ones
// after its files were moved.
func TestOpenAtOnce(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	moved()["Rewritten"](t, filepath.Join(dir, "snapshots", m.ID))
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			if err := openError(t, s, m.ID, machine()); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Error(err)
	}
}

// TestGivenUp: a sum that was given up says nothing about the file, which must
// not be put in quarantine for it.
func TestGivenUp(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	reason := errors.New("lost patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	moved()["Rewritten"](t, filepath.Join(dir, "snapshots", m.ID))
	_, openErr := openByID(ctx, s, m.ID, machine())
	setErr := s.PublishLoadingSet(ctx, m, thaw.FileLoadingSetThaw, loadingOf(t, m, 1))
	_, publishErr := draft(t, s).Publish(ctx, machine(), images())
	for name, err := range map[string]error{
		"Open": openErr, "PublishLoadingSet": setErr, "Publish": publishErr, "Verify": s.Verify(ctx, m.ID),
	} {
		if !errors.Is(err, reason) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want the reason", name, err)
		}
		if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrStale) {
			t.Errorf("%s = %v takes the snapshot out of use", name, err)
		}
	}
	if d := cmp.Diff([]string{m.ID}, names(t, filepath.Join(dir, "snapshots"))); d != "" {
		t.Error(d)
	}
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Error(err)
	}
}

// openByID does what a restore does: it reads the manifest, then opens.
func openByID(ctx context.Context, s *snapshot.Store, id string, machine thaw.Machine) (*snapshot.Opened, error) {
	m, err := s.Manifest(id)
	if err != nil {
		return nil, err
	}
	return s.Open(ctx, m, machine)
}
