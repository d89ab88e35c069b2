package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"thaw"
)

const snapshotID = "rb3o52xvlu6cmkq2yqfkp4fiyi"

func TestSnapshotPaths(t *testing.T) {
	var got []string
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.EscapedPath())
		switch {
		case r.Method == "DELETE":
			w.WriteHeader(http.StatusNoContent)
		case strings.HasSuffix(r.URL.Path, "/snapshots"):
			io.WriteString(w, `{"snapshots":[{"id":"`+snapshotID+`","status":"quarantined","problem":"why","state":{"bytes":5}}]}`)
		default:
			io.WriteString(w, `{"id":"`+snapshotID+`","status":"serves","users":2}`)
		}
	})
	all, err := c.Snapshots(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != snapshotID || all[0].Status != thaw.SnapshotQuarantined || all[0].State.Bytes != 5 {
		t.Errorf("%+v, %v", all, err)
	}
	s, err := c.DescribeSnapshot(t.Context(), "../x")
	if err != nil || s.ID != snapshotID || s.Users != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := c.RemoveSnapshot(t.Context(), snapshotID); err != nil {
		t.Error(err)
	}
	want := "GET /v1/snapshots, GET /v1/snapshots/..%2Fx, DELETE /v1/snapshots/" + snapshotID
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestVerifyReplies(t *testing.T) {
	const file = "{\"file\":{\"name\":\"memory\",\"status\":\"ok\"}}\n"
	for name, test := range map[string]struct {
		status int
		body   string
		code   thaw.Code
		events int
	}{
		"good":       {200, file + file + "\n" + `{"result":{"id":"x","good":true}}`, "", 2},
		"refused":    {404, `{"code":"not_found","message":"gone"}`, thaw.CodeNotFound, 0},
		"late error": {200, file + `{"error":{"code":"not_found","message":"removed"}}`, thaw.CodeNotFound, 1},
		"no result":  {200, file, thaw.CodeUnavailable, 1},
		"not JSON":   {200, "memory ok\n", thaw.CodeInternal, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "POST" || r.URL.Path != "/v1/snapshots/"+snapshotID+"/verify" {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			events := 0
			v, err := c.VerifySnapshot(t.Context(), snapshotID, func(thaw.FileCheck) { events++ })
			if thaw.CodeOf(err) != test.code || events != test.events || v.Good != (test.code == "") {
				t.Errorf("%+v, %v, %d events", v, err, events)
			}
		})
	}
}

func TestVerifyCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{\"file\":{\"name\":\"memory\"}}\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if _, err := c.VerifySnapshot(ctx, snapshotID, func(thaw.FileCheck) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
