package functions_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/functions"
	"thaw/image"
)

func load(t *testing.T) []functions.Workload {
	t.Helper()
	all, err := functions.Load(functions.Files())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWorkloads checks that no function of either paper is missing.
func TestWorkloads(t *testing.T) {
	all := load(t)
	want := map[functions.Paper][]string{
		functions.REAP: {
			"chameleon", "cnn_serving", "helloworld", "image_rotate", "json_serdes", "lr_serving", "lr_training", "pyaes",
			"rnn_serving", "video_processing",
		},
		functions.FaaSnap: {
			"chameleon", "compression", "ffmpeg", "helloworld", "image_rotate", "json_serdes", "matmul", "mmap", "pagerank",
			"pyaes", "read", "recognition",
		},
	}
	got := map[functions.Paper][]string{}
	for _, w := range all {
		for _, p := range w.Papers {
			got[p] = append(got[p], w.Name)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestPack checks that a function deployed from this program is the one that is
// deployed from its folder.
func TestPack(t *testing.T) {
	for _, w := range load(t) {
		code, err := fs.Sub(functions.Files(), w.Name)
		if err != nil {
			t.Fatal(err)
		}
		var embedded, folder bytes.Buffer
		if err := errors.Join(image.PackFS(code, &embedded), image.Pack(w.Name, &folder)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(embedded.Bytes(), folder.Bytes()) {
			t.Errorf("%s: %d bytes embedded, %d in the folder, or of other content", w.Name, embedded.Len(), folder.Len())
		}
	}
}

// TestCopies checks modules that two functions have: each function's folder is
// whole, so each has a copy.
func TestCopies(t *testing.T) {
	seen := map[string][]byte{}
	copies := 0
	err := fs.WalkDir(functions.Files(), ".", func(name string, e fs.DirEntry, err error) error {
		base := path.Base(name)
		if err != nil || e.IsDir() || base == "app.py" || base == functions.SpecName {
			return err
		}
		text, err := fs.ReadFile(functions.Files(), name)
		if first, ok := seen[base]; ok && !bytes.Equal(first, text) {
			t.Errorf("%s is not like the other %s", name, base)
		} else if ok {
			copies++
		}
		seen[base] = text
		return err
	})
	if err != nil || copies == 0 {
		t.Errorf("%d copies found: %v", copies, err)
	}
}

// TestReadme checks that the README's tables are those of the workloads.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := load(t)
	for _, want := range []string{originals(all), deployments(all)} {
		if !strings.Contains(string(b), want) {
			t.Errorf("README.md is not up to date. Put there:\n%s", want)
		}
	}
}

// originals tells what each workload is and what the papers run.
func originals(all []functions.Workload) string {
	var b strings.Builder
	b.WriteString("| function | what it does | paper | what the papers run | what differs here |\n|---|---|---|---|---|\n")
	for _, w := range all {
		papers := strings.ReplaceAll(strings.Trim(fmt.Sprint(w.Papers), "[]"), " ", ", ")
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", w.Name, w.Description, papers, w.Original, w.Differs)
	}
	return b.String()
}

// deployments tells how each workload is deployed and invoked.
func deployments(all []functions.Workload) string {
	var b strings.Builder
	b.WriteString("| function | memory | packages | A, recorded | B, measured |\n|---|---|---|---|---|\n")
	for _, w := range all {
		fmt.Fprintf(&b, "| %s | %d MiB | %s | `%s` | `%s` |\n",
			w.Name, w.MemoryBytes>>20, strings.Join(w.Packages, ", "), w.A.Event, w.B.Event)
	}
	return b.String()
}

const good = `{
	"description": "Adds", "original": "REAP: adds", "differs": "Nothing", "papers": ["REAP", "FaaSnap"], "packages": ["a1", "b2"],
	"memory_mib": 256, "timeout_s": 30, "a": {"event": {"n": 1}, "result": "2"}, "b": {"event": {"n": 2}, "result": "3"}
}`

func folder(name, text string) fstest.MapFS {
	return fstest.MapFS{
		"README.md":               {Data: []byte("a file is no workload")},
		name + "/app.py":          {Data: []byte("def handler(event, context): pass\n")},
		name + "/thaw-bench.json": {Data: []byte(text)},
	}
}

func TestLoad(t *testing.T) {
	got, err := functions.Load(folder("add", good))
	want := []functions.Workload{{
		Name: "add", Description: "Adds", Original: "REAP: adds", Differs: "Nothing", Papers: []functions.Paper{functions.REAP, functions.FaaSnap},
		Packages: []string{"a1", "b2"}, MemoryBytes: 256 << 20, Timeout: 30 * time.Second,
		A: functions.Input{Event: []byte(`{"n": 1}`), Result: "2"}, B: functions.Input{Event: []byte(`{"n": 2}`), Result: "3"},
	}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%s%v", d, err)
	}
	settings := thaw.Settings{
		Runtime: thaw.RuntimePython, Handler: "app.handler", MemoryBytes: 256 << 20, Timeout: 30 * time.Second, Packages: []string{"a1", "b2"},
	}
	if d := cmp.Diff(settings, got[0].Settings()); d != "" {
		t.Error(d)
	}
}

func TestLoadRefuses(t *testing.T) {
	input := `{"event": {"n": 1}, "result": "2"}`
	for _, c := range []struct{ old, new, want string }{
		{`"papers"`, `"paper"`, `unknown field "paper"`},
		{`{
	"desc`, `[{
	"desc`, "decode"},
		{"\n}", "\n} {}", "more than one JSON value"},
		{"\n}", "", "unexpected EOF"},
		{`"Adds"`, `""`, "description is"},
		{`"Adds"`, `"Adds\nmuch"`, "one line"},
		{`"REAP: adds"`, `" adds"`, "original is"},
		{`"Nothing"`, `"this | that"`, "without |"},
		{`"REAP", "FaaSnap"`, `"REAP", "REAP"`, "at most once"},
		{`"REAP", "FaaSnap"`, `"Catalyzer"`, "papers are"},
		{`"REAP", "FaaSnap"`, ``, "papers is empty"},
		{`"packages": ["a1", "b2"],`, ``, "packages is missing"},
		{`"a1", "b2"`, `"b2", "a1"`, "in order"},
		{`"a1", "b2"`, `"a1", "a1"`, "each once"},
		{`"a1", "b2"`, `"a1="`, "package name"},
		{"256", "0", "memory_mib is 0"},
		{"256", "64", "memory of 64 MiB is out of range"},
		{"256", "9223372036854775807", "memory_mib is 9223372036854775807"},
		{"256", "256.5", "cannot unmarshal number"},
		{"30", "0", "timeout_s is 0"},
		{"30", "901", "timeout_s is 901"},
		{`{"n": 1}`, `[1]`, "input 1 of a, b and sizes: event"},
		{`{"n": 2}`, `{}`, "input 2 of a, b and sizes: event"},
		{`"event": {"n": 2}, `, ``, "input 2 of a, b and sizes: event"},
		{`"result": "3"`, `"result": ""`, "has no result"},
		{`{"n": 2}`, `{ "n": 1.0 }`, "same event"},
		{"\n}", `, "sizes": [` + input + "]}", "sizes has 1 inputs"},
		{`"REAP", "FaaSnap"`, `"REAP"], "sizes": [` + strings.Repeat(input+", ", 5) + input, "sizes has 6 inputs"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%q is not in the good text", c.old)
		}
		_, err := functions.Load(folder("add", text))
		if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "add/thaw-bench.json") {
			t.Errorf("%q for %q: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

func TestLoadRefusesFolders(t *testing.T) {
	for _, c := range []struct {
		change func(fstest.MapFS)
		want   string
	}{
		{func(f fstest.MapFS) { delete(f, "add/app.py") }, "no file app.py"},
		{func(f fstest.MapFS) { delete(f, "add/thaw-bench.json") }, "file does not exist"},
		{func(f fstest.MapFS) {
			f["-x/app.py"], f["-x/thaw-bench.json"] = f["add/app.py"], f["add/thaw-bench.json"]
		}, "function name"},
		{func(f fstest.MapFS) { delete(f, "add/app.py"); delete(f, "add/thaw-bench.json") }, "no workload"},
	} {
		f := folder("add", good)
		c.change(f)
		if _, err := functions.Load(f); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	in := functions.Input{Event: []byte(`{"n": 1}`), Result: "2"}
	if err := in.Check([]byte(`{"more": [], "result": "2"}`)); err != nil {
		t.Error(err)
	}
	for _, reply := range []string{``, `"2"`, `{}`, `{"result": 2}`, `{"result": "20"}`, `{"errorMessage": "2"}`} {
		if err := in.Check([]byte(reply)); thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), `{"n": 1}`) {
			t.Errorf("%s: %v", reply, err)
		}
	}
}
