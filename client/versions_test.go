package client

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

func TestVersionPaths(t *testing.T) {
	var got []string
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		switch {
		case r.Method == "DELETE":
			w.WriteHeader(http.StatusNoContent)
		case strings.HasSuffix(r.URL.Path, "/versions"):
			io.WriteString(w, `{"versions":[{"function":"f","version":2,"serves":true,"aliases":["live"],"snapshot_state":"none"}]}`)
		case strings.HasSuffix(r.URL.Path, "/aliases"):
			io.WriteString(w, `{"aliases":[{"alias":"live","version":1,"weights":{"2":0.5}}]}`)
		default:
			io.WriteString(w, `{"function":"f","version":1}`)
		}
	})
	alias := thaw.Alias{Name: "live", Version: 1, Weights: map[int]float64{2: 0.5}}
	versions, err := c.Versions(t.Context(), "f")
	if err != nil || len(versions) != 1 || versions[0].Number != 2 || !versions[0].Serves || versions[0].SnapshotState != thaw.SnapshotNone {
		t.Errorf("%+v, %v", versions, err)
	}
	aliases, err := c.Aliases(t.Context(), "f")
	if diff := cmp.Diff([]thaw.Alias{alias}, aliases); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, number := range []int{0, 1} {
		if v, err := c.Rollback(t.Context(), "f", number); err != nil || v.Number != 1 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	for _, err := range []error{
		c.SetAlias(t.Context(), "f", alias),
		c.RemoveAlias(t.Context(), "f", "live"),
		c.Remove(t.Context(), "f:2"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	reply, err := c.Invoke(t.Context(), thaw.InvokeRequest{Function: "f:$LATEST", Payload: []byte("{}")})
	if err != nil || reply.Function != "f" {
		t.Errorf("%+v, %v", reply.Invocation, err)
	}
	if err := c.SetAlias(t.Context(), "f", thaw.Alias{Name: "1", Version: 1}); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("SetAlias of a number = %v", err)
	}
	want := []string{
		"GET /v1/functions/f/versions", "GET /v1/functions/f/aliases", "POST /v1/functions/f/rollback", "POST /v1/functions/f/rollback?version=1",
		`PUT /v1/functions/f/aliases/live {"version":1,"weights":{"2":0.5}}`, "DELETE /v1/functions/f/aliases/live", "DELETE /v1/functions/f:2",
		"POST /2015-03-31/functions/f:$LATEST/invocations {}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
