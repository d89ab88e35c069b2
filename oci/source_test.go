package oci_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"thaw"
	"thaw/oci"
)

// build makes an image of one layer for a platform.
func build(t testing.TB, arch, content string, config v1.Config) v1.Image {
	t.Helper()
	raw := pack(t, entry{name: "file", text: content})
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		t.Fatal(err)
	}
	im, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	file, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	if im, err = mutate.ConfigFile(im, file); err != nil {
		t.Fatal(err)
	}
	return im
}

func command(word string) v1.Config { return v1.Config{Entrypoint: []string{word}} }

// index makes an index of images by their architecture.
func index(t testing.TB, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	var ix v1.ImageIndex = empty.Index
	for arch, im := range images {
		ix = mutate.AppendManifests(ix, mutate.IndexAddendum{Add: im, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return ix
}

func digest(t testing.TB, im interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// writeLayout writes images, by their tags, and an index for two platforms.
func writeLayout(t testing.TB, dir string, images map[string]v1.Image, indexes map[string]v1.ImageIndex) {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	must(t, err)
	for tag, im := range images {
		must(t, p.AppendImage(im, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})))
	}
	for tag, ix := range indexes {
		must(t, p.AppendIndex(ix, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})))
	}
}

// tarUp makes a tar file of a folder.
func tarUp(t testing.TB, dir, file string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.AddFS(os.DirFS(dir)), w.Close(), os.WriteFile(file, b.Bytes(), 0o600))
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	ours, other := build(t, "amd64", "ours", command("ours")), build(t, "arm64", "other", command("other"))
	writeLayout(t, dir+"/one", map[string]v1.Image{"1": ours}, nil)
	writeLayout(t, dir+"/two", map[string]v1.Image{"1": ours, "2": build(t, "amd64", "second", command("second"))}, nil)
	writeLayout(t, dir+"/index", nil, map[string]v1.ImageIndex{"1": index(t, map[string]v1.Image{"amd64": ours, "arm64": other})})
	writeLayout(t, dir+"/arm", map[string]v1.Image{"1": other}, nil)
	writeLayout(t, dir+"/armindex", nil, map[string]v1.ImageIndex{"1": index(t, map[string]v1.Image{"arm64": other})})
	tarUp(t, dir+"/one", dir+"/one.tar")
	tag, err := name.NewTag("example.org/app:1")
	must(t, err, tarball.WriteToFile(dir+"/docker.tar", tag, ours))
	must(t, os.WriteFile(dir+"/text.tar", []byte("no tar"), 0o600), os.Mkdir(dir+"/nothing", 0o755))
	tarUp(t, dir+"/nothing", dir+"/empty.tar")
	for ref, want := range map[string]string{
		"oci:DIR/one": "", "oci:DIR/one:1": "", "DIR/one": "", "oci:DIR/two:1": "", "oci:DIR/index": "", "oci:DIR/index:1": "",
		"oci-archive:DIR/one.tar": "", "oci-archive:DIR/one.tar:1": "", "DIR/one.tar": "",
		"docker-archive:DIR/docker.tar": "", "docker-archive:DIR/docker.tar:example.org/app:1": "", "DIR/docker.tar": "",
		"oci:DIR/one:2":                         "no image called",
		"oci:DIR/two":                           "there are 2 images",
		"oci:DIR/arm":                           "linux/arm64",
		"oci:DIR/armindex":                      "linux/arm64",
		"oci:DIR/nothing":                       "no OCI image layout",
		"DIR/nothing":                           "no OCI image layout",
		"DIR/missing":                           "no such file",
		"DIR/text.tar":                          "no tar file",
		"DIR/empty.tar":                         "holds no image",
		"oci-archive:DIR/docker.tar":            "no OCI image layout",
		"docker-archive:DIR/one.tar":            "manifest.json",
		"docker-archive:DIR/docker.tar:other:1": "not found",
	} {
		t.Run(ref, func(t *testing.T) {
			im, err := oci.OpenLocal(t.Context(), strings.ReplaceAll(ref, "DIR", dir))
			if want != "" {
				if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			must(t, err)
			defer im.Close()
			c, err := im.Container(thaw.ContainerImage{})
			if err != nil || c.EntryPoint[0] != "ours" {
				t.Errorf("%+v, %v", c, err)
			}
			if !strings.Contains(ref, "docker") && c.Digest != digest(t, ours) {
				t.Errorf("digest %s, want %s", c.Digest, digest(t, ours))
			}
			resend(t, im.Image)
		})
	}
}

