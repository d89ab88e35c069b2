package guest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFindUser(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for name, text := range map[string]string{
		passwd: "root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:/bin/sh\nbroken\nodd:x:x:y\n7:x:70:71::/:\n",
		group:  "root:x:0:\nstaff:x:50:web\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const usual = 993
	for user, want := range map[string][2]uint32{
		"web": {1000, 1001}, "1000": {1000, 1001}, "web:staff": {1000, 50}, "web:77": {1000, 77}, "1234": {1234, usual}, "1234:staff": {1234, 50},
		"root": {usual, usual}, "0": {usual, usual}, "0:0": {usual, usual}, "web:root": {1000, usual}, "7": {70, 71}, "odd": {usual, usual},
	} {
		uid, gid, err := findUser(user, passwd, group)
		c := unprivileged(syscall.Credential{Uid: usual, Gid: usual}, uid, gid)
		if err != nil || c.Uid != want[0] || c.Gid != want[1] {
			t.Errorf("%s: %d:%d, %v, want %v", user, c.Uid, c.Gid, err, want)
		}
	}
	for _, user := range []string{"nobody", "web:nobody", "4294967295", "-1", ":", "web:", "99999999999", "1e3"} {
		if uid, gid, err := findUser(user, passwd, group); err == nil {
			t.Errorf("%q is %d:%d", user, uid, gid)
		}
	}
	if uid, gid, err := findUser("12", dir+"/nothing", dir+"/nothing"); err != nil || uid != 12 || gid != 0 {
		t.Errorf("without files: %d:%d, %v", uid, gid, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/prog": 0o755, "bin/text": 0o644} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"prog": dir + "/bin/prog", "./x": dir + "/x", "/x": "/x", "text": "", "none": ""} {
		if got, err := lookPath(dir, "/nowhere:bin", name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}
