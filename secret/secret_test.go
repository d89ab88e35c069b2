package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"thaw"
)

func openTemp(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "secrets"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, s *Store, name, value string) {
	t.Helper()
	if err := s.Set(thaw.SecretValue{Name: name, Value: thaw.Sensitive(value)}); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, s *Store, name string) string {
	t.Helper()
	all, err := s.Values([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	return string(all[0].Value)
}

func TestSecrets(t *testing.T) {
	s := openTemp(t)
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	if all, err := s.Values(nil); err != nil || all != nil {
		t.Fatal(all, err)
	}
	large := strings.Repeat("x", thaw.MaxSecretBytes)
	for name, v := range map[string]string{"b": "value\x00\n", "a": "", "large": large} {
		set(t, s, name, v)
		if got := value(t, s, name); got != v {
			t.Errorf("%s came back as %d bytes", name, len(got))
		}
	}
	set(t, s, "b", "another")
	if got := value(t, s, "b"); got != "another" {
		t.Errorf("after a change: %q", got)
	}
	all, err := s.List()
	if err != nil || len(all) != 3 || all[0].Name != "a" || all[0].Bytes != 0 || all[1].Bytes != 7 || all[2].Bytes != thaw.MaxSecretBytes || all[1].Updated.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.Remove("b"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.Remove("b"), s.Check("b"), second(s.Get("b")), second(s.Values([]string{"a", "b"}))} {
		if thaw.CodeOf(err) != thaw.CodeNotFound {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestNothingIsReadable: what is on the disk shows no value, and nobody else may read it.
func TestNothingIsReadable(t *testing.T) {
	s := openTemp(t)
	set(t, s, "a", "hunter2")
	set(t, s, "a", "hunter2 again")
	err := filepath.WalkDir(filepath.Dir(s.dir), func(path string, d os.DirEntry, err error) error {
		if err != nil || path == filepath.Dir(s.dir) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if b, _ := os.ReadFile(path); bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s holds the value", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"Empty":   func([]byte) []byte { return nil },
		"Short":   func(b []byte) []byte { return b[:overhead-1] },
		"Foreign": func(b []byte) []byte { return append([]byte("x"), b[1:]...) },
		"Changed": func(b []byte) []byte { b[len(b)-1]++; return b },
		"Nonce":   func(b []byte) []byte { b[len(magic)]++; return b },
		"Longer":  func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			set(t, s, "a", "hunter2")
			b, err := os.ReadFile(s.path("a"))
			if err == nil {
				err = os.WriteFile(s.path("a"), damage(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Values([]string{"a"}); thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "thaw secret set a") {
				t.Error(err)
			}
			set(t, s, "a", "new")
			if got := value(t, s, "a"); got != "new" {
				t.Errorf("set again: %q", got)
			}
		})
	}
}

// TestSwap: the file of one secret is no other.
func TestSwap(t *testing.T) {
	s := openTemp(t)
	set(t, s, "a", "hunter2")
	if err := os.Rename(s.path("a"), s.path("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Values([]string{"b"}); thaw.CodeOf(err) != thaw.CodeUnavailable {
		t.Error(err)
	}
}

func TestKey(t *testing.T) {
	s := openTemp(t)
	set(t, s, "a", "hunter2")
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"Other": strings.Repeat("ab", keySize) + "\n", "Short": "abcd\n", "Text": "nonsense"} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(s.keyFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Values([]string{"a"}); thaw.CodeOf(err) != thaw.CodeUnavailable || strings.Contains(err.Error(), strings.TrimSpace(content)) {
				t.Error(err)
			}
		})
	}
	if err := os.Remove(s.keyFile); err != nil {
		t.Fatal(err)
	}
	// A new key would hide that those that are there cannot be read any more.
	if err := s.Set(thaw.SecretValue{Name: "b"}); thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "put it back") {
		t.Error(err)
	}
	if err := os.WriteFile(s.keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := value(t, s, "a"); got != "hunter2" {
		t.Errorf("with its key again: %q", got)
	}
}

func TestWhatCannotBeSet(t *testing.T) {
	s := openTemp(t)
	for _, name := range []string{"", "..", "../a", "a/b", ".a"} {
		if err := s.Set(thaw.SecretValue{Name: name}); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := s.Values([]string{name}); err == nil {
			t.Errorf("%q has a value", name)
		}
	}
	if err := s.Set(thaw.SecretValue{Name: "a", Value: make([]byte, thaw.MaxSecretBytes+1)}); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Error(err)
	}
}

// TestAtOnce: the first secrets make one key.
func TestAtOnce(t *testing.T) {
	s := openTemp(t)
	var work sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		work.Go(func() {
			if err := s.Set(thaw.SecretValue{Name: name, Value: thaw.Sensitive(name)}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for _, name := range []string{"a", "b", "c", "d"} {
		if got := value(t, s, name); got != name {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// TestKill: what a kill leaves half written goes.
func TestKill(t *testing.T) {
	s := openTemp(t)
	set(t, s, "a", "hunter2")
	if err := os.WriteFile(s.path(".a123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.dir, s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(s.path("*")); len(left) != 1 || value(t, again, "a") != "hunter2" {
		t.Errorf("%q is left", left)
	}
}