// resend sends an image through a stream and compares what arrives.
func resend(t *testing.T, im *oci.Image) {
	t.Helper()
	var b bytes.Buffer
	must(t, im.Write(t.Context(), &b))
	got, err := oci.Receive(t.Context(), &b, t.TempDir())
	must(t, err)
	if got.Digest != im.Digest || len(got.Layers) != 1 {
		t.Errorf("%s arrived, of %d layers", got.Digest, len(got.Layers))
	}
	r, err := got.Open(t.Context(), got.Layers[0])
	must(t, err)
	defer r.Close()
	u, err := oci.NewUnpacker(t.TempDir())
	must(t, err)
	defer u.Close()
	if os.Geteuid() == 0 {
		must(t, u.Apply(t.Context(), r, got.Config.RootFS.DiffIDs[0]))
	}
}

func TestParse(t *testing.T) {
	for ref, want := range map[string]bool{
		"python:3.12": false, "localhost:5000/app": false, "registry.example/team/app:1@sha256:" + strings.Repeat("0", 64): false, "app": false,
		"oci:x": true, "oci-archive:x.tar": true, "docker-archive:x.tar": true, "./app": true, "../app": true, "/x/app": true, "app.tar": true, ".": true,
	} {
		if got := oci.IsLocal(ref); got != want {
			t.Errorf("IsLocal(%s) = %v", ref, got)
		}
	}
	for ref, want := range map[string]string{
		"oci:x:1": "oci:there/x:1", "./x.tar": "./there/x.tar", "oci:/x": "oci:/x", "/x.tar": "/x.tar", "python:3": "python:3", "x.tar": "./there/x.tar",
		"docker-archive:../x.tar:a:b": "docker-archive:x.tar:a:b",
	} {
		if got := oci.From("there", ref); got != want {
			t.Errorf("From(there, %s) = %s, want %s", ref, got, want)
		}
	}
	for _, ref := range []string{"", "UPPER", "a b", "registry/app:tag:tag", "app@sha256:12"} {
		if _, err := oci.ParseRemote(ref, false); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%q: error %v", ref, err)
		}
	}
}

// TestReceive refuses streams that are no whole layout.
func TestReceive(t *testing.T) {
	dir := t.TempDir()
	im := build(t, "amd64", "x", command("x"))
	writeLayout(t, dir, map[string]v1.Image{"1": im}, nil)
	tarUp(t, dir, dir+".tar")
	whole, err := os.ReadFile(dir + ".tar")
	must(t, err)
	if _, err := oci.Receive(t.Context(), bytes.NewReader(whole), t.TempDir()); err != nil {
		t.Errorf("in another order: %v", err)
	}
	layers, err := im.Layers()
	must(t, err)
	layer, err := layers[0].Digest()
	must(t, err)
	blob := filepath.Join(dir, "blobs/sha256", layer.Hex)
	content, err := os.ReadFile(blob)
	must(t, err)
	for what, change := range map[string]func(){
		"damaged": func() {
			must(t, os.WriteFile(blob, append([]byte{content[0], content[1], 0xff}, content[3:]...), 0o600))
		},
		"longer":   func() { must(t, os.WriteFile(blob, append(content, 0), 0o600)) },
		"no index": func() { must(t, os.Remove(filepath.Join(dir, "index.json"))) },
	} {
		must(t, os.WriteFile(blob, content, 0o600))
		change()
		tarUp(t, dir, dir+".tar")
		b, err := os.ReadFile(dir + ".tar")
		must(t, err)
		if _, err := oci.Receive(t.Context(), bytes.NewReader(b), t.TempDir()); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%s: error %v", what, err)
		}
	}
	for what, b := range map[string][]byte{
		"cut": whole[:len(whole)/2], "garbage": bytes.Repeat([]byte("thaw"), 999), "nothing": nil,
		"twice": pack(t, files("index.json", "index.json")...), "outside": pack(t, files("../index.json")...),
		"link": pack(t, files("index.json -> /etc/passwd")...),
	} {
		if _, err := oci.Receive(t.Context(), bytes.NewReader(b), t.TempDir()); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%s: error %v", what, err)
		}
	}
	many := pack(t, files(strings.Fields(strings.Repeat("x ", 2000))...)...)
	if _, err := oci.Receive(t.Context(), bytes.NewReader(many), t.TempDir()); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Errorf("many files: error %v", err)
	}
}

