package project_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/project"
)

func TestParse(t *testing.T) {
	p, err := project.Parse("thaw.yaml", []byte(`# A comment.
name: resize
runtime: python3
handler: image.resize
memory: 512MiB
timeout: 1m30s
env:
  VERSION: 1.10
  DEBUG: true
  EMPTY: ""
  "QUOTED": 'a: b'
packages: [python3-pil, python3-numpy]
policy: thaw
min_scale: 1
max_scale: 4
idle_timeout: 5m
keep_alive: histogram
skip_record: true
prime:
  - {"name": "Ada", n: 1}
  - null
`))
	if err != nil {
		t.Fatal(err)
	}
	want := thaw.Settings{
		Runtime: thaw.RuntimePython, Handler: "image.resize", MemoryBytes: 512 << 20, Timeout: 90 * time.Second,
		Env:      map[string]string{"VERSION": "1.10", "DEBUG": "true", "EMPTY": "", "QUOTED": "a: b"},
		Packages: []string{"python3-pil", "python3-numpy"}, Policy: thaw.PolicyThaw,
		MinScale: 1, MaxScale: 4, IdleTimeout: 5 * time.Minute, KeepAlive: thaw.KeepAliveHistogram,
		SkipRecord: true, Prime: []json.RawMessage{json.RawMessage(`{"name":"Ada","n":1}`), json.RawMessage(`null`)},
	}
	if d := cmp.Diff(want, p.Settings); d != "" || p.Name != "resize" {
		t.Errorf("name %s, settings (-want +got):\n%s", p.Name, d)
	}
	if got := p.Set("memory"); got != "thaw.yaml:5:9" {
		t.Errorf("memory is set at %q", got)
	}
}

