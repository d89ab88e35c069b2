package thaw

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRef(t *testing.T) {
	for text, want := range map[string]Ref{
		"hello":         {Function: "hello"},
		"hello:12":      {Function: "hello", Qualifier: "12"},
		"hello:live":    {Function: "hello", Qualifier: "live"},
		"hello:1-a_B":   {Function: "hello", Qualifier: "1-a_B"},
		"hello:$LATEST": {Function: "hello", Qualifier: Latest},
	} {
		got, err := ParseRef(text)
		if got != want || err != nil || got.String() != text {
			t.Errorf("ParseRef(%q) = %+v (%s), %v", text, got, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                                  "function name",
		":1":                                "function name",
		"hello:":                            "nothing follows the colon",
		"hello:0":                           "version",
		"hello:007":                         "version",
		"hello:99999999999999999999":        "version",
		"hello:$latest":                     "alias name",
		"hello:a b":                         "alias name",
		"hello:a:b":                         "alias name",
		"hello:" + strings.Repeat("a", 129): "at most 128",
	} {
		if _, err := ParseRef(text); CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRef(%q) = %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]int{"f:12": 12, "f": 0, "f:live": 0, "f:$LATEST": 0} {
		r, err := ParseRef(text)
		if err != nil || r.Number() != want {
			t.Errorf("%s is number %d, %v", text, r.Number(), err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	f.Add("hello:1")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRef(text)
		if err == nil && (r.String() != text || len(text) > MaxNameLen+1+MaxAliasLen) {
			t.Errorf("ParseRef(%q) = %+v", text, r)
		}
	})
}

func TestAliasValidate(t *testing.T) {
	for _, a := range []Alias{
		{Name: "live", Version: 1},
		{Name: "live", Version: 1, Weights: map[int]float64{2: 0, 3: 1}},
		{Name: "live", Version: 1, Weights: map[int]float64{2: 0.7, 3: 0.2, 4: 0.1}},
	} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for want, a := range map[string]Alias{
		"digits alone":       {Name: "12", Version: 1},
		"version 0 of alias": {Name: "live"},
		"version -1":         {Name: "live", Version: 1, Weights: map[int]float64{-1: 0}},
		"out of range":       {Name: "live", Version: 1, Weights: map[int]float64{2: 1.5}},
		"NaN":                {Name: "live", Version: 1, Weights: map[int]float64{2: math.NaN()}},
		"what the weights":   {Name: "live", Version: 1, Weights: map[int]float64{1: 0.5}},
		"add up to":          {Name: "live", Version: 1, Weights: map[int]float64{2: 0.6, 3: 0.6}},
	} {
		if err := a.Validate(); CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", a, err, want)
		}
	}
}

func TestPick(t *testing.T) {
	even := Alias{Name: "live", Version: 9, Weights: map[int]float64{4: 0.25, 2: 0.5}}
	all := Alias{Name: "live", Version: 9, Weights: map[int]float64{2: 0.7, 3: 0.2, 4: 0.1}}
	none := Alias{Name: "live", Version: 9, Weights: map[int]float64{2: 0}}
	below1 := math.Nextafter(1, 0)
	for _, test := range []struct {
		alias Alias
		u     float64
		want  int
	}{
		{even, 0, 2}, {even, 0.4999, 2}, {even, 0.5, 4}, {even, 0.7499, 4}, {even, 0.75, 9}, {even, below1, 9},
		{all, 0, 2}, {all, 0.7, 3}, {all, 0.95, 4}, {all, 2, 9},
		{none, 0, 9}, {none, below1, 9},
		{Alias{Version: 9, Weights: map[int]float64{2: 1}}, below1, 2},
		{Alias{Version: 9}, 0, 9},
	} {
		if got := test.alias.Pick(test.u); got != test.want {
			t.Errorf("%v with %v: version %d, want %d", test.alias.Weights, test.u, got, test.want)
		}
	}
}

// TestPickShares draws: each version gets its share.
func TestPickShares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	a := Alias{Version: 1, Weights: map[int]float64{2: 0.1, 3: 0.3}}
	const n = 100_000
	got := map[int]int{}
	for range n {
		got[a.Pick(random.Float64())]++
	}
	for version, share := range map[int]float64{1: 0.6, 2: 0.1, 3: 0.3} {
		if d := math.Abs(float64(got[version])/n - share); d > 0.01 {
			t.Errorf("version %d: %d of %d, want a share of %v", version, got[version], n, share)
		}
	}
}

// TestMove deploys (+) and rolls back (to a number, or - to what served before).
func TestMove(t *testing.T) {
	for steps, want := range map[string]Function{
		"+":           {Serves: 1},
		"+ + +":       {Serves: 3, Before: []int{1, 2}},
		"+ + + -":     {Serves: 2, Before: []int{1}},
		"+ + + - -":   {Serves: 1, Before: []int{}},
		"+ + + 1":     {Serves: 1, Before: []int{}},
		"+ + + 1 3":   {Serves: 3, Before: []int{1}},
		"+ + + 1 3 -": {Serves: 1, Before: []int{}},
		"+ + 1 +":     {Serves: 3, Before: []int{1}},
		"+ + 2":       {Serves: 2, Before: []int{1}},
	} {
		f, newest := Function{}, 0
		for step := range strings.FieldsSeq(steps) {
			before := fmt.Sprint(f)
			var number int
			switch step {
			case "+":
				newest++
				number = newest
			case "-":
				number = f.Before[len(f.Before)-1]
			default:
				number = int(step[0] - '0')
			}
			old := f
			f = f.Move(number)
			if fmt.Sprint(old) != before {
				t.Errorf("%s: Move has changed %s to %v", steps, before, old)
			}
		}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Errorf("%s: %s", steps, diff)
		}
	}
}
