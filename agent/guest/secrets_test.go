package guest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
)

// TestSecrets: a guest that was restored has them as files before its function goes on.
func TestSecrets(t *testing.T) {
	g := startGuest(t, map[string]string{"app.py": `
import os
from snapshot_restore_py import register_after_restore

held = []
FOLDER = os.environ["FOLDER"]

@register_after_restore
def after():
    held.extend(sorted(os.listdir(FOLDER)))

def handler(event, context):
    with open(os.path.join(FOLDER, event)) as f:
        return [held, f.read()]
`})
	fn := pythonFunction("app.handler", time.Minute)
	fn.SnapStart, fn.Env = true, map[string]string{"FOLDER": g.secrets()}
	c := g.connect()
	if _, err := c.Resume(g.ctx(), "builder"); err != nil {
		t.Fatal(err)
	}
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		t.Fatal(err)
	}
	c = g.connect()
	values := []thaw.SecretValue{{Name: "db.password", Value: thaw.Sensitive("hunter2")}, {Name: "empty"}}
	if err := c.Secrets(g.ctx(), values); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(g.ctx(), "clone"); err != nil {
		t.Fatal(err)
	}
	if got := string(g.invoke(c, "r1", `"db.password"`, time.Minute).Payload); got != `[["db.password", "empty"], "hunter2"]` {
		t.Errorf("the function saw %s", got)
	}
	if info, err := os.Stat(filepath.Join(g.secrets(), "empty")); err != nil || info.Mode() != 0o400 || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestSecretsThatCannotBeKept: the host hears of it and throws the guest away.
func TestSecretsThatCannotBeKept(t *testing.T) {
	g := startGuest(t, nil)
	if err := os.Remove(g.secrets()); err != nil {
		t.Fatal(err)
	}
	err := g.connect().Secrets(g.ctx(), []thaw.SecretValue{{Name: "a", Value: thaw.Sensitive("hunter2")}})
	if err == nil || !strings.Contains(err.Error(), "no such file") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
