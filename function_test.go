package thaw_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "Z", "7", "hello", "my-function_2", "a--b", "a__b", "0-0", strings.Repeat("x", thaw.MaxNameLen)} {
		if err := thaw.CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", ".", "..", "a/b", "../a", "a.b", "a b", " a", "a\n", "\na", "a\x00", "-a", "a-", "_a", "a_", "-", "--help",
		"ä", "функция", "a\u200bb", "\xff", "a%2fb", "a*", "a:b", "a\\b",
		strings.Repeat("x", thaw.MaxNameLen+1), strings.Repeat("x", 300),
	} {
		wantInvalid(t, fmt.Sprintf("CheckName(%q)", name), thaw.CheckName(name), "function name")
	}
}

// wantInvalid checks that err can be shown to a user: it has the code and names
// what is wrong, in one line that is not as long as a hostile input.
func wantInvalid(t *testing.T, what string, err error, text string) {
	t.Helper()
	if thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("%s = %v, want code %s", what, err, thaw.CodeInvalid)
		return
	}
	if !strings.Contains(err.Error(), text) || strings.ContainsAny(err.Error(), "\n\x00") {
		t.Errorf("%s = %q, want one line about %q", what, err, text)
	}
}

func TestWithDefaults(t *testing.T) {
	for name, c := range map[string]struct{ given, want thaw.Settings }{
		"Zero": {thaw.Settings{}, thaw.Settings{
			Runtime: thaw.RuntimePython, Handler: "app.handler", MemoryBytes: thaw.DefaultMemory, Timeout: thaw.DefaultTimeout,
		}},
		"Provided": {thaw.Settings{Runtime: thaw.RuntimeProvided}, thaw.Settings{
			Runtime: thaw.RuntimeProvided, MemoryBytes: thaw.DefaultMemory, Timeout: thaw.DefaultTimeout,
		}},
		"NothingUnset": {
			thaw.Settings{Runtime: thaw.RuntimePython, Handler: "m.f", MemoryBytes: thaw.MinMemory, Timeout: time.Second, Env: map[string]string{"A": "b"}},
			thaw.Settings{Runtime: thaw.RuntimePython, Handler: "m.f", MemoryBytes: thaw.MinMemory, Timeout: time.Second, Env: map[string]string{"A": "b"}},
		},
		"PackagesInOrder": {
			thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: 1, Timeout: 1, Packages: []string{"b1", "a1", "b1"}},
			thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: 1, Timeout: 1, Packages: []string{"a1", "b1"}},
		},
		"NoPackages": {
			thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: 1, Timeout: 1, Packages: []string{}},
			thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: 1, Timeout: 1},
		},
		"WrongStaysWrong": {
			thaw.Settings{Runtime: "perl", MemoryBytes: -1, Timeout: -1},
			thaw.Settings{Runtime: "perl", MemoryBytes: -1, Timeout: -1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, c.given.WithDefaults()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestValidateRuntimes(t *testing.T) {
	for _, r := range thaw.Runtimes() {
		if err := (thaw.Settings{Runtime: r}).WithDefaults().Validate(); err != nil {
			t.Errorf("defaults of %s: %v", r, err)
		}
	}
	wantInvalid(t, "runtime perl", thaw.Settings{Runtime: "perl"}.WithDefaults().Validate(), `"perl"`)
	wantInvalid(t, "no defaults", thaw.Settings{}.Validate(), "runtime")
	// A provided function has no handler, so that any text in its place is ignored.
	if err := (thaw.Settings{Runtime: thaw.RuntimeProvided, Handler: "/../"}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateSizes(t *testing.T) {
	for name, c := range map[string]struct {
		memory  int64
		timeout time.Duration
		problem string // "" is none
	}{
		"ZeroIsDefault":   {0, 0, ""},
		"Least":           {thaw.MinMemory, thaw.MinTimeout, ""},
		"Most":            {thaw.MaxMemory, thaw.MaxTimeout, ""},
		"OddMiB":          {129 << 20, time.Second, ""},
		"TooLittle":       {thaw.MinMemory - 1<<20, 0, "memory"},
		"NearlyEnough":    {thaw.MinMemory - 1, 0, "memory"},
		"Negative":        {-thaw.MinMemory, 0, "memory"},
		"TooMuch":         {thaw.MaxMemory + 1<<20, 0, "memory"},
		"Terabyte":        {1 << 40, 0, "memory"},
		"Most64":          {1<<63 - 1, 0, "memory"},
		"NotWholeMiB":     {thaw.MinMemory + 1, 0, "whole number of MiB"},
		"NotWholeMiBPage": {thaw.MinMemory + thaw.PageSize, 0, "whole number of MiB"},
		"TooShort":        {0, thaw.MinTimeout - 1, "timeout"},
		"NegativeTimeout": {0, -time.Second, "timeout"},
		"TooLong":         {0, thaw.MaxTimeout + 1, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			err := thaw.Settings{MemoryBytes: c.memory, Timeout: c.timeout}.WithDefaults().Validate()
			if c.problem != "" {
				wantInvalid(t, "Validate", err, c.problem)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestValidateHandler(t *testing.T) {
	for _, h := range []string{"app.handler", "a.b", "_m._f", "pkg.mod.fn", "pkg/mod.fn", "M2.f3", "a/b/c.d"} {
		if err := (thaw.Settings{Handler: h}).WithDefaults().Validate(); err != nil {
			t.Errorf("handler %q: %v", h, err)
		}
	}
	for _, h := range []string{
		".", "..", "/", "app", "app.", ".handler", "app..handler", "app/handler", "/app.handler", "../app.handler", "app.handler.", "app.py:handler",
		"1app.handler", "app.1handler", "app.hand-ler", "app.handler()", "app. handler", "app.handler\n", "äpp.handler", "app.handler\x00",
		"a." + strings.Repeat("b", 1<<20),
	} {
		what := h[:min(len(h), 40)]
		wantInvalid(t, fmt.Sprintf("handler %q", what), thaw.Settings{Handler: h}.WithDefaults().Validate(), "handler")
	}
}

func TestValidateNodeHandler(t *testing.T) {
	for _, h := range []string{"", "index.handler", "my-mod.handler", "src/v1/my-mod.$f", "index.api.get", "1.a"} {
		if err := (thaw.Settings{Runtime: thaw.RuntimeNode, Handler: h}).WithDefaults().Validate(); err != nil {
			t.Errorf("handler %q: %v", h, err)
		}
	}
	for _, h := range []string{"index", "index.", ".handler", "/index.handler", "../index.handler", "a//b.c", "index.1a", "index.han-dler", "index.js:handler", "index.a b"} {
		wantInvalid(t, fmt.Sprintf("handler %q", h), thaw.Settings{Runtime: thaw.RuntimeNode, Handler: h}.WithDefaults().Validate(), "index.handler")
	}
}

func TestValidatePackages(t *testing.T) {
	many := make([]string, thaw.MaxPackages+1)
	for i := range many {
		many[i] = fmt.Sprintf("lib%d", i)
	}
	longest := strings.Repeat("x", thaw.MaxPackageLen)
	for name, c := range map[string]struct {
		runtime  thaw.Runtime
		packages []string
		problem  string // "" is none
	}{
		"None":            {packages: nil},
		"Some":            {packages: []string{"python3-numpy", "libstdc++6", "g++", "0ad", "lib.x", "a-+.b"}},
		"Longest":         {packages: []string{longest}},
		"TooLong":         {packages: []string{longest + "x"}, problem: "129 bytes long"},
		"Most":            {packages: many[1:]},
		"TooMany":         {packages: many, problem: "33 packages"},
		"ManyTimes":       {packages: append(many[1:], many[1:]...)},
		"Provided":        {runtime: thaw.RuntimeProvided, packages: []string{"python3-pil"}},
		"NoName":          {packages: []string{""}, problem: `""`},
		"OneLetter":       {packages: []string{"a"}, problem: `"a"`},
		"UpperCase":       {packages: []string{"Python"}, problem: `"Python"`},
		"Underscore":      {packages: []string{"python_pil"}, problem: "package name"},
		"Option":          {packages: []string{"--purge"}, problem: "package name"},
		"Removal":         {packages: []string{"python3-"}, problem: "package name"},
		"Dot":             {packages: []string{"python3."}, problem: "package name"},
		"Version":         {packages: []string{"bash=5.2"}, problem: "package name"},
		"Suite":           {packages: []string{"bash/sid"}, problem: "package name"},
		"Architecture":    {packages: []string{"bash:i386"}, problem: "package name"},
		"Pattern":         {packages: []string{"?essential"}, problem: "package name"},
		"Star":            {packages: []string{"python3-*"}, problem: "package name"},
		"Path":            {packages: []string{"./x.deb"}, problem: "package name"},
		"Two":             {packages: []string{"a1 b1"}, problem: "package name"},
		"Comma":           {packages: []string{"a1,b1"}, problem: "package name"},
		"Newline":         {packages: []string{"a1\n"}, problem: "package name"},
		"Shell":           {packages: []string{"$(id)"}, problem: "package name"},
		"OneBadAmongGood": {packages: []string{"a1", "B", "c1"}, problem: `"B"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := thaw.Settings{Runtime: c.runtime, Packages: c.packages}.WithDefaults().Validate()
			if c.problem != "" {
				wantInvalid(t, "Validate", err, c.problem)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithDefaultsKeepsGivenPackages(t *testing.T) {
	given := []string{"b1", "a1", "b1"}
	_ = thaw.Settings{Packages: given}.WithDefaults()
	if d := cmp.Diff([]string{"b1", "a1", "b1"}, given); d != "" {
		t.Errorf("the caller's list was changed: %s", d)
	}
}

func TestValidateEnv(t *testing.T) {
	full := strings.Repeat("v", thaw.MaxEnvBytes-1)
	for name, c := range map[string]struct {
		env     map[string]string
		problem string // "" is none
	}{
		"None":             {nil, ""},
		"Empty":            {map[string]string{"A": ""}, ""},
		"Some":             {map[string]string{"A": "1", "b_2": "a=b c\nd", "_": "ü", "PATH": "/x", "AWS_REGION": "eu", "LAMBDA": "x"}, ""},
		"Full":             {map[string]string{"A": full}, ""},
		"TooLong":          {map[string]string{"A": full + "v"}, "4096"},
		"TooLongTogether":  {map[string]string{"A": full, "B": ""}, "4096"},
		"TooLongName":      {map[string]string{strings.Repeat("A", thaw.MaxEnvBytes+1): ""}, "4096"},
		"NoName":           {map[string]string{"": "x"}, "name"},
		"Equals":           {map[string]string{"A=B": "x"}, "name"},
		"Digit":            {map[string]string{"1A": "x"}, "name"},
		"Dash":             {map[string]string{"A-B": "x"}, "name"},
		"Space":            {map[string]string{"A ": "x"}, "name"},
		"Newline":          {map[string]string{"A\n": "x"}, "name"},
		"Unicode":          {map[string]string{"Ä": "x"}, "name"},
		"NULInName":        {map[string]string{"A\x00": "x"}, "name"},
		"NULInValue":       {map[string]string{"A": "x\x00y"}, "NUL"},
		"Handler":          {map[string]string{"_HANDLER": "x"}, "reserved"},
		"TaskRoot":         {map[string]string{"LAMBDA_TASK_ROOT": "x"}, "reserved"},
		"RuntimeDir":       {map[string]string{"LAMBDA_RUNTIME_DIR": "x"}, "reserved"},
		"RuntimeAPI":       {map[string]string{"AWS_LAMBDA_RUNTIME_API": "x"}, "reserved"},
		"Ours":             {map[string]string{"THAW_X": ""}, "reserved"},
		"OneBadAmongGood":  {map[string]string{"A": "1", "Z": "\x00", "M": "2"}, "Z"},
		"FirstBadIsNamed":  {map[string]string{"Z-": "1", "A-": "2", "M": "3"}, `"A-"`},
		"ReservedAnyValue": {map[string]string{"AWS_LAMBDA_": ""}, "reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			err := thaw.Settings{Env: c.env}.WithDefaults().Validate()
			if c.problem != "" {
				wantInvalid(t, "Validate", err, c.problem)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
