package lambda

import (
	"strings"
	"testing"

	"thaw"
)

func TestConcurrencyIsMaxScale(t *testing.T) {
	number := func(n int) *int { return &n }
	for _, c := range []struct {
		settings thaw.Settings
		reserved *int
		scale    int
		wrong    string
	}{
		{thaw.Settings{}, number(1), 1, ""},
		{thaw.Settings{MaxScale: 7, MinScale: 2}, number(2), 2, ""},
		{thaw.Settings{Concurrency: 10}, number(30), 3, ""},
		{thaw.Settings{}, number(thaw.MaxScale), thaw.MaxScale, ""},
		{thaw.Settings{Concurrency: 2}, number(2 * thaw.MaxScale), thaw.MaxScale, ""},
		{thaw.Settings{}, nil, 0, "is missing"},
		{thaw.Settings{}, number(0), 0, "cannot be switched off"},
		{thaw.Settings{}, number(-1), 0, "out of range: choose 1 to 10000"},
		{thaw.Settings{}, number(thaw.MaxScale + 1), 0, "out of range: choose 1 to 10000"},
		{thaw.Settings{Concurrency: 10}, number(25), 0, "serves 10 invocations at once"},
		{thaw.Settings{Concurrency: 10, MinScale: 3}, number(20), 0, "choose at least 30"},
	} {
		v := thaw.Version{Function: "f", Number: 4, Settings: c.settings}
		r, err := PutFunctionConcurrency{Reserved: c.reserved}.Request(v)
		if c.wrong != "" {
			if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%+v: %v, want %q", c, err, c.wrong)
			}
			continue
		}
		if err != nil || r.Settings.MaxScale != c.scale || r.From != "f:4" || r.Code != nil || ConcurrencyOf(r.Settings).Reserved != *c.reserved {
			t.Errorf("%+v: %+v, %v", c, r, err)
		}
		v.Settings = r.Settings
		if r := Unreserve(v); r.Settings.MaxScale != 0 || r.From != "f:4" || ConcurrencyOf(r.Settings).Reserved != 0 {
			t.Errorf("%+v: without one %+v", c, r)
		}
	}
}
