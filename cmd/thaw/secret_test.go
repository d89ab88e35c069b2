package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thaw"
)

// TestSecretCommands: values go in and do not come out.
func TestSecretCommands(t *testing.T) {
	d := serveMemory(t)
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("hunter2\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", thaw.MaxSecretBytes+1)
	for _, test := range []struct {
		stdin, args string
		exit        int
		out, err    string
	}{
		{"hunter2", "set db-password", 0, "db-password is set, 7 bytes; 0 versions get it with their next start\n", ""},
		{"hunter2\n", "set db-password", 0, "8 bytes", "ends with a newline"},
		{"", "set tls.key --from-file " + file, 0, "8 bytes", ""},
		{large, "set x", 2, "", "larger than 65536"},
		{"", "ls", 0, "db-password  8", ""},
		{"", "ls -o json", 0, `"name": "tls.key"`, ""},
		{"", "rm db-password", 0, "db-password", ""},
		{"", "rm db-password", 3, "", "there is no secret db-password"},
	} {
		got := d.thaw(t, test.stdin, strings.Fields("secret "+test.args)...)
		if got.exit != test.exit || !strings.Contains(got.stdout, test.out) || !strings.Contains(got.stderr, test.err) || strings.Contains(got.stdout+got.stderr, "hunter2") {
			t.Errorf("%s: %+v", test.args, got)
		}
	}
}
