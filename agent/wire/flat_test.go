package wire

import (
	"encoding/json"
	"testing"
)

// sample has one field of each kind.
type sample struct {
	S string `json:"s,omitempty"`
	I int64  `json:"i,omitempty"`
	U uint64 `json:"u,omitempty"`
	B bool   `json:"b,omitempty"`
}

func (m *sample) fields() []field {
	return []field{{"s", &m.S}, {"i", &m.I}, {"u", &m.U}, {"b", &m.B}}
}

func TestParseFlat(t *testing.T) {
	tests := []struct {
		text string
		want sample
		ok   bool
	}{
		{`{}`, sample{}, true},
		{" { } \n", sample{}, true},
		{`{"s":"a","i":-5,"u":18446744073709551615,"b":true}`, sample{"a", -5, 1<<64 - 1, true}, true},
		{`{ "b" : false , "s" : "" , "more" : null, "x": "y\"", "z": 1.5e3 }`, sample{}, true},
		{`{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, sample{S: "\"\\/\b\f\n\r\té😀"}, true},
		{`{"s":"\ud83d\u0041"}`, sample{S: "\uFFFDA"}, true},
		{"{\"s\":\"\xff\"}", sample{S: "\uFFFD"}, true},
		{``, sample{}, false}, {`{`, sample{}, false}, {`[]`, sample{}, false}, {`{"s"}`, sample{}, false},
		{`{"s":"a"`, sample{}, false}, {`{"s":"a"}x`, sample{}, false}, {`{"s":1}`, sample{}, false},
		{`{"i":"1"}`, sample{}, false}, {`{"i":1.5}`, sample{}, false}, {`{"b":1}`, sample{}, false},
		{`{"x":{}}`, sample{}, false}, {`{"x":[1]}`, sample{}, false}, {`{"x":}`, sample{}, false}, {`{"s":"a",}`, sample{}, false},
		{`{"s":"\x"}`, sample{}, false}, {`{"s":"\u12"}`, sample{}, false}, {`{"s":"`, sample{}, false}, {`{"s":"\`, sample{}, false},
	}
	for _, tt := range tests {
		var got sample
		if err := parseFlat([]byte(tt.text), got.fields()); (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("%s: got %+v, %v", tt.text, got, err)
		}
	}
}

// FuzzFlatEncode shows that encoding/json reads back what is encoded here, and
// so does parseFlat.
func FuzzFlatEncode(f *testing.F) {
	f.Add("a\"\\\x00\n\u2028\xf5é😀", int64(-1), uint64(1<<63), true)
	f.Fuzz(func(t *testing.T, s string, i int64, u uint64, b bool) {
		m := sample{s, i, u, b}
		text := appendFlat(nil, m.fields())
		var want, got sample
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := parseFlat(text, got.fields()); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	})
}

// FuzzFlatDecode shows that parseFlat agrees with encoding/json on whatever both
// accept, and accepts every flat object with distinct names that it writes.
func FuzzFlatDecode(f *testing.F) {
	f.Add([]byte(`{"s":"\ud83d\ude00 \ud83d \u0041","i":-5,"u":5,"b":true,"x":null}`))
	f.Add([]byte(`{ "s" : "" , "i" : 0 }`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want sample
		if parseFlat(b, got.fields()) != nil {
			return
		}
		var names map[string]json.RawMessage
		if json.Unmarshal(b, &names) != nil || json.Unmarshal(b, &want) != nil {
			return // we are laxer about values nobody looks at
		}
		for name, raw := range names { // json matches names in any case, and null with anything
			if name != "s" && name != "i" && name != "u" && name != "b" || string(raw) == "null" {
				return
			}
		}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", b, got, want)
		}
	})
}
