package main

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"thaw"
)

func (e *memoryEngine) Versions(_ context.Context, name string) ([]thaw.VersionInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.get(name); err != nil {
		return nil, err
	}
	var infos []thaw.VersionInfo
	f := e.pointers[name]
	for _, v := range slices.Backward(e.versions[name]) {
		infos = append(infos, thaw.VersionInfo{Version: v, Serves: f.Serves == v.Number, Aliases: f.AliasesOf(v.Number), SnapshotState: thaw.SnapshotReady, DiskBytes: 80 << 20})
	}
	return infos, nil
}

func (e *memoryEngine) Rollback(_ context.Context, name string, number int) (thaw.Version, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.get(name); err != nil {
		return thaw.Version{}, err
	}
	f := e.pointers[name]
	if number == 0 && len(f.Before) > 0 {
		number = f.Before[len(f.Before)-1]
	}
	if number < 1 || number > len(e.versions[name]) {
		return thaw.Version{}, thaw.Errorf(thaw.CodeConflict, "there is nothing to roll back to")
	}
	e.pointers[name], e.functions[name] = f.Move(number), e.versions[name][number-1]
	return e.functions[name], nil
}

func (e *memoryEngine) Aliases(_ context.Context, name string) ([]thaw.Alias, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := e.get(name)
	return e.pointers[name].Aliases, err
}

func (e *memoryEngine) SetAlias(_ context.Context, name string, a thaw.Alias) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.get(name); err != nil {
		return err
	}
	e.pointers[name] = e.pointers[name].WithAlias(a)
	return nil
}

func (e *memoryEngine) RemoveAlias(_ context.Context, name, alias string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.pointers[name].Alias(alias); !ok {
		return thaw.Errorf(thaw.CodeNotFound, "there is no alias %s", alias)
	}
	e.pointers[name] = e.pointers[name].WithoutAlias(alias)
	return nil
}

// twoVersions serves hello in two versions, the second with more memory, another
// variable and other packages.
func twoVersions(t *testing.T) *testDaemon {
	t.Helper()
	d, dir := serveMemory(t), pythonFolder(t)
	d.thaw(t, "", "deploy", "hello", dir, "--env", "KEY=secret1", "--package", "python3-numpy").want(t, 0, "", "")
	d.thaw(t, "", "deploy", "hello", dir, "--memory", "512MiB", "--env", "KEY=secret2", "--env", "MORE=1").want(t, 0, "", "")
	return d
}

func TestVersionsAndRollback(t *testing.T) {
	d := twoVersions(t)
	d.thaw(t, "", "versions", "hello").want(t, 0, "2        yes     -        now      8.0 KiB  ready     80 MiB  -\n1        -       -        now      8.0 KiB  ready     80 MiB  -\n", "")
	d.thaw(t, "", "rollback", "hello").want(t, 0, "hello version 1 serves\n", "")
	d.thaw(t, "", "rollback", "hello").want(t, 2, "", "thaw: there is nothing to roll back to\n")
	d.thaw(t, "", "ls").want(t, 0, "hello     1 ", "")
	d.thaw(t, "", "describe", "hello:2").want(t, 0, "version         2, version 1 serves\n", "")
	d.thaw(t, "", "rollback", "hello", "2", "-o", "json").want(t, 0, `"version": 2`, "")
	d.thaw(t, "", "describe", "hello").want(t, 0, "version         2, serves\n", "")
	d.thaw(t, "", "describe", "hello:3").want(t, 3, "", "thaw: there is no hello:3\n")
	var all []thaw.VersionInfo
	if err := json.Unmarshal([]byte(d.thaw(t, "", "versions", "hello", "-o", "json").stdout), &all); err != nil || len(all) != 2 || !all[0].Serves || all[1].Serves {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestAliasCommands(t *testing.T) {
	d := twoVersions(t)
	d.thaw(t, "", "alias", "set", "hello", "live", "1", "--weight", "2=0.125").want(t, 0, "hello:live is version 1, version 2 for 12.5 % of invocations\n", "")
	d.thaw(t, "", "alias", "set", "hello", "beta", "2").want(t, 0, "hello:beta is version 2\n", "")
	d.thaw(t, "", "alias", "ls", "hello").want(t, 0, "ALIAS  NAMES\nbeta   version 2\nlive   version 1, version 2 for 12.5 % of invocations\n", "")
	d.thaw(t, "", "alias", "ls", "hello", "-o", "json").want(t, 0, `"weights": {
      "2": 0.125
    }`, "")
	d.thaw(t, "", "versions", "hello").want(t, 0, "2        yes     beta live  now", "")
	d.thaw(t, "", "describe", "hello:1").want(t, 0, "alias           live, version 1, version 2 for 12.5 % of invocations\n", "")
	for ref, version := range map[string]string{"hello:beta": "2", "hello:1": "1", "hello:$LATEST": "2"} {
		got := d.thaw(t, "", "invoke", ref, "-o", "json")
		got.want(t, 0, `"version": `+version, "")
		got.want(t, 0, `"function": "hello"`, "")
	}
	d.thaw(t, "", "alias", "rm", "hello", "live").want(t, 0, "hello:live removed\n", "")
	d.thaw(t, "", "alias", "rm", "hello", "live").want(t, 3, "", "there is no alias live")
}

func TestDiff(t *testing.T) {
	d := twoVersions(t)
	got := d.thaw(t, "", "diff", "hello", "1", "$LATEST")
	got.want(t, 0, `   hello                VERSION 1      VERSION 2
*  env.KEY              set            set
*  env.MORE             -              set
   handler              app.handler    app.handler
*  memory_bytes         256 MiB        512 MiB
*  packages             python3-numpy  -
   runtime              python3        python3
   timeout_ns           30s            30s
   code                 c0de           c0de
`, "")
	got.want(t, 0, "   working_set_bytes    2.4 MiB        2.4 MiB\n", "")
	var lines []difference
	if err := json.Unmarshal([]byte(d.thaw(t, "", "diff", "hello", "1", "2", "-o", "json").stdout), &lines); err != nil {
		t.Fatal(err)
	}
	if l := lines[0]; l.Name != "env.KEY" || l.Values != [2]any{"secret1", "secret2"} || !l.Differs {
		t.Errorf("%+v", l)
	}
	d.thaw(t, "", "diff", "hello", "1", "3").want(t, 3, "", "there is no hello:3")
}
