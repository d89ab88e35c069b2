package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thaw"
)

// TestSecrets: instances get them, whatever they are made by; snapshots never do.
func TestSecrets(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	const old, current = "the-old-value-of-the-secret", "the-new-value-of-the-secret"
	settings := thaw.Settings{Secrets: []string{"db-password"}}
	if _, err := s.tryDeploy(t.Context(), "probe", "testdata/probe", settings); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "thaw secret set db-password") {
		t.Errorf("a secret that is not there: %v", err)
	}
	s.setSecret(t, "db-password", old)
	s.setSecret(t, "other", current)
	v := s.deploy(t, "probe", "testdata/probe", settings)
	if v.Snapshot == "" {
		t.Fatalf("no snapshot: %s", v.Problem)
	}
	s.deploy(t, "plain", "testdata/probe", thaw.Settings{})
	for _, policy := range []thaw.Policy{thaw.PolicyBoot, thaw.PolicyVanilla, thaw.PolicyReap, thaw.PolicyReap, thaw.PolicyThaw} {
		if got, want := string(s.cold(t, "probe", policy, secretEvent).Payload), secretReply("db-password", old); got != want {
			t.Errorf("by %s: %s, want %s", policy, got, want)
		}
	}
	if got := string(s.cold(t, "plain", thaw.PolicyVanilla, secretEvent).Payload); got != "{}" {
		t.Errorf("a function that names none has %s", got)
	}
	t.Run("Rotation", func(t *testing.T) {
		if info := s.setSecret(t, "db-password", current); fmt.Sprint(info.Users) != "[probe:1]" {
			t.Errorf("users %q", info.Users)
		}
		if r := s.warm(t, "probe", secretEvent); string(r.Payload) != secretReply("db-password", current) || r.Start == thaw.StartWarm {
			t.Errorf("a %s start has %s", r.Start, r.Payload)
		}
	})
	t.Run("Remove", func(t *testing.T) {
		if err := s.RemoveSecret(t.Context(), "db-password"); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "probe:1") {
			t.Errorf("one that is named: %v", err)
		}
		if err := s.RemoveSecret(t.Context(), "other"); err != nil {
			t.Error(err)
		}
	})
	t.Run("Nowhere", func(t *testing.T) {
		d := s.describe(t, "probe")
		nowhere(t, s, old, fmt.Sprintf("%+v", d))
		nowhere(t, s, current, fmt.Sprintf("%+v", d))
	})
}

const secretEvent = `{"do": "secrets"}`

// secretReply is what probe says of one secret: the value, by both paths, and who may
// do what with the file.
func secretReply(name, value string) string {
	return fmt.Sprintf(`{"%s": ["%s", "%s", "0o400", 993, "denied"]}`, name, value, value)
}

func (s *site) setSecret(t *testing.T, name, value string) thaw.Secret {
	t.Helper()
	info, err := s.SetSecret(t.Context(), thaw.SecretValue{Name: name, Value: thaw.Sensitive(value)})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// nowhere looks for value in the whole state folder, every snapshot included, in the
// daemon's log and in text.
func nowhere(t *testing.T, s *site, value, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(s.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(value)) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
	if strings.Contains(s.log.String(), value) || strings.Contains(text, value) {
		t.Error("the log or the description holds the secret")
	}
}
