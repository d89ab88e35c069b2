package conformance

import (
	"fmt"
	"slices"

	"thaw"
)

// Verdict is what a test came to.
type Verdict string

const (
	Pass Verdict = "pass"
	Fail Verdict = "FAIL"
)

// Result is that of one test.
type Result struct {
	Test   string  `json:"test"`
	Hazard string  `json:"hazard"`
	Result Verdict `json:"result"`
	// Seen says in one line what the verdict is founded on.
	Seen string `json:"seen"`
	// Failures are all violations, each of one clone.
	Failures []string `json:"failures,omitempty"`
}

// Report is a run.
type Report struct {
	Accelerator string         `json:"accelerator"`
	Runtimes    []thaw.Runtime `json:"runtimes"`
	Policies    []thaw.Policy  `json:"policies"`
	// Clones started at the same time; Restores is how many were made in all.
	Clones   int      `json:"clones"`
	Restores int      `json:"restores"`
	Results  []Result `json:"results"`
}

// Failed returns an error that names the tests that failed, nil if none did. Its
// code is [thaw.CodeFunction].
func (r Report) Failed() error {
	var names []string
	for _, result := range r.Results {
		if result.Result == Fail {
			names = append(names, result.Test)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return thaw.Errorf(thaw.CodeFunction, "%d of %d conformance tests failed: %q", len(names), len(r.Results), names)
}

// finding is what a test saw: how to word it, and what is wrong.
type finding struct {
	seen     string
	failures []string
}

// wrong notes a violation by c.
func (f *finding) wrong(c clone, format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf("%s by %s, instance %s: ", c.runtime, c.policy, c.record.Instance)+fmt.Sprintf(format, args...))
}

// result makes the verdict of test t.
func (t test) result(o observed) Result {
	f := t.check(o)
	r := Result{Test: t.name, Hazard: t.hazard, Result: Pass, Seen: f.seen, Failures: f.failures}
	if len(f.failures) > 0 {
		r.Result, r.Seen = Fail, f.failures[0]
	}
	if more := len(f.failures) - 1; more > 0 {
		r.Seen += fmt.Sprintf(" (and %d more)", more)
	}
	return r
}

// judge runs every test that was asked for.
func judge(o observed, chosen []test) (results []Result) {
	for _, t := range chosen {
		results = append(results, t.result(o))
	}
	return slices.Clip(results)
}
