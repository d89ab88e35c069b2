package thaw_test

import (
	"encoding/json"
	"strings"
	"testing"

	"thaw"
)

func TestValidatePrime(t *testing.T) {
	events := func(texts ...string) (all []json.RawMessage) {
		for _, text := range texts {
			all = append(all, json.RawMessage(text))
		}
		return all
	}
	many := make([]json.RawMessage, thaw.MaxPrimeEvents+1)
	for i := range many {
		many[i] = json.RawMessage("null")
	}
	long := `"` + strings.Repeat("x", thaw.MaxPrimeBytes/2) + `"`
	for name, good := range map[string][]json.RawMessage{
		"None": nil, "Kinds": events(`{}`, `[]`, `null`, `1`, ` "a" `, "{\n}"), "Most": many[1:], "Long": events(long),
	} {
		if err := (thaw.Settings{Prime: good}).WithDefaults().Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, bad := range map[string][]json.RawMessage{
		"prime event 2 is not JSON: it is empty": events(`{}`, ``),
		"prime event 1 is not JSON":              events(`{"a":`),
		"invalid character":                      events(`{} {}`),
		"17 prime events are too many":           many,
		"at most 262144 are allowed":             events(long, long),
	} {
		wantInvalid(t, want, thaw.Settings{Prime: bad}.WithDefaults().Validate(), want)
	}
}