// TestLayerMissing has the manifest say more than there is.
func TestLayerMissing(t *testing.T) {
	dir := t.TempDir()
	im := build(t, "amd64", "x", command("x"))
	writeLayout(t, dir, map[string]v1.Image{"1": im}, nil)
	layers, err := im.Layers()
	must(t, err)
	layer, err := layers[0].Digest()
	must(t, err, os.Remove(filepath.Join(dir, "blobs/sha256", layer.Hex)))
	found, err := oci.OpenLayout(t.Context(), os.DirFS(dir), "")
	must(t, err)
	if _, err := found.Open(t.Context(), found.Layers[0]); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error %v", err)
	}
}

func TestContainer(t *testing.T) {
	config := v1.Config{Entrypoint: []string{"/entry", "a"}, Cmd: []string{"b"}, Env: []string{"A=1", "A=2", "odd", "=x", "B="}, WorkingDir: "work", User: "web:web"}
	dir := t.TempDir()
	writeLayout(t, dir+"/good", map[string]v1.Image{"1": build(t, "amd64", "x", config)}, nil)
	writeLayout(t, dir+"/none", map[string]v1.Image{"1": build(t, "amd64", "x", v1.Config{})}, nil)
	im, err := oci.OpenLayout(t.Context(), os.DirFS(dir+"/good"), "")
	must(t, err)
	c, err := im.Container(thaw.ContainerImage{})
	must(t, err)
	if diff := cmp.Diff(map[string]string{"A": "2", "B": ""}, c.Env); diff != "" || c.WorkingDirectory != "/work" || c.User != "web:web" {
		t.Errorf("%s %+v", diff, c)
	}
	for _, r := range []struct {
		want      thaw.ContainerImage
		argv, dir string
	}{
		{thaw.ContainerImage{}, "/entry a b", "/work"},
		{thaw.ContainerImage{Command: []string{"c", "d"}}, "/entry a c d", "/work"},
		{thaw.ContainerImage{EntryPoint: []string{"sh"}, WorkingDirectory: "/"}, "sh b", "/"},
	} {
		if got := strings.Join(c.Argv(r.want), " "); got != r.argv || c.Directory(r.want) != r.dir {
			t.Errorf("%+v: %s in %s", r.want, got, c.Directory(r.want))
		}
	}
	none, err := oci.OpenLayout(t.Context(), os.DirFS(dir+"/none"), "")
	must(t, err)
	if _, err := none.Container(thaw.ContainerImage{}); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "ENTRYPOINT") {
		t.Errorf("error %v", err)
	}
	if _, err := none.Container(thaw.ContainerImage{Command: []string{"x"}}); err != nil {
		t.Error(err)
	}
}

