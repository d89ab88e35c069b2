package guest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"thaw"
)

// TestSecretsOfAnotherUser: an image may say whom its function runs as.
func TestSecretsOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files are given to other users as root: run the tests with sudo")
	}
	dir := t.TempDir()
	usual, other := &syscall.Credential{Uid: 993, Gid: 993}, &syscall.Credential{Uid: 1234, Gid: 567}
	if err := keepSecret(dir, thaw.SecretValue{Name: "early", Value: thaw.Sensitive("x")}, usual); err != nil {
		t.Fatal(err)
	}
	if err := handOver(Config{SecretsDir: dir, Credential: usual}, other); err != nil {
		t.Fatal(err)
	}
	if err := keepSecret(dir, thaw.SecretValue{Name: "late", Value: thaw.Sensitive("x")}, other); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"early", "late"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 567 || info.Mode() != 0o400 {
			t.Errorf("%s is of %d:%d, mode %v", name, st.Uid, st.Gid, info.Mode())
		}
	}
}
