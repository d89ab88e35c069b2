package report

import (
	"slices"
	"strings"

	"thaw"
	"thaw/bench"
	"thaw/bench/report/svg"
)

// inkOf is the colour of a policy, the same on the whole page; with the pool and
// without it is one colour. What the style sheet does not know has that of text.
func inkOf(k bench.Kind) svg.Ink {
	name := strings.TrimSuffix(string(k), "+pool")
	if !slices.Contains(bench.All(), bench.Kind(name)) {
		return svg.InkText
	}
	return svg.Ink("policy" + strings.ReplaceAll(name, "-", ""))
}

// restores says that k is a policy that restores from the disk: neither warm, nor a
// boot, nor with everything in memory.
func restores(k bench.Kind) bool {
	return k.Start() == thaw.StartCold && k != bench.KindCached && k != bench.KindFloor
}

// kinds are those that any function was measured with, in the order they took
// turns.
func kinds(functions []bench.Function) (all []bench.Kind) {
	for _, f := range functions {
		for _, k := range f.Kinds() {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

// maxLines is how many policies are told apart as lines of one picture.
const maxLines = 5

// lines are the policies of which kinds are drawn as lines: those that most people
// compare, or those there are.
func lines(of []bench.Kind) []bench.Kind {
	var common, others []bench.Kind
	for _, k := range of {
		plain := bench.Kind(strings.TrimSuffix(string(k), "+pool"))
		switch {
		case k.Start() != thaw.StartCold || slices.Contains(common, plain) || slices.Contains(others, plain):
		case slices.Contains(bench.Common(), plain):
			common = append(common, plain)
		default:
			others = append(others, plain)
		}
	}
	all := append(common, others...)
	return all[:min(len(all), maxLines)]
}

// policyKeys are the entries of a legend for lines of kinds.
func policyKeys(of []bench.Kind) (keys []key) {
	for _, k := range lines(of) {
		for _, form := range []bench.Kind{k, k + "+pool"} {
			if slices.Contains(of, form) {
				keys = append(keys, key{Ink: string(inkOf(form)), Name: string(form), Line: true, Dashed: !form.Pool()})
			}
		}
	}
	return keys
}
