package publish_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/publish"
)

// taken is the first step, when the code has been read.
const taken = "taken"

// at is the record of a publish at a step, with a snapshot from the one that makes
// one on.
func at(step string) publish.Record {
	r := publish.Record{
		Format:  publish.Format,
		Publish: thaw.Publish{Function: "hello", State: thaw.PublishRunning, Step: step, Began: time.Unix(1, 0).UTC()},
	}
	if step == thaw.StepBuild {
		return r
	}
	if step == taken {
		r.Publish.Step = thaw.StepBuild
	}
	r.Publish.Number = 3
	r.Version = thaw.Version{Function: "hello", Number: 3, Images: thaw.Images{Code: "c"}}
	if step != taken && publish.After(step, thaw.StepSnapshot) {
		r.Version.Snapshot = "snapshot1"
	}
	return r
}

// TestDecide lists what a kill during each step leads to.
func TestDecide(t *testing.T) {
	all := publish.Found{Code: true, Images: true, Snapshot: true}
	none := publish.Found{Code: true, Images: true}
	code := publish.Found{Code: true, Snapshot: true}
	for name, c := range map[string]struct {
		step   string
		found  publish.Found
		action publish.Action
		from   string
		drop   bool
	}{
		"Build":                  {thaw.StepBuild, publish.Found{}, publish.Undo, "", false},
		"BuildOfTheRest":         {taken, code, publish.Resume, thaw.StepBuild, true},
		"Boot":                   {thaw.StepBoot, none, publish.Resume, thaw.StepBoot, true},
		"Init":                   {thaw.StepInit, none, publish.Resume, thaw.StepBoot, true},
		"Prime":                  {thaw.StepPrime, none, publish.Resume, thaw.StepBoot, true},
		"Quiesce":                {thaw.StepQuiesce, none, publish.Resume, thaw.StepBoot, true},
		"SnapshotNotYetVisible":  {thaw.StepSnapshot, none, publish.Resume, thaw.StepBoot, true},
		"SnapshotVisible":        {thaw.StepSnapshot, all, publish.Resume, thaw.StepVerify, false},
		"Verify":                 {thaw.StepVerify, all, publish.Resume, thaw.StepVerify, false},
		"VerifyWithoutSnapshot":  {thaw.StepVerify, none, publish.Resume, thaw.StepBoot, true},
		"Record":                 {thaw.StepRecord, all, publish.Resume, thaw.StepRecord, false},
		"RecordWithoutSnapshot":  {thaw.StepRecord, none, publish.Resume, thaw.StepBoot, true},
		"Activate":               {thaw.StepActivate, all, publish.Resume, thaw.StepActivate, false},
		"BootWithCodeOnly":       {thaw.StepBoot, publish.Found{Code: true}, publish.Resume, thaw.StepBuild, true},
		"ActivateWithCodeOnly":   {thaw.StepActivate, code, publish.Resume, thaw.StepBuild, true},
		"ActivateWithoutCode":    {thaw.StepActivate, publish.Found{Snapshot: true}, publish.Undo, "", true},
		"BootWithoutCode":        {thaw.StepBoot, publish.Found{}, publish.Undo, "", true},
		"ActivateSnapshotIsGone": {thaw.StepActivate, none, publish.Resume, thaw.StepBoot, true},
		"Serving":                {thaw.StepActivate, publish.Found{Code: true, Images: true, Snapshot: true, Serving: true}, publish.Leave, "", false},
	} {
		d := publish.Decide(at(c.step), c.found)
		if d.Action != c.action || d.From != c.from || d.Drop != c.drop || d.Reason == "" {
			t.Errorf("%s: %+v, want %s from %q, drop %v", name, d, c.action, c.from, c.drop)
		}
	}
}

// TestDecideOthers are records at the same step that lead elsewhere.
func TestDecideOthers(t *testing.T) {
	without := at(thaw.StepActivate)
	without.Version.Snapshot, without.Version.Problem = "", "it could not be restored"
	if d := publish.Decide(without, publish.Found{Code: true, Images: true}); d.Action != publish.Resume || d.From != thaw.StepActivate {
		t.Errorf("a version that has to boot: %+v", d)
	}
	for _, state := range []thaw.PublishState{thaw.PublishDone, thaw.PublishFailed} {
		over := at(thaw.StepRecord)
		over.Publish.State = state
		if d := publish.Decide(over, publish.Found{Code: true, Images: true, Snapshot: true}); d.Action != publish.Leave {
			t.Errorf("%s: %+v", state, d)
		}
	}
	often := at(thaw.StepBoot)
	for range 2 * publish.MaxResumes {
		if publish.Decide(often, publish.Found{Code: true, Images: true}).Action != publish.Resume {
			break
		}
		often.Publish.Resumed++
	}
	d := publish.Decide(often, publish.Found{Code: true, Images: true})
	if often.Publish.Resumed != publish.MaxResumes || d.Action != publish.Undo || !strings.Contains(d.Reason, "4 daemons have ended") {
		t.Errorf("resumed %d times: %+v", often.Publish.Resumed, d)
	}
}

func TestFormat(t *testing.T) {
	for _, step := range thaw.PublishSteps() {
		want := at(step)
		want.Publish.Steps = []thaw.PublishStep{{Step: thaw.StepBuild, Message: "built", DurationMS: 1.5}}
		b, err := publish.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := publish.Decode("hello", b)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v, %s", step, err, d)
		}
	}
	bad := map[string]func(*publish.Record){
		"state":           func(r *publish.Record) { r.Publish.State = "magic" },
		`step is "magic"`: func(r *publish.Record) { r.Publish.Step = "magic" },
		"negative":        func(r *publish.Record) { r.Publish.Resumed = -1 },
		"is to be":        func(r *publish.Record) { r.Version.Number = 4 },
		`of "other"`:      func(r *publish.Record) { r.Version.Function = "other" },
		"has no version":  func(r *publish.Record) { r.Publish.Number, r.Version.Number = 0, 0 },
		"it is of":        func(r *publish.Record) { r.Publish.Function = "other" },
	}
	for want, spoil := range bad {
		r := at(thaw.StepBoot)
		spoil(&r)
		b, err := publish.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publish.Decode("hello", b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for text, want := range map[string]string{`{"format":2}`: "its format is 2, this build reads 1", `{`: "unexpected end", `[]`: "cannot unmarshal"} {
		if _, err := publish.Decode("hello", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzDecode: whatever is read is read the same again, and leads to something that
// can be done.
func FuzzDecode(f *testing.F) {
	for _, step := range thaw.PublishSteps() {
		b, err := publish.Encode(at(step))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true, true, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, code, images, snapshot bool) {
		r, err := publish.Decode("hello", b)
		if err != nil {
			return
		}
		again, err := publish.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := publish.Decode("hello", again); err != nil || got.Publish.Step != r.Publish.Step || got.Version.Snapshot != r.Version.Snapshot {
			t.Fatalf("%v: %+v is not %+v", err, got, r)
		}
		d := publish.Decide(r, publish.Found{Code: code, Images: images, Snapshot: snapshot})
		resumes := d.Action == publish.Resume
		if resumes != (d.From != "") || resumes && (!code || r.Publish.Number == 0 || publish.After(d.From, thaw.StepVerify) && !snapshot && r.Version.Problem == "") {
			t.Fatalf("%+v leads to %+v", r, d)
		}
	})
}
