package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"thaw"
	"thaw/internal/testcache"
)

// layer makes a layer of files that anybody may read and execute; a name that ends
// with a slash is a folder that anybody may write to.
func layer(t testing.TB, files map[string][]byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		hdr := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			hdr.Typeflag, hdr.Mode = tar.TypeDir, 0o777
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layerOf(t, b.Bytes())
}

// buildImage makes an image of layers that says how it is run.
func buildImage(t testing.TB, config v1.Config, architecture string, layers ...v1.Layer) v1.Image {
	t.Helper()
	im, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = config, "linux", architecture
	if im, err = mutate.ConfigFile(im, file); err != nil {
		t.Fatal(err)
	}
	return im
}

// programLayer has the example of a program which speaks the Runtime API.
func programLayer(t *testing.T) v1.Layer {
	t.Helper()
	return functionLayer(t, goBuild(t, "bootstrap", "../examples/provided-go"))
}

// functionLayer has a static program as /function.
func functionLayer(t *testing.T, file string) v1.Layer {
	t.Helper()
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return layer(t, map[string][]byte{"function": program})
}

// debianLayer is the Debian system with Python that the root disks of python3 are
// made of, as a layer.
func debianLayer(t *testing.T, s *site) v1.Layer {
	t.Helper()
	pattern := filepath.Join(testcache.Dir(t), "images", "python-*", "tree.tar")
	trees, _ := filepath.Glob(pattern) // the pattern is good
	if len(trees) == 0 {
		s.deploy(t, "python", "testdata/probe", thaw.Settings{}) // leaves one there
		trees, _ = filepath.Glob(pattern)
	}
	smallest := slices.MinFunc(trees, func(a, b string) int { return int(sizeOf(t, a) - sizeOf(t, b)) })
	l, err := tarball.LayerFromFile(smallest, tarball.WithCompression(compression.None))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func sizeOf(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// packageLayer is what a Debian package has, as a layer.
func packageLayer(t *testing.T, name string) v1.Layer {
	t.Helper()
	dir := filepath.Join(testcache.Dir(t), "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	debs, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb")) // the pattern is good
	if len(debs) == 0 {
		cmd := exec.Command("apt-get", "-q", "download", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("package %s cannot be had (%v): run `apt-get update`, or put it into %s:\n%s", name, err, dir, out)
		}
		debs, _ = filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	}
	content, err := exec.Command("dpkg-deb", "--fsys-tarfile", debs[0]).Output()
	if err != nil {
		t.Fatalf("unpack %s: %v", debs[0], err)
	}
	return layerOf(t, content)
}

// layerOf is a layer that a tar file is.
func layerOf(t testing.TB, content []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runtimeClient returns the files of the Python client that AWS publishes for its
// Runtime API, and of what it needs, as a package index has them.
func runtimeClient(t *testing.T, python string) map[string][]byte {
	t.Helper()
	dir := filepath.Join(testcache.Dir(t), "wheels-"+python)
	wheels, _ := filepath.Glob(dir + "/*.whl") // the pattern is good
	if len(wheels) < 3 {
		cmd := exec.Command("python3", "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", python, "--dest", dir, "awslambdaric==4.2.2")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("awslambdaric cannot be had (%v): let pip reach a package index, or put its wheels for Python %s into %s:\n%s", err, python, dir, out)
		}
		wheels, _ = filepath.Glob(dir + "/*.whl")
	}
	files := map[string][]byte{}
	for _, w := range wheels {
		unzip(t, w, "usr/lib/python3/dist-packages", files)
	}
	return files
}

func unzip(t *testing.T, file, below string, files map[string][]byte) {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		files[path.Join(below, f.Name)] = content
	}
}
