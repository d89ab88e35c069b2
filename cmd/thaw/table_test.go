package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"thaw/internal/strictyaml"
)

func TestTableOnNoTerminal(t *testing.T) {
	var b strings.Builder
	if err := writeTable(&b, []string{"NAME", "STATUS", "NOTE"}, [][]string{{"größe", "ok", ""}, {"b", "fail", "two words"}}); err != nil {
		t.Fatal(err)
	}
	const want = "NAME   STATUS  NOTE\ngröße  ok\nb      fail    two words\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestColours has columns as wide with colours as without.
func TestColours(t *testing.T) {
	on := palette{on: true}
	row := line([]string{"fail", "x"}, []int{6, 1}, on.word)
	if want := "\x1b[31mfail\x1b[0m    x\n"; row != want {
		t.Errorf("%q, want %q", row, want)
	}
	if got := (palette{}).word("fail"); got != "fail" {
		t.Errorf("%q without colours", got)
	}
}

// FuzzYAML has every JSON value come back from YAML as it was.
func FuzzYAML(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.50,-1e9,"","yes","1.10","null","a: b","- x"," x ","é\n\ty"],"b":{},"c":[],"":null,"d":true}`, `"x"`, `[[],[[]],{"a":{"b":"# c"}}]`, `{"a":"---","b":"!!str","<<":"&x","~":"*y"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := decodeJSON([]byte(text))
		if err != nil || !utf8.ValidString(text) {
			return
		}
		var b strings.Builder
		if err := writeYAML(&b, map[string]any{"v": want}); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		back, err := strictyaml.Parse("f", []byte(b.String()))
		if err != nil {
			t.Fatalf("%s as YAML %s: %v", text, b.String(), err)
		}
		raw, err := back.JSON()
		if err != nil {
			t.Fatalf("%s as YAML %s: %v", text, b.String(), err)
		}
		got, err := decodeJSON(raw)
		if d := cmp.Diff(map[string]any{"v": want}, got); err != nil || d != "" {
			t.Errorf("%s by way of\n%s: %v\n%s", text, b.String(), err, d)
		}
	})
}

func decodeJSON(text []byte) (v any, err error) {
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err // such as a number that no program can hold
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
