package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// projectFolder makes a folder with a Python function and its thaw.yaml.
func projectFolder(t *testing.T, text string) string {
	t.Helper()
	dir := pythonFolder(t)
	if err := os.WriteFile(filepath.Join(dir, "thaw.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDeployWhatTheFileSays has flags override the file, which stays behind.
func TestDeployWhatTheFileSays(t *testing.T) {
	d := serveMemory(t)
	dir := projectFolder(t, "name: hello\nmemory: 512MiB\nenv: {A: 1, B: 2}\npolicy: vanilla\nbuild: echo x > made\n")
	d.thaw(t, "", "deploy", dir, "--env", "B=3", "--timeout", "5s").want(t, 0, "hello version 1", "  build  ")
	v := d.engine.functions["hello"]
	if v.MemoryBytes != 512<<20 || v.Env["A"] != "1" || v.Env["B"] != "3" || v.Timeout.Seconds() != 5 || v.Policy != "vanilla" {
		t.Errorf("%+v", v.Settings)
	}
	if files := strings.Join(d.engine.files["hello"], " "); files != "app.py made" {
		t.Errorf("files %s", files)
	}
	t.Setenv("THAW_POLICY", "reap")
	d.thaw(t, "", "deploy", "other", dir, "--memory", "128MiB").want(t, 0, "other version 1", "")
	if v := d.engine.functions["other"]; v.Policy != "reap" || v.MemoryBytes != 128<<20 {
		t.Errorf("%+v", v.Settings)
	}
}

// TestBuildLeavesNothing has a build that leaves a process behind: it ends.
func TestBuildLeavesNothing(t *testing.T) {
	d := serveMemory(t)
	dir := projectFolder(t, "name: hello\nbuild: sleep 1000 & echo $! > pid\n")
	d.thaw(t, "", "deploy", dir).want(t, 0, "hello version 1", "")
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return // it is gone, or nobody has asked how it ended
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %s", status)
		}
	}
}

func TestBuildFails(t *testing.T) {
	d := serveMemory(t)
	dir := projectFolder(t, "name: hello\nbuild: echo no compiler >&2; exit 3\n")
	got := d.thaw(t, "", "deploy", dir)
	got.want(t, 2, "", "thaw: build \"echo no compiler >&2; exit 3\": exit status 3\nno compiler\n")
	if len(d.engine.functions) > 0 || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}

// TestDeclaredSchedules has a function get the schedules of its file and lose others,
// but for those that the file says nothing of.
func TestDeclaredSchedules(t *testing.T) {
	d := serveMemory(t)
	names := func(want string) {
		t.Helper()
		if got := strings.Fields(d.thaw(t, "", "schedule", "ls", "-q").stdout); strings.Join(got, " ") != want {
			t.Errorf("schedules %q, want %s", got, want)
		}
	}
	d.thaw(t, "", "deploy", projectFolder(t, "name: other\n")).want(t, 0, "", "")
	d.thaw(t, "", "schedule", "set", "other", "@daily", "--name", "nightly").want(t, 0, "", "")
	both := projectFolder(t, "name: hello\nschedules:\n- cron: '@hourly'\n- {name: poll, cron: '@daily', event: {a: 1}}\n")
	d.thaw(t, "", "deploy", both).want(t, 0, "hello version 1", "hello invokes hello next at 2")
	names("hello nightly poll")
	if got := d.thaw(t, "", "deploy", both); strings.Contains(got.stderr, "schedule") {
		t.Errorf("what is there already is set again: %s", got.stderr)
	}
	d.thaw(t, "", "deploy", projectFolder(t, "name: hello\n")).want(t, 0, "", "")
	names("hello nightly poll")
	d.thaw(t, "", "deploy", projectFolder(t, "name: hello\nschedules: [{name: poll, cron: '@weekly'}]\n")).want(t, 0, "", "hello removed")
	names("nightly poll")
	d.thaw(t, "", "schedule", "ls").want(t, 0, "poll      hello     @weekly", "")
	d.thaw(t, "", "deploy", projectFolder(t, "name: hello\nschedules: [{name: nightly, cron: '@weekly'}]\n")).want(t, 2, "", "schedule nightly is there already and invokes other: give that of hello another name")
	d.thaw(t, "", "deploy", projectFolder(t, "name: hello\nschedules: [{cron: '@weekly', qualifier: nope}]\n")).want(t, 3, "", "serves, but its schedules are not as thaw.yaml has them: set schedule hello: ")
	d.thaw(t, "", "deploy", projectFolder(t, "name: hello\nschedules: []\n"), "-q").want(t, 0, "hello:", "")
	names("nightly")
}