func TestSchedules(t *testing.T) {
	p, err := project.Parse("f", []byte(`
build: make
schedules:
  - cron: "0 9 * * MON-FRI"
    event: {report: daily, n: [1, 2.50, null, true, "x"]}
  - name: poll
    cron: "@every 30s"
    qualifier: live
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []thaw.Schedule{
		{Spec: "0 9 * * MON-FRI", Data: []byte(`{"report":"daily","n":[1,2.50,null,true,"x"]}`)},
		{ID: "poll", Spec: "@every 30s", Qualifier: "live", Data: []byte(`{}`)},
	}
	if d := cmp.Diff(want, p.Schedules); d != "" || p.Build != "make" {
		t.Errorf("build %q, schedules (-want +got):\n%s", p.Build, d)
	}
	if p, err := project.Parse("f", []byte("schedules: []")); err != nil || p.Set("schedules") == "" || len(p.Schedules) > 0 {
		t.Errorf("no schedules: %+v, %v", p, err)
	}
}

func TestNothingIsSet(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}\n", "null\n"} {
		p, err := project.Parse("thaw.yaml", []byte(text))
		if err != nil || !cmp.Equal(p.Settings, thaw.Settings{}) || p.Name != "" || p.Set("name") != "" {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

// TestMistakes has what is wrong with a file, and what is said of it, up to any ….
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"concurrency: 0":                        `f:1:14: concurrency: 0 is out of range: choose 1 or more`,
		"idle_timeout: 0s":                      `f:1:15: idle_timeout: 0 is out of range: choose 1s to 24h0m0s`,
		"keep_alive: forever":                   `f:1:13: unknown keep-alive policy "forever": choose fixed or histogram`,
		"min_scale: 3\nmax_scale: 2":            `f:2:12: min scale of 3 is above the max scale of 2`,
		"memroy: 1GiB":                          `f:1:1: memroy: unknown key: did you mean memory?`,
		"Memory: 1GiB":                          `f:1:1: Memory: unknown key: did you mean memory?`,
		"\ncolour: red":                         `f:2:1: colour: unknown key: choose one of …`,
		"name: a\nname: b":                      `f:2:1: name: is there twice, first in line 1: keep one`,
		"env:\n  A: 1\n  A: 2":                  `f:3:3: env.A: is there twice, first in line 2: keep one`,
		"name:":                                 `f:1:1: name: has no value: write one, or leave the key out`,
		"name: ''":                              `f:1:7: name: is empty: write a value, or leave the key out`,
		"name: 12":                              `f:1:7: name: a number where a string is due: write "12"`,
		"name: [a]":                             `f:1:7: name: a list where a string is due`,
		"name: a/b":                             `f:1:7: function name "a/b" is not valid: use a to z, A to Z, digits, - and _, beginning and ending with a letter or digit`,
		"runtime: perl":                         `f:1:10: unknown runtime "perl": choose …`,
		"handler: app":                          `f:1:10: handler "app" is not valid: write it as module.function, such as app.handler`,
		"memory: 256":                           `f:1:9: memory: 256 is a number of bytes: for MiB write 256MiB`,
		"memory: lots":                          `f:1:9: memory: write a size such as 256MiB`,
		"memory: 0":                             `f:1:9: memory: 0 is out of range: choose 128MiB to 4GiB`,
		"memory: 64MiB":                         `f:1:9: memory of 64 MiB is out of range: choose 128MiB to 4GiB`,
		"memory: {a: b}":                        `f:1:9: memory: keys with values where a single value is due`,
		"timeout: 30":                           `f:1:10: timeout: "30" is not a duration: write a number with its unit, such as 30s, 500ms or 2m`,
		"timeout: 0s":                           `f:1:10: timeout: 0 is out of range: choose 100ms to 15m0s`,
		"timeout: -1s":                          `f:1:10: timeout -1s is out of range: choose 100ms to 15m0s`,
		"env: [A=1]":                            `f:1:6: env: a list where keys with values are due: write KEY: VALUE`,
		"env: {A: {b: c}}":                      `f:1:10: env.A: keys with values where a single value is due`,
		"env: {A: }":                            `f:1:10: env.A: no value: for an empty one write ""`,
		"env: {AWS_LAMBDA_X: 1}":                `f:1:6: environment variable AWS_LAMBDA_X is reserved for the runtime: choose another name`,
		"packages: python3-numpy":               `f:1:11: packages: a string where a list is due: write each value on a line of its own after -`,
		"packages: [a1, 2]":                     `f:1:16: packages[2]: a number where a string is due: write "2"`,
		"packages: [a1]\nimage: a/b:1":          `f:2:8: packages are not for an image, which brings its own root disk: install them in the image`,
		"memory: 1GiB\ntimeout: 1h\nname: good": `f:2:10: timeout 1h0m0s is out of range: choose 100ms to 15m0s`,
		"prime: {name: Ada}":                    `f:1:8: prime: keys with values where a list is due: write each value on a line of its own after -`,
		"prime: [{a: 1, a: 2}]":                 `f:1:16: prime[1].a: is there twice, first in line 1: keep one`,
		"skip_record: maybe":                    `f:1:14: skip_record: …`,
		"policy: fastest":                       `f:1:9: unknown policy "fastest": choose one of auto, …`,
		"- name: a":                             `f:1:1: a list where keys with values are due: write KEY: VALUE`,
		"hello":                                 `f:1:1: a string where keys with values are due: write KEY: VALUE`,
		"? [a]\n: b":                            `f:1:3: a list where a key is due: write KEY: VALUE`,
		"name: a\n---\nname: b":                 `f:2:1: a second document begins here: keep one`,
		"name: &x a":                            `f:1:7: anchors and aliases are not supported: write the value out`,
		"name: !!str 12":                        `f:1:7: tags such as !!str are not supported: leave it out`,
		"<<: {a: b}":                            `f:1:1: merge keys are not supported: write the keys out`,
		"a: b: c":                               `f:1:5: not YAML: mapping values are not allowed in this context`,
		"\tname: a":                             `f:1:1: not YAML: found character that cannot start any token while scanning for the next token: indent with spaces, and put a value that begins with a special character in quotes`,
		"name: a\x00":                           `f:1:8: a control character: remove it`,
		"name: a\nenv: \xff":                    `f:2: this line is not UTF-8: save the file as that`,
		strings.Repeat("# long\n", 10_000):      `f is larger than 64 KiB: is it the right file?`,
	} {
		wantMistake(t, text, want)
	}
}

func TestMistakesOfSchedules(t *testing.T) {
	for text, want := range map[string]string{
		"build: ''":                                          `f:1:8: build: is empty: write a value, or leave the key out`,
		"schedules: [{}]":                                    `f:1:13: schedules[1]: has no cron: write one such as cron: "0 9 * * MON-FRI"`,
		"schedules: [{cron: never}]":                         `f:1:20: schedules[1].cron: …`,
		"schedules: [{cron: '@daily', evnt: 1}]":             `f:1:30: schedules[1].evnt: unknown key: did you mean event?`,
		"schedules:\n- cron: '@daily'\n- cron: '@hourly'":    `f:3:3: schedules[2]: another one has this name, too: give each its own with name:`,
		"schedules: [{cron: '@daily', qualifier: '0'}]":      `f:1:41: schedules[1].qualifier: version "0" is not valid…`,
		"schedules: [{cron: '@daily', event: {a: 1, a: 2}}]": `f:1:44: schedules[1].event.a: is there twice, first in line 1: keep one`,
		"schedules: [{cron: '@daily', event: 0x10}]":         `f:1:37: schedules[1].event: 0x10 is not written as JSON has it: write it so, or in quotes`,
	} {
		wantMistake(t, text, want)
	}
}

func wantMistake(t *testing.T, text, want string) {
	t.Helper()
	_, err := project.Parse("f", []byte(text))
	begin, rest := strings.CutSuffix(want, "…")
	if thaw.CodeOf(err) != thaw.CodeInvalid || err.Error() != want && !(rest && strings.HasPrefix(err.Error(), begin)) {
		t.Errorf("%.40q:\n got %v\nwant %s", text, err, want)
	}
}

// TestExamples has the project file of each example be right, and call it what its
// folder is called.
func TestExamples(t *testing.T) {
	all, err := filepath.Glob("../examples/*")
	if err != nil || len(all) < 5 {
		t.Fatalf("examples %q: %v", all, err)
	}
	for _, dir := range all {
		text, err := os.ReadFile(filepath.Join(dir, project.FileName))
		if err != nil {
			t.Error(err)
			continue
		}
		if p, err := project.Parse(dir, text); err != nil || p.Name != filepath.Base(dir) {
			t.Errorf("%s: name %q, %v", dir, p.Name, err)
		}
	}
}

// TestReference compares the table of docs/project-file.md with what is read.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/project-file.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "\n## ")
	var want []string
	for _, k := range project.Keys() {
		row := []string{"", "`" + k.Name + "`", k.Type, k.Default, k.Doc, ""}
		want = append(want, strings.ReplaceAll(strings.TrimSpace(strings.Join(row, " | ")), "|  |", "| |"))
	}
	got := regexp.MustCompile("(?m)^\\| `.*$").FindAllString(table, -1)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("write into docs/project-file.md (-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"name: a\nenv: {A: 1}\npackages: [b]\n", "memory: 1GiB\ntimeout: 1m", "? a\n: b", "a: &x [*x]", "'a': \"\\u1234\"", "--- |\n x\n...\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := project.Parse("f", content)
		if err != nil {
			if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.HasPrefix(err.Error(), "f") || err.Error() == "" {
				t.Errorf("%q: error %v", content, err)
			}
			return
		}
		if err := p.Settings.WithDefaults().Validate(); err != nil {
			t.Errorf("%q gives settings that are not valid: %v", content, err)
		}
	})
}
