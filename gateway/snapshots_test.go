package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/gateway/api"
)

const (
	knownID = "rb3o52xvlu6cmkq2yqfkp4fiyi"
	usedID  = "ub3o52xvlu6cmkq2yqfkp4fiyi"
)

// snapshotEngine knows knownID and, in use, usedID.
func snapshotEngine() fakeEngine {
	find := func(id string) (s thaw.Snapshot, err error) {
		if s.ID = id; id != knownID && id != usedID {
			err = thaw.Errorf(thaw.CodeNotFound, "there is no snapshot %s", id)
		}
		return s, err
	}
	return fakeEngine{
		snapshots: func() ([]thaw.Snapshot, error) { return nil, nil },
		snapshot:  find,
		discard: func(id string) error {
			if id == usedID {
				return thaw.Errorf(thaw.CodeConflict, "snapshot %s is in use", id)
			}
			_, err := find(id)
			return err
		},
		verify: func(_ context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error) {
			if _, err := find(id); err != nil {
				return thaw.Verification{}, err
			}
			events(thaw.FileCheck{Name: "memory", Bytes: 8, ReadBytes: 4})
			events(thaw.FileCheck{Name: "memory", Status: thaw.CheckCorrupt, Bytes: 8, ReadBytes: 8, Problem: "differs"})
			if id == usedID {
				return thaw.Verification{}, errors.New("disk /dev/secret is on fire")
			}
			return thaw.Verification{ID: id}, nil
		},
	}
}

func TestSnapshots(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/v1/snapshots", 200, `{"snapshots":[]}`},
		{"GET", "/v1/snapshots?x=1", 400, `takes none`},
		{"POST", "/v1/snapshots", 405, `use GET`},
		{"GET", "/v1/snapshots/" + knownID, 200, `"id":"` + knownID + `"`},
		{"GET", "/v1/snapshots/" + strings.Repeat("a", 26), 404, `"code":"not_found"`},
		{"PUT", "/v1/snapshots/" + knownID, 405, `use DELETE, GET`},
		{"DELETE", "/v1/snapshots/" + knownID, 204, ``},
		{"DELETE", "/v1/snapshots/" + usedID, 409, `"code":"conflict"`},
		{"DELETE", "/v1/snapshots/" + strings.Repeat("a", 26), 404, `"code":"not_found"`},
		{"GET", "/v1/snapshots/" + knownID + "/verify", 405, `use POST`},
		{"POST", "/v1/snapshots/" + strings.Repeat("a", 26) + "/verify", 404, `"code":"not_found"`},
		{"DELETE", "/v1/snapshots", 405, `use GET`},
		{"DELETE", "/v1/snapshots/", 404, `there is no`},
		{"DELETE", "/v1/snapshots/" + knownID + "/other", 404, `there is no`},
		{"POST", "/v1/snapshots//verify", 405, `use DELETE, GET`}, // of what is called verify
	}
	url, _ := start(t, snapshotEngine())
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got := do(t, test.method, url+test.path, nil, nil)
			if got.status != test.status || !strings.Contains(got.body, test.contains) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// TestSnapshotIDsThatAreNone: none of them reaches the engine, which would panic.
func TestSnapshotIDsThatAreNone(t *testing.T) {
	url, _ := start(t, fakeEngine{})
	for _, id := range []string{
		"..%2Fx", "..%2F..%2Fetc%2Fpasswd", "%2Fetc", "%2e%2e", "%2e%2e%2F%2e%2e", "short", "UPPERCASE1", "draft-abcdefgh", "abcdefgh%00", "abcdefgh%0A", "abcdefgh.", "abcdefgh..",
		"abcdefgh.%2F", "abcdefgh.a.b.c", strings.Repeat("a", 65), "abcdefgh." + strings.Repeat("a", 65), "%C3%BCmlaut-1234", ".reason",
	} {
		for _, request := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/verify"}} {
			got := do(t, request[0], url+"/v1/snapshots/"+id+request[1], nil, nil)
			if got.status != 400 || !strings.Contains(got.body, `is not valid: take one from`) {
				t.Errorf("%s %s: %d %s", request[0], id, got.status, got.body)
			}
		}
	}
}

func checkLines(t *testing.T, body string) (all []api.CheckLine) {
	t.Helper()
	for line := range strings.Lines(body) {
		var l api.CheckLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}

func TestVerifySnapshot(t *testing.T) {
	url, log := start(t, snapshotEngine())
	got := do(t, "POST", url+"/v1/snapshots/"+knownID+"/verify", nil, nil)
	if got.status != 200 || got.header.Get("Content-Type") != api.TypeNDJSON {
		t.Fatalf("%+v", got)
	}
	all := checkLines(t, got.body)
	if len(all) != 3 || all[0].File.ReadBytes != 4 || all[0].File.Status != "" || all[1].File.Status != thaw.CheckCorrupt || all[2].Result == nil || all[2].Result.ID != knownID || all[2].Result.Files == nil {
		t.Errorf("lines %s", got.body)
	}
	got = do(t, "POST", url+"/v1/snapshots/"+usedID+"/verify", nil, nil)
	all = checkLines(t, got.body)
	if len(all) != 3 || all[2].Error == nil || all[2].Error.Code != thaw.CodeInternal || strings.Contains(got.body, "secret") || !strings.Contains(log.String(), "secret") {
		t.Errorf("an error in the middle: %s\nlog %s", got.body, log)
	}
}

// TestVerifyStreams: a line is there when its file was checked, and a client that
// goes away ends the verification.
func TestVerifyStreams(t *testing.T) {
	ended := make(chan error, 1)
	url, _ := start(t, fakeEngine{verify: func(ctx context.Context, _ string, events func(thaw.FileCheck)) (thaw.Verification, error) {
		events(thaw.FileCheck{Name: "state", Status: thaw.CheckOK})
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return thaw.Verification{}, context.Cause(ctx)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/snapshots/"+knownID+"/verify", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if lines := bufio.NewScanner(reply.Body); !lines.Scan() || !strings.Contains(lines.Text(), `"name":"state"`) {
		t.Errorf("first line %q, %v", lines.Text(), lines.Err())
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on without its client")
	}
}
