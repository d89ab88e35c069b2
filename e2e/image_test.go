package e2e

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"thaw"
	"thaw/internal/testcache"
	"thaw/oci"
)

// registryServer is a registry on this machine.
type registryServer struct {
	host string
	next http.Handler

	mu     sync.Mutex
	pulled []string // blobs
	tamper bool     // with the last byte of each layer
}

func startRegistry(t testing.TB) *registryServer {
	t.Helper()
	r := &registryServer{next: registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (s *registryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
		s.next.ServeHTTP(w, r)
		return
	}
	reply := httptest.NewRecorder()
	s.next.ServeHTTP(reply, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	body := reply.Body.Bytes()
	if len(body) > 0 && body[0] != '{' {
		s.pulled = append(s.pulled, r.URL.Path)
		if s.tamper {
			body[len(body)-1] ^= 1
		}
	}
	w.WriteHeader(reply.Code)
	_, _ = w.Write(body)
}

func (s *registryServer) push(t testing.TB, ref string, im v1.Image) string {
	t.Helper()
	r, err := name.ParseReference(s.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, im); err != nil {
		t.Fatal(err)
	}
	return r.String()
}

func (s *site) deployImage(ctx context.Context, name string, settings thaw.Settings) (thaw.Version, error) {
	return deployImage(ctx, s, name, settings)
}

// deployImage deploys an image as thaw deploy --image does.
func deployImage(ctx context.Context, d deployer, name string, settings thaw.Settings) (thaw.Version, error) {
	r, w := io.Pipe()
	defer r.Close()
	if settings.Image.Uploaded = oci.IsLocal(settings.Image.Reference); settings.Image.Uploaded {
		im, err := oci.OpenLocal(ctx, settings.Image.Reference)
		if err != nil {
			return thaw.Version{}, err
		}
		defer im.Close()
		go func() { w.CloseWithError(im.Write(ctx, w)) }()
	} else {
		w.Close()
	}
	return d.Deploy(ctx, name, settings, r, nil)
}

// writeImage writes an image layout and returns a reference to it.
func writeImage(t testing.TB, im v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(im, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}

// TestImage deploys the same image, with nothing but a static program in it, from
// everywhere it can come from: it is unpacked once.
func TestImage(t *testing.T) {
	s, from := open(t, t.TempDir(), nil), startRegistry(t)
	program := programLayer(t)
	im := buildImage(t, v1.Config{Entrypoint: []string{"/function"}}, "amd64", program)
	digest, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("hello:1")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "docker.tar")
	if err := tarball.WriteToFile(archive, tag, im); err != nil {
		t.Fatal(err)
	}
	var first thaw.Version
	for i, ref := range []string{from.push(t, "team/hello:1", im), from.host + "/team/hello@" + digest.String(), writeImage(t, im) + ":1", archive} {
		v, err := s.deployImage(t.Context(), "hello", thaw.Settings{Image: &thaw.ContainerImage{Reference: ref}, MemoryBytes: thaw.MinMemory})
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if v.Container.Digest != digest.String() && ref != archive || v.Problem != "" {
			t.Errorf("%s: digest %s, want %s; problem %q", ref, v.Container.Digest, digest, v.Problem)
		}
		if i == 0 {
			first = v
		}
		if v.Images.Root != first.Images.Root || v.CodeBytes != first.CodeBytes {
			t.Errorf("%s: root disk %s, that of the same image is %s", ref, v.Images.Root, first.Images.Root)
		}
		r := s.cold(t, "hello", thaw.PolicyThaw, `{"name": "Ada"}`)
		if got := decode[map[string]string](t, r.Payload)["message"]; got != "Hello, Ada!" || r.Start != thaw.StartCold {
			t.Errorf("%s: reply %s by %s", ref, r.Payload, r.Start)
		}
	}
	t.Run("SharedLayer", func(t *testing.T) { testSharedLayer(t, s, from, program) })
}

// testSharedLayer deploys another image on the same base, of which only what is new is
// pulled. What it leaves in the image folder is of no use to another run.
func testSharedLayer(t *testing.T, s *site, from *registryServer, base v1.Layer) {
	from.pulled = nil
	fresh := layer(t, map[string][]byte{"fresh": []byte(rand.Text())})
	im := buildImage(t, v1.Config{Entrypoint: []string{"/function"}, User: "0:0"}, "amd64", base, fresh)
	v, err := s.deployImage(t.Context(), "hello", thaw.Settings{Image: &thaw.ContainerImage{Reference: from.push(t, "team/hello:2", im)}, MemoryBytes: thaw.MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := fresh.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root-" + v.Images.Root + ".erofs", "layer-" + digest.Hex} {
		if err := os.Remove(filepath.Join(testcache.Dir(t), "images", name)); err != nil {
			t.Error(err)
		}
	}
	if len(from.pulled) != 1 || !strings.Contains(from.pulled[0], digest.Hex) {
		t.Errorf("layers pulled: %v, want %s", from.pulled, digest)
	}
}

// seen is what testdata/image tells of where it is.
type seen struct {
	Message   string            `json:"message"`
	User      []int             `json:"user"`
	Folder    string            `json:"folder"`
	Env       map[string]string `json:"env"`
	Writable  map[string]any    `json:"writable"`
	Hidden    bool              `json:"hidden"`
	Restored  int               `json:"restored"`
	Machine   string            `json:"machine"`
	Host      string            `json:"host"`
	Localhost string            `json:"localhost"`
	Function  string            `json:"function"`
}

// TestImagePython is a Debian system with Python and AWS's own client for the Runtime
// API, as `FROM debian` and `RUN pip install awslambdaric` make it.
func TestImagePython(t *testing.T) {
	s, from := open(t, t.TempDir(), nil), startRegistry(t)
	app, err := os.ReadFile("testdata/image/app.py")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"var/task/app.py": app, "srv/mine/": nil, "etc/.wh.debian_version": nil}
	maps.Copy(files, runtimeClient(t, "3.11"))
	layers := []v1.Layer{debianLayer(t, s), packageLayer(t, "libstdc++6"), layer(t, files)}
	config := v1.Config{
		Entrypoint: []string{"python3", "-m", "awslambdaric"}, Cmd: []string{"app.handler"}, WorkingDir: "/var/task", User: "nobody",
		Env: []string{"PATH=/usr/bin:/bin", "COLOUR=red", "SHAPE=round"},
	}
	v, err := s.deployImage(t.Context(), "image", thaw.Settings{
		Image: &thaw.ContainerImage{Reference: from.push(t, "app:1", buildImage(t, config, "amd64", layers...))}, Env: map[string]string{"COLOUR": "green"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Problem != "" {
		t.Errorf("problem %q", v.Problem)
	}
	one, two := s.look(t), s.look(t)
	want := seen{
		Message: "hello, Ada", User: []int{65534, 65534}, Folder: "/var/task", Restored: 1, Localhost: "127.0.0.1", Function: "image",
		Env:      map[string]string{"COLOUR": "green", "SHAPE": "round", "PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ""},
		Writable: map[string]any{"/tmp": true, "/srv/mine": 30.0, "/var/task": 30.0}, // EROFS
		Machine:  one.Machine, Host: one.Host,
	}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(one.Machine) != 32 || one.Machine == two.Machine || one.Host == two.Host {
		t.Errorf("two clones are %s, %s and %s, %s", one.Machine, one.Host, two.Machine, two.Host)
	}
	r := s.cold(t, "image", thaw.PolicyVanilla, `{"do": "raise"}`)
	if r.FunctionError != "ValueError" && r.FunctionError != "Unhandled" {
		t.Errorf("function error %q: %s", r.FunctionError, r.Payload)
	}
	config.Entrypoint, config.User = []string{"/no/such/program"}, "0:0"
	_, err = s.deployImage(t.Context(), "image", thaw.Settings{Image: &thaw.ContainerImage{Reference: from.push(t, "app:2", buildImage(t, config, "amd64", layers...))}})
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "Runtime.InvalidEntrypoint") {
		t.Errorf("deploy = %v, want an entry point that is not there", err)
	}
}

// look starts a clone of the function called image and has it look around.
func (s *site) look(t *testing.T) seen {
	t.Helper()
	r := s.cold(t, "image", thaw.PolicyThaw, `{"name": "Ada"}`)
	if r.Start != thaw.StartCold || r.FunctionError != "" {
		lines, err := s.Logs(t.Context(), "image", thaw.LogQuery{Limit: 30})
		t.Fatalf("start %s, reply %s, log %v %v", r.Start, r.Payload, lines, err)
	}
	return decode[seen](t, r.Payload)
}

// TestImageRefused deploys what cannot become a function. No VM is started.
func TestImageRefused(t *testing.T) {
	s, from := open(t, t.TempDir(), nil), startRegistry(t)
	tiny := layer(t, map[string][]byte{"function": []byte("x")})
	config := v1.Config{Entrypoint: []string{"/function"}}
	good := from.push(t, "good:1", buildImage(t, config, "amd64", tiny))
	bad := startRegistry(t)
	bad.tamper = true
	up := writeImage(t, buildImage(t, config, "amd64", layer(t, map[string][]byte{"../x": nil})))
	for what, c := range map[string]struct {
		image thaw.ContainerImage
		code  thaw.Code
		want  string
	}{
		"Platform":   {thaw.ContainerImage{Reference: from.push(t, "arm:1", buildImage(t, config, "arm64", tiny))}, thaw.CodeInvalid, "linux/arm64"},
		"Tag":        {thaw.ContainerImage{Reference: good + "0"}, thaw.CodeInvalid, "MANIFEST_UNKNOWN"},
		"Repository": {thaw.ContainerImage{Reference: from.host + "/nothing:1"}, thaw.CodeInvalid, "NAME_UNKNOWN"},
		"Digest":     {thaw.ContainerImage{Reference: from.host + "/good@sha256:" + strings.Repeat("0", 64)}, thaw.CodeInvalid, "MANIFEST_UNKNOWN"},
		"Registry":   {thaw.ContainerImage{Reference: "127.0.0.1:1/good:1"}, thaw.CodeUnavailable, "check the network"},
		"Corrupt":    {thaw.ContainerImage{Reference: bad.push(t, "good:1", buildImage(t, config, "amd64", layer(t, map[string][]byte{"f": []byte(t.Name())})))}, thaw.CodeInvalid, "damaged"},
		"NoCommand":  {thaw.ContainerImage{Reference: from.push(t, "none:1", buildImage(t, v1.Config{}, "amd64", tiny))}, thaw.CodeInvalid, "ENTRYPOINT"},
		"Hostile":    {thaw.ContainerImage{Reference: up}, thaw.CodeInvalid, "not allowed"},
		"Name":       {thaw.ContainerImage{Reference: "UPPER/case"}, thaw.CodeInvalid, "not valid"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.deployImage(t.Context(), "refused", thaw.Settings{Image: &c.image})
			if thaw.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("deploy = %v (%s), want %s: %q", err, thaw.CodeOf(err), c.code, c.want)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(testcache.Dir(t), "images", "tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
