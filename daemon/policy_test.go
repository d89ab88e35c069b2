package daemon

import (
	"testing"

	"thaw"
)

// TestPolicyOfARequest has whose policy is taken: the request's, the version's, or
// the default, and that of no version that records nothing where a recording is
// asked for.
func TestPolicyOfARequest(t *testing.T) {
	for _, c := range []struct {
		asked, own thaw.Policy
		record     bool
		want       thaw.Policy
		told       bool
	}{
		{"", "", false, thaw.PolicyAuto, false},
		{"", thaw.PolicyVanilla, false, thaw.PolicyVanilla, true},
		{thaw.PolicyAuto, thaw.PolicyVanilla, false, thaw.PolicyAuto, false},
		{thaw.PolicyReap, thaw.PolicyVanilla, false, thaw.PolicyReap, false},
		{"", thaw.PolicyVanilla, true, thaw.PolicyAuto, false},
		{"", thaw.PolicyFaaSnap, true, thaw.PolicyFaaSnap, true},
	} {
		v := thaw.Version{Settings: thaw.Settings{Policy: c.own}}
		r, why := withPolicy(thaw.InvokeRequest{Policy: c.asked, Record: c.record}, v)
		if r.Policy != c.want || (why != "") != c.told {
			t.Errorf("%+v: policy %s, because %q", c, r.Policy, why)
		}
	}
}
