package main

import (
	"path/filepath"
	"strings"
	"testing"

	"thaw"
)

// TestImageIsShown by describe, diff and versions.
func TestImageIsShown(t *testing.T) {
	v := thaw.Version{
		Settings:  thaw.Settings{Image: &thaw.ContainerImage{Reference: "registry.example/web:1", Command: []string{"app.handler", "a b"}}},
		Container: &thaw.Container{Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), EntryPoint: []string{"/entry"}, Command: []string{"other"}},
	}
	if got, want := imageOf(v), "registry.example/web:1@sha256:0123456789ab"; got != want {
		t.Errorf("versions: %s, want %s", got, want)
	}
	var shown []string
	for _, row := range containerFields(v) {
		shown = append(shown, row[1])
	}
	if got, want := strings.Join(shown, "; "), v.Image.Reference+"; "+v.Container.Digest+`; /entry app.handler "a b", in /`; got != want {
		t.Errorf("describe: %s, want %s", got, want)
	}
	other := thaw.Version{}
	for _, line := range compare(thaw.Description{Version: v}, thaw.Description{Version: other}) {
		if line.Name == "image_digest" && line.Differs && line.Values == [2]any{v.Container.Digest, nil} {
			return
		}
	}
	t.Error("diff does not show the digest")
}

// TestImageFlags are checked before anything is sent.
func TestImageFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]string{
		"deploy x --image ./none.tar":                     "no such file",
		"deploy x --image UPPER/case":                     "not valid",
		"deploy x --image web:1 --runtime python3":        "not for images",
		"deploy x --image web:1 --handler app.handler":    "not for images",
		"deploy x --image web:1 --workdir here":           "absolute",
		"deploy x --cmd app.handler":                      "--cmd is for images",
		"deploy x --insecure":                             "--insecure is for images",
		"deploy x --image oci:" + filepath.Join("a", "b"): "no OCI image layout",
	} {
		var stdout, stderr output
		code := run(t.Context(), strings.Fields(args), strings.NewReader(""), &stdout, &stderr)
		if code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("thaw %s: exit %d: %s; want %q", args, code, stderr.String(), want)
		}
	}
}
