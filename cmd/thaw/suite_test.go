package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestSuiteRefuses: what cannot work is refused before there is a daemon.
func TestSuiteRefuses(t *testing.T) {
	file := filepath.Join(pythonFolder(t), "app.py")
	for _, c := range []struct {
		args string
		want string
	}{
		{"nothing", `unknown workload "nothing"`},
		{"-n -1", "-n -1 is out of range"},
		{"--replays -2", "--replays -2 is out of range"},
		{"--replays 10001", "out of range"},
		{"--factor 0.5", "--factor 0.5 is out of range"},
		{"--policies magic", `unknown policy "magic"`},
		{"--policies auto", `unknown policy "auto"`},
		{"--clones 0", "--clones 0 is out of range"},
		{"--clones 4,4", "4 twice"},
		{"--different", "choose --clones of 2 or more"},
		{"--memory 1GB --clones 1", "not a whole number of MiB"},
		{"--memory 64MiB", "out of range"},
		{"--memory large", "--memory large"},
		{"--readahead -1", "negative"},
		{"--accel magic", `unknown accelerator "magic"`},
		{"--own --keep", "none of the others can be"},
		{"--out " + file, "--out"},
		{"--out " + filepath.Join(file, "x"), "--out"},
		{"--out /proc/x", "--out"},
		{"--own --scratch /does/not/exist", "no such file or directory"},
	} {
		var stdout, stderr output
		args := append([]string{"--addr", "127.0.0.1:1", "bench", "suite"}, strings.Fields(c.args)...)
		if !strings.Contains(c.args, "--out") {
			args = append(args, "--out", t.TempDir())
		}
		exit := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
		outcome{exit, stdout.String(), stderr.String()}.want(t, 2, "", c.want)
	}
}

// TestSuiteNobody: with good flags, the daemon is what is missing.
func TestSuiteNobody(t *testing.T) {
	var stdout, stderr output
	exit := run(t.Context(), []string{"--addr", "127.0.0.1:1", "bench", "suite", "helloworld", "--short", "--memory", "256MiB,1GiB", "--out", filepath.Join(t.TempDir(), "a", "b")}, strings.NewReader(""), &stdout, &stderr)
	outcome{exit, stdout.String(), stderr.String()}.want(t, 5, "", "127.0.0.1:1")
}
