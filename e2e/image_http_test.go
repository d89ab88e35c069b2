package e2e

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"thaw"
)

// TestImageHTTP has an image whose command is an HTTP server, the example, which gets a
// sample event before its snapshot.
func TestImageHTTP(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	program, err := os.ReadFile(goBuild(t, "bootstrap", "../examples/http-server"))
	if err != nil {
		t.Fatal(err)
	}
	im := buildImage(t, v1.Config{Entrypoint: []string{"/server"}}, "amd64", layer(t, map[string][]byte{"server": program}))
	v, err := s.deployImage(t.Context(), "web", thaw.Settings{
		Runtime: thaw.RuntimeHTTP, Image: &thaw.ContainerImage{Reference: writeImage(t, im)},
		Prime: []json.RawMessage{json.RawMessage(`{}`)},
	})
	if err != nil || v.Problem != "" {
		t.Fatalf("%v, problem %q", err, v.Problem)
	}
	for path, want := range map[string]string{"web": "Hello from web-00001!\n", "web/events?n=2": "id: 1\n"} {
		reply := s.web(t, "GET", path, nil)
		body, err := io.ReadAll(reply.Body)
		_ = reply.Body.Close()
		if err != nil || reply.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: status %d, %q, %v; want %q", path, reply.StatusCode, body, err, want)
		}
	}
}
