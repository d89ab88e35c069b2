package thaw_test

import (
	"fmt"
	"strings"
	"testing"

	"thaw"
)

func TestParsePolicy(t *testing.T) {
	for _, p := range thaw.Policies() {
		if got, err := thaw.ParsePolicy(string(p)); got != p || err != nil {
			t.Errorf("ParsePolicy(%q) = %q, %v", p, got, err)
		}
	}
	if got, err := thaw.ParsePolicy(""); got != thaw.DefaultPolicy || err != nil {
		t.Errorf(`ParsePolicy("") = %q, %v, want the default`, got, err)
	}
	for _, s := range []string{"REAP", " reap", "reap\n", "warm", "fastest", strings.Repeat("x", 100)} {
		got, err := thaw.ParsePolicy(s)
		if got != "" {
			t.Errorf("ParsePolicy(%q) = %q", s, got)
		}
		for _, p := range thaw.Policies() {
			wantInvalid(t, fmt.Sprintf("ParsePolicy(%q)", s), err, string(p))
		}
	}
}

// TestPoliciesAreCopies: a caller that changes what it got changes nobody
// else's.
func TestPoliciesAreCopies(t *testing.T) {
	thaw.Policies()[0] = "changed"
	thaw.PhaseNames()[0] = "changed"
	thaw.Runtimes()[0] = "changed"
	if thaw.Policies()[0] == "changed" || thaw.PhaseNames()[0] == "changed" || thaw.Runtimes()[0] == "changed" {
		t.Error("a list is shared")
	}
}
