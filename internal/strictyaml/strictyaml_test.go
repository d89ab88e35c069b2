package strictyaml

import (
	"testing"

	"thaw"
)

func TestNearest(t *testing.T) {
	words := []string{"env", "memory", "name", "timeout", "idle_timeout"}
	for s, want := range map[string]string{
		"memroy": "memory", "MEMORY": "memory", "nam": "name", "envs": "env", "timeuot": "timeout", "idle-timeout": "idle_timeout",
		"colour": "", "x": "", "": "", "environment": "", "memory_bytes": "",
	} {
		if got := nearest(s, words); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "'a: b'": "a: b", "1.10": "1.10", "[a, 1, {b: null}]": `["a",1,{"b":null}]`, "a: <b>": `{"a":"\u003cb\u003e"}`, "": "", "[0x10]": "",
	} {
		v, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Line(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestTypes has every kind of value be read as what it is not.
func TestTypes(t *testing.T) {
	for text, want := range map[string]string{
		"text: 1": "f:1:7: text: a number where a string is due: write \"1\"", "text: 2001-01-01": "f:1:7: text: a date where a string is due: write \"2001-01-01\"",
		"int: 1.5": "f:1:6: int: a number where a whole number is due: write one such as 3", "int: x": "f:1:6: int: a string where a whole number is due: write one such as 3",
		"bool: yes": "f:1:7: bool: a string where true or false is due", "bool: []": "f:1:7: bool: a list where true or false is due",
		"list: {}": "f:1:7: list: keys with values where a list is due: write each value on a line of its own after -",
	} {
		v, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		err = v.Object(map[string]Reader{
			"text": func(v Value) error { _, err := v.Text(); return err },
			"int":  func(v Value) error { _, err := v.Int(); return err },
			"bool": func(v Value) error { _, err := v.Bool(); return err },
			"list": func(v Value) error { _, err := v.Texts(); return err },
		})
		if thaw.CodeOf(err) != thaw.CodeInvalid || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
