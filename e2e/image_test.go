package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"thaw"
	"thaw/oci"
)

// layer makes a layer of files; a name that ends with a slash is a folder.
func layer(t testing.TB, files map[string][]byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		hdr := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			hdr.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// buildImage puts layers on base and says how the image is run.
func buildImage(t testing.TB, base v1.Image, config v1.Config, platform v1.Platform, layers ...v1.Layer) v1.Image {
	t.Helper()
	im, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = config, platform.OS, platform.Architecture
	if im, err = mutate.ConfigFile(im, file); err != nil {
		t.Fatal(err)
	}
	return im
}

// amd64 is what guests run.
func amd64() v1.Platform { return v1.Platform{OS: "linux", Architecture: "amd64"} }

// scratchImage is an image with nothing but a static program.
func scratchImage(t *testing.T) v1.Image {
	t.Helper()
	program, err := os.ReadFile(goBuild(t, "bootstrap", "../examples/provided-go"))
	if err != nil {
		t.Fatal(err)
	}
	config := v1.Config{Entrypoint: []string{"/function"}, Env: []string{"COLOUR=red"}}
	return buildImage(t, empty.Image, config, amd64(), layer(t, map[string][]byte{"function": program}))
}

// startRegistry starts a registry on this machine.
func startRegistry(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func push(t testing.TB, ref string, im v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, im); err != nil {
		t.Fatal(err)
	}
}

// deployImage deploys an image as thaw deploy --image does.
func (s *site) deployImage(ctx context.Context, name string, settings thaw.Settings) (thaw.Version, []thaw.DeployEvent, error) {
	var events []thaw.DeployEvent
	r, w := io.Pipe()
	defer r.Close()
	if settings.Image.Uploaded = oci.IsLocal(settings.Image.Reference); settings.Image.Uploaded {
		im, err := oci.OpenLocal(ctx, settings.Image.Reference)
		if err != nil {
			return thaw.Version{}, nil, err
		}
		defer im.Close()
		go func() { w.CloseWithError(im.Write(ctx, w)) }()
	} else {
		w.Close()
	}
	v, err := s.Deploy(ctx, name, settings, r, func(e thaw.DeployEvent) { events = append(events, e) })
	return v, events, err
}

// TestImage deploys the same image from everywhere it can come from.
func TestImage(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	im := scratchImage(t)
	digest, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	host, dir := startRegistry(t), t.TempDir()
	push(t, host+"/team/hello:1", im)
	index, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(im, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("hello:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "docker.tar"), tag, im); err != nil {
		t.Fatal(err)
	}
	var root string
	for name, ref := range map[string]string{
		"Tag": host + "/team/hello:1", "Digest": host + "/team/hello@" + digest.String(),
		"Layout": "oci:" + filepath.Join(dir, "layout") + ":1", "Docker": filepath.Join(dir, "docker.tar"),
	} {
		t.Run(name, func(t *testing.T) {
			v, _, err := s.deployImage(t.Context(), "hello", thaw.Settings{Image: &thaw.ContainerImage{Reference: ref}, MemoryBytes: thaw.MinMemory})
			if err != nil {
				t.Fatal(err)
			}
			if name != "Docker" && v.Container.Digest != digest.String() {
				t.Errorf("digest %s, want %s", v.Container.Digest, digest)
			}
			if root == "" {
				root = v.Images.Root
			}
			if v.Images.Root != root || v.Problem != "" {
				t.Errorf("root disk %s, that of the same image is %s; problem %q", v.Images.Root, root, v.Problem)
			}
			r := s.cold(t, "hello", thaw.PolicyThaw, `{"name": "Ada"}`)
			if got := decode[map[string]string](t, r.Payload)["message"]; got != "Hello, Ada!" || r.Start != thaw.StartCold {
				t.Errorf("reply %s by %s", r.Payload, r.Start)
			}
		})
	}
}