// registryWith starts a registry that has images; wrap may get in its way.
func registryWith(t *testing.T, wrap func(http.Handler) http.Handler) (host string) {
	t.Helper()
	server := httptest.NewServer(wrap(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func straight(h http.Handler) http.Handler { return h }

func TestRemote(t *testing.T) {
	host := registryWith(t, straight)
	ours, other := build(t, "amd64", "ours", command("ours")), build(t, "arm64", "other", command("other"))
	both := index(t, map[string]v1.Image{"amd64": ours, "arm64": other})
	ref := func(s string) name.Reference {
		r, err := oci.ParseRemote(host+"/app"+s, false)
		must(t, err)
		return r
	}
	must(t, remote.Write(ref(":1"), ours), remote.WriteIndex(ref(":both"), both), remote.Write(ref(":arm"), other))
	chart := mutate.ConfigMediaType(ours, types.MediaType("application/vnd.cncf.helm.config.v1+json"))
	must(t, remote.Write(ref(":chart"), chart))
	for text, want := range map[string]string{
		":1": "", ":both": "", "@" + digest(t, ours): "", "@" + digest(t, both): "", ":1@" + digest(t, ours): "",
		":2": "look for the name", "@sha256:" + strings.Repeat("0", 64): "look for the name", ":arm": "linux/arm64", ":chart": "helm",
	} {
		t.Run(text, func(t *testing.T) {
			im, err := oci.Remote(t.Context(), ref(text))
			if want != "" {
				if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			must(t, err)
			if im.Digest.String() != digest(t, ours) {
				t.Errorf("digest %s, want %s", im.Digest, digest(t, ours))
			}
			resend(t, im)
		})
	}
}

// TestRemoteFails says what is wrong where a registry is.
func TestRemoteFails(t *testing.T) {
	im := build(t, "amd64", "ours", command("ours"))
	for what, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		code thaw.Code
		want string
	}{
		"Denied": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}, thaw.CodeInvalid, "docker login"},
		"NoRegistry": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		}, thaw.CodeUnavailable, "check the network"},
		"Tampered": {func(h http.Handler) http.Handler { return tamper{h} }, thaw.CodeInvalid, "damaged"},
	} {
		t.Run(what, func(t *testing.T) {
			host := registryWith(t, c.wrap)
			ref, err := oci.ParseRemote(host+"/app:1", false)
			must(t, err)
			if what == "Tampered" {
				must(t, remote.Write(ref, im))
			}
			found, err := oci.Remote(t.Context(), ref)
			if err == nil {
				var r io.ReadCloser
				if r, err = found.Open(t.Context(), found.Layers[0]); err == nil {
					_, err = io.Copy(io.Discard, r)
					must(t, r.Close())
				}
			}
			if thaw.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s: %q", err, c.code, c.want)
			}
		})
	}
}

// tamper changes the last byte of every blob but a configuration.
type tamper struct{ http.Handler }

func (h tamper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		h.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	h.Handler.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	if len(body) > 0 && body[0] != '{' {
		body[len(body)-1] ^= 1
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

// FuzzReceive takes a stream of anything.
func FuzzReceive(f *testing.F) {
	dir := f.TempDir()
	writeLayout(f, dir, map[string]v1.Image{"1": build(f, "amd64", "x", command("x"))}, nil)
	tarUp(f, dir, dir+".tar")
	b, err := os.ReadFile(dir + ".tar")
	must(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		im, err := oci.Receive(t.Context(), bytes.NewReader(b), t.TempDir())
		if err == nil {
			_, err = im.Container(thaw.ContainerImage{})
		}
		if err != nil && thaw.CodeOf(err) == thaw.CodeInternal {
			t.Errorf("the stream is at fault, not the machine: %v", err)
		}
	})
}

// TestTooLarge has an image say that it is.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	im := build(t, "amd64", "x", command("x"))
	writeLayout(t, dir, map[string]v1.Image{"1": im}, nil)
	m, err := im.Manifest()
	must(t, err)
	m = m.DeepCopy()
	m.Layers[0].Size = oci.MaxBytes + 1
	raw, err := json.Marshal(m)
	must(t, err)
	h := idOf(raw)
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: h}}})
	must(t, err, os.WriteFile(filepath.Join(dir, "blobs/sha256", h.Hex), raw, 0o600), os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600))
	if _, err := oci.OpenLayout(t.Context(), os.DirFS(dir), ""); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Errorf("error %v", err)
	}
}
