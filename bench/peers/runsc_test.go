package peers

import (
	"archive/zip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestProxyStalls: a module proxy that answers only the second time does not keep runsc
// from being built, by Go itself, of a module that says hello.
func TestProxyStalls(t *testing.T) {
	golang, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	var stalled atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Ext(r.URL.Path) == ".zip" && !stalled.Swap(true) {
			<-r.Context().Done()
			return
		}
		serveModule(w, path.Ext(r.URL.Path))
	}))
	defer proxy.Close()
	for name, value := range map[string]string{
		"GOPROXY": proxy.URL, "GONOSUMDB": runscModule, "GOFLAGS": "", "GOMODCACHE": t.TempDir(), "GOTOOLCHAIN": "local",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(func() { _ = exec.Command(golang, "clean", "-modcache").Run() }) // it is read-only
	built := filepath.Join(t.TempDir(), "runsc")
	if err := buildRunsc(t.Context(), golang, built, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if !stalled.Load() {
		t.Error("nothing stalled")
	}
	if said, err := exec.Command(built).Output(); err != nil || string(said) != "hello" {
		t.Errorf("%q, %v", said, err)
	}
	if left, err := os.ReadDir(filepath.Dir(built)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

// serveModule answers as a module proxy, see https://go.dev/ref/mod#goproxy-protocol.
func serveModule(w http.ResponseWriter, ext string) {
	const module = "module " + runscModule + "\n"
	switch ext {
	case ".info":
		_, _ = io.WriteString(w, `{"Version": "`+runscVersion+`"}`)
	case ".mod":
		_, _ = io.WriteString(w, module)
	case ".zip":
		z := zip.NewWriter(w)
		for name, text := range map[string]string{
			"go.mod": module, "runsc/main.go": "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\") }\n",
		} {
			f, _ := z.Create(runscModule + "@" + runscVersion + "/" + name)
			_, _ = io.WriteString(f, text)
		}
		_ = z.Close()
	}
}
