// Package auto chooses the policy of a cold start by what earlier starts of the
// same version took. It is pure: no clock, no chance, no I/O.
package auto

import (
	"fmt"
	"slices"

	"thaw"
)

const (
	// kept is how many starts by a policy count: the newest.
	kept = 15
	// enough is how many starts make a median worth comparing.
	enough = 3
	// tryEvery is how often something else than the best is tried, in starts; what
	// was seen to be much slower is tried rareFactor times as rarely.
	tryEvery, rareFactor = 20, 16
	// margin is by how much another policy must be faster to be preferred, and
	// muchSlower what makes a policy not worth trying often.
	margin, muchSlower = 0.95, 1.3
)

// Candidates are what is chosen from; the first is preferred until another one is
// measured to be faster.
func Candidates() []thaw.Policy {
	return []thaw.Policy{thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyFaaSnap, thaw.PolicyVanilla}
}

// History is what starts of one version took, apart for those that found the
// snapshot in the page cache. The zero value is empty and ready. It is not safe
// for concurrent use.
type History struct {
	cached, cold starts
}

type starts struct {
	total int // chosen so far
	took  map[thaw.Policy][]float64
}

func (h *History) of(cached bool) *starts {
	if cached {
		return &h.cached
	}
	return &h.cold
}

// Note remembers that a start by policy took ms milliseconds.
func (h *History) Note(policy thaw.Policy, cached bool, ms float64) {
	s := h.of(cached)
	if s.took == nil {
		s.took = map[thaw.Policy][]float64{}
	}
	took := append(s.took[policy], ms)
	s.took[policy] = took[max(0, len(took)-kept):]
}

// Choose returns the policy for the next start and why.
func (h *History) Choose(cached bool) (thaw.Policy, string) {
	s := h.of(cached)
	s.total++
	state := "disk"
	if cached {
		state = "page cache"
	}
	best := s.best()
	if len(s.took[best]) < enough {
		return best, fmt.Sprintf("auto: %s, the best as a rule: fewer than %d starts from the %s were measured", best, enough, state)
	}
	if other, ok := s.due(best); ok {
		return other, fmt.Sprintf("auto: tries %s, as one start in %d tries another than %s", other, tryEvery, best)
	}
	return best, fmt.Sprintf("auto: %s, median %.0f ms of %d starts from the %s%s", best, median(s.took[best]), len(s.took[best]), state, s.others(best))
}

// best is the preferred policy, unless another is clearly faster.
func (s *starts) best() thaw.Policy {
	best := Candidates()[0]
	for _, p := range Candidates()[1:] {
		if len(s.took[p]) >= enough && len(s.took[best]) >= enough && median(s.took[p]) < margin*median(s.took[best]) {
			best = p
		}
	}
	return best
}

// due returns what is to be tried instead of best, the least tried first, when it
// is time for that.
func (s *starts) due(best thaw.Policy) (thaw.Policy, bool) {
	if s.total%tryEvery != 0 {
		return "", false
	}
	rare := s.total%(tryEvery*rareFactor) == 0
	candidates := slices.DeleteFunc(Candidates(), func(p thaw.Policy) bool {
		slow := len(s.took[p]) >= enough && median(s.took[p]) > muchSlower*median(s.took[best])
		return p == best || slow && !rare
	})
	if len(candidates) == 0 {
		return "", false
	}
	return slices.MinFunc(candidates, func(a, b thaw.Policy) int { return len(s.took[a]) - len(s.took[b]) }), true
}

// others are the medians of what was tried besides best.
func (s *starts) others(best thaw.Policy) (text string) {
	for _, p := range Candidates() {
		if p != best && len(s.took[p]) > 0 {
			text += fmt.Sprintf(", %s %.0f of %d", p, median(s.took[p]), len(s.took[p]))
		}
	}
	return text
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
