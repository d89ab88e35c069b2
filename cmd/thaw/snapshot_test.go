package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"thaw"
)

const (
	goodID   = "aaaabbbbccccddddeeeeffff22"
	asideID  = "zzzzbbbbccccddddeeeeffff22.1"
	orphanID = "oooobbbbccccddddeeeeffff22"
)

// snapshotsInMemory are what the engine knows of.
func snapshotsInMemory() []thaw.Snapshot {
	serves := thaw.Snapshot{Status: thaw.SnapshotServes, Users: 2}
	serves.Manifest = thaw.Manifest{
		ID: goodID, Function: "hello", Version: 1, Created: time.Now(), MemoryBytes: 256 << 20, NonZeroPages: 20000,
		Machine: thaw.Machine{VMM: "qemu", VMMVersion: "7.2.1", Accelerator: "tcg", CPUModel: "max", HostCPU: "a processor"},
		Memory:  thaw.File{Bytes: 256 << 20, SHA256: "5a5a"},
	}
	serves.Folder, serves.DiskBytes, serves.WorkingSetPages = "/state/snapshots/"+goodID, 84<<20, 615
	serves.Files = []thaw.SnapshotFile{
		{Name: thaw.FileManifest, Bytes: 1000, DiskBytes: 4096}, {Name: thaw.FileMemory, Bytes: 256 << 20, DiskBytes: 80 << 20},
		{Name: thaw.FileLoadingSetReap, Bytes: 3 << 20, DiskBytes: 3 << 20}, {Name: thaw.FileLoadingSetThaw, Bytes: 1 << 20, DiskBytes: 1 << 20},
	}
	orphan := thaw.Snapshot{Status: thaw.SnapshotOrphaned}
	orphan.ID = orphanID
	aside := thaw.Snapshot{Status: thaw.SnapshotQuarantined, Problem: "snapshot is corrupt:\nchecksum of the memory file differs\x1b[31m"}
	aside.ID = asideID
	return []thaw.Snapshot{serves, orphan, aside}
}

func (e *memoryEngine) Snapshots(context.Context) ([]thaw.Snapshot, error) {
	return snapshotsInMemory(), nil
}

func (e *memoryEngine) DescribeSnapshot(_ context.Context, id string) (thaw.Snapshot, error) {
	all := snapshotsInMemory()
	i := slices.IndexFunc(all, func(s thaw.Snapshot) bool { return s.ID == id })
	if i < 0 {
		return thaw.Snapshot{}, thaw.Errorf(thaw.CodeNotFound, "there is no snapshot %s", id)
	}
	return all[i], nil
}

func (e *memoryEngine) RemoveSnapshot(_ context.Context, id string) error {
	if id == goodID {
		return thaw.Errorf(thaw.CodeConflict, "version 1 of function hello starts from it")
	}
	_, err := e.DescribeSnapshot(context.Background(), id)
	return err
}

// VerifySnapshot finds what e.damaged says.
func (e *memoryEngine) VerifySnapshot(ctx context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error) {
	s, err := e.DescribeSnapshot(ctx, id)
	if err != nil {
		return thaw.Verification{}, err
	}
	v := thaw.Verification{ID: id, Status: s.Status, Function: s.Function, Version: s.Version, Good: true, DurationMS: 1500}
	for _, f := range []thaw.FileCheck{
		{Name: thaw.FileMemory, Bytes: 256 << 20, ReadBytes: 256 << 20, DurationMS: 1234},
		{Name: thaw.FileLoadingSetReap, Optional: true, Bytes: 3 << 20, ReadBytes: 3 << 20, DurationMS: 5},
		{Name: thaw.FileLoadingSetFaaSnap, Optional: true, Bytes: 3 << 20, ReadBytes: 3 << 20, DurationMS: 5},
	} {
		half := f
		half.ReadBytes /= 2
		events(half)
		if f.Status = thaw.CheckOK; slices.Contains(e.damaged, f.Name) {
			f.Status, f.Problem, v.Good = thaw.CheckCorrupt, "its checksum\ndiffers", false
		}
		events(f)
		v.Files = append(v.Files, f)
	}
	if e.hold != nil {
		<-ctx.Done()
	}
	return v, ctx.Err()
}

