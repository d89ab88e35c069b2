package main

import "testing"

// TestDeploys follows deploys that nobody waits for.
func TestDeploys(t *testing.T) {
	d := serveMemory(t)
	dir := pythonFolder(t)
	got := d.thaw(t, "", "deploy", "hello", dir, "--detach", "--prime", `{"a": "<b>"}`, "--skip-record")
	got.want(t, 0, "hello version 1 is being published: `thaw deploys`", "")
	if got.stderr != "" {
		t.Errorf("who does not wait is told %q", got.stderr)
	}
	if s := d.engine.functions["hello"]; len(s.Prime) != 1 || string(s.Prime[0]) != `{"a":"<b>"}` || !s.SkipRecord {
		t.Errorf("%q, %v", s.Prime, s.SkipRecord)
	}
	d.thaw(t, "", "deploy", "hello", dir, "--detach", "-o", "json").want(t, 0, `"detached":true`, "")
	d.thaw(t, "", "deploys").want(t, 0, "hello     3        running  prime  5 seconds ago  5.0 s  1        -\n", "")
	d.thaw(t, "", "deploys").want(t, 0, "bad       -        failed   build  5 seconds ago  1.0 s  0        undone: the daemon ended | more\n", "")
	d.thaw(t, "", "deploys", "-o", "json").want(t, 0, `"duration_ms": 4100`, "")
}
