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

func TestFit(t *testing.T) {
	head, rows := []string{"TIME", "MS", "NOTE"}, [][]string{{"now", "1.5", "a"}, {"then", "120.5", "b"}}
	alignRight(head, rows, "MS")
	var b strings.Builder
	if err := writeTable(&b, head, rows); err != nil || b.String() != "TIME     MS  NOTE\nnow     1.5  a\nthen  120.5  b\n" {
		t.Errorf("%v\n%s", err, b.String())
	}
	for width, want := range map[int]string{0: "TIME MS NOTE", 17: "TIME MS NOTE", 16: "TIME MS", 11: "TIME MS", 10: "TIME", 1: "TIME"} {
		got, rows := fit(width, head, rows, "NOTE", "MS")
		if words := strings.Join(strings.Fields(strings.Join(got, " ")), " "); words != want || len(rows[0]) != len(got) {
			t.Errorf("width %d: %s, %q", width, words, rows)
		}
	}
}

func TestShorten(t *testing.T) {
	long := "8 KiB, 0123456789abcdef0123456789abcdef"
	for width, want := range map[int]string{0: long, 39: long, 38: "8 KiB, 0123456789abcde…123456789abcdef", 23: "8 KiB, 0123456…89abcdef", 22: long} {
		if got := shorten(long, width); got != want {
			t.Errorf("width %d: %q, want %q", width, got, want)
		}
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