func TestSnapshotList(t *testing.T) {
	d := serveMemory(t)
	got := d.thaw(t, "", "snapshot", "ls")
	got.want(t, 0, "\n"+goodID+"    hello     1        serves       now      256 MiB  84 MiB  78 MiB    2.4 MiB      4.0 MiB       -\n", "")
	got.want(t, 0, asideID+"  -         -        quarantined  -        -        0 B     -         -            -             …pshot is corrupt: | checksum of the memory file differs\uFFFD[31m\n", "")
	var all []thaw.Snapshot
	if err := json.Unmarshal([]byte(d.thaw(t, "", "snapshot", "ls", "-o", "json").stdout), &all); err != nil || len(all) != 3 || all[0].Memory.SHA256 != "5a5a" || all[2].Status != thaw.SnapshotQuarantined {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestSnapshotInspect(t *testing.T) {
	d := serveMemory(t)
	for _, want := range []string{
		"status       serves hello version 1, in use by 2 VMs\n",
		"memory       256 MiB, 20,000 of 65,536 pages hold something (78 MiB)\n",
		"machine      qemu 7.2.1, accelerator tcg, CPU model max\n             on a processor\n",
		"FILE              BYTES        LENGTH   ON DISK  SHA-256\n",
		"memory            268,435,456  256 MiB  80 MiB   5a5a\n",
	} {
		d.thaw(t, "", "snapshot", "inspect", goodID).want(t, 0, want, "")
	}
	d.thaw(t, "", "snapshot", "inspect", asideID).want(t, 0, "problem   snapshot is corrupt: | checksum", "")
	d.thaw(t, "", "snapshot", "inspect", goodID, "-o", "json").want(t, 0, `"working_set_pages": 615`, "")
	d.thaw(t, "", "snapshot", "inspect", "hello").want(t, 3, "", "no snapshot and no function is called hello")
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "snapshot", "inspect", "hello").want(t, 0, "snapshot     "+goodID, "")
	d.thaw(t, "", "snapshot", "inspect", "xxxxbbbbccccddddeeeeffff22").want(t, 3, "", "no snapshot and no function is called xxxx")
	d.thaw(t, "", "snapshot", "inspect", "../x").want(t, 2, "", "neither the id of a snapshot nor the name of a function")
}

func TestSnapshotVerify(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	got := d.thaw(t, "", "snapshot", "verify", "hello")
	want := `  memory               ok         256 MiB      1.2 s
  loading-set-reap     ok         3.0 MiB    5.00 ms
  loading-set-faasnap  ok         3.0 MiB    5.00 ms
` + goodID + " of hello version 1: good, 262 MiB of 3 files read in 1.5 s\n"
	if got != (outcome{0, want, ""}) {
		t.Errorf("%+v, want %s", got, want)
	}
	d.engine.damaged = []string{thaw.FileLoadingSetReap}
	got = d.thaw(t, "", "snapshot", "verify", goodID)
	got.want(t, 4, "  loading-set-reap     corrupt    3.0 MiB    5.00 ms  its checksum | differs\n", "records it again; to have that now: `thaw invoke hello:1 --record -d EVENT`\n")
	got.want(t, 4, "of hello version 1: BAD", "thaw: snapshot "+goodID+" of hello version 1 is bad, loading-set-reap is corrupt: ")
	d.engine.damaged = []string{thaw.FileLoadingSetFaaSnap}
	d.thaw(t, "", "snapshot", "verify", goodID).want(t, 4, "", "--record --policy faasnap -d EVENT`\n")
	d.engine.damaged = []string{thaw.FileMemory, thaw.FileLoadingSetReap}
	d.thaw(t, "", "snapshot", "verify", goodID).want(t, 4, "", "memory is corrupt, loading-set-reap is corrupt: deploy hello again")
	d.thaw(t, "", "snapshot", "verify", asideID).want(t, 4, "", "`thaw snapshot rm "+asideID+"` gives its space back\n")
	got = d.thaw(t, "", "snapshot", "verify", "--all")
	if got.exit != 4 || strings.Count(got.stdout, "BAD") != 2 || strings.Contains(got.stdout, asideID) || strings.Count(got.stderr, "\n") != 2 {
		t.Errorf("%+v, want two snapshots, each with a complaint", got)
	}
	var v thaw.Verification
	got = d.thaw(t, "", "snapshot", "verify", goodID, "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.exit != 4 || v.Good || len(v.Files) != 3 || v.Files[0].Status != thaw.CheckCorrupt {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSnapshotVerifyInterrupted(t *testing.T) {
	d := serveMemory(t)
	d.engine.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stdout, stderr output
	exit := run(ctx, []string{"--addr", d.addr, "snapshot", "verify", goodID}, strings.NewReader(""), &stdout, &stderr)
	outcome{exit, stdout.String(), stderr.String()}.want(t, 130, "memory", "thaw: interrupted\n")
}

func TestSnapshotRemove(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "snapshot", "rm", orphanID, asideID).want(t, 0, orphanID+" removed\n"+asideID+" removed\n", "")
	d.thaw(t, "", "snapshot", "rm", goodID).want(t, 2, "", "thaw: version 1 of function hello starts from it\n")
	d.thaw(t, "", "snapshot", "rm", "xxxxbbbbccccddddeeeeffff22").want(t, 3, "", "there is no snapshot xxxx")
	d.thaw(t, "", "snapshot", "rm", orphanID, "-o", "json").want(t, 0, `{
  "removed": "`+orphanID+`"
}`, "")
}

func TestSnapshotCompletion(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "__complete", "snapshot", "inspect", "").want(t, 0, "hello\n"+goodID+"\tserves hello version 1, in use by 2 VMs\n"+orphanID+"\torphaned\n", "")
	d.thaw(t, "", "__complete", "snapshot", "rm", "").want(t, 0, orphanID+"\torphaned\n"+asideID+"\tquarantined\n:4\n", "")
	if got := d.thaw(t, "", "__complete", "snapshot", "rm", orphanID, ""); strings.Contains(got.stdout, orphanID) || strings.Contains(got.stdout, goodID) {
		t.Errorf("%+v", got)
	}
}

func TestCheckLinesOnATerminal(t *testing.T) {
	out, progress := &output{}, &output{}
	l := &checkLines{out: out, progress: progress, live: true}
	f := thaw.FileCheck{Name: thaw.FileMemory, Bytes: 256 << 20, ReadBytes: 1 << 20}
	l.event(f)
	if progress.String() != "" {
		t.Errorf("drawn at once: %q", progress)
	}
	l.began = time.Now().Add(-patience)
	l.event(f)
	f.Status, f.DurationMS = thaw.CheckOK, 1234
	l.event(f)
	l.erase()
	if want := "\r\x1b[K  memory               1.0 MiB of 256 MiB read\r\x1b[K"; progress.String() != want {
		t.Errorf("drawn %q, want %q", progress, want)
	}
	if want := "  memory               ok         256 MiB      1.2 s\n"; out.String() != want {
		t.Errorf("written %q, want %q", out, want)
	}
}
