package workingset

import (
	"cmp"
	"slices"
)

const (
	// maxRecordings is how many recordings count: when there are more, old ones
	// lose half their weight.
	maxRecordings = 8
	// A page stays while it was used in at least one of keepOneIn recordings.
	keepOneIn = 4
	// A merged set is at most maxGrowth times its newest recording.
	maxGrowth = 3
)

// Merge joins newer, one new recording, with what was known. Pages that are used
// rarely fall out, and the result is at most three times as large as newer: those
// that were used least, and touched last, go first. The order is that of newer,
// then of older for what only that one has.
func Merge(older, newer Set) Set {
	merged := newer
	uses := map[uint32]Touch{}
	for _, t := range older.Touches {
		uses[t.Page] = t
	}
	merged.Touches = make([]Touch, 0, len(newer.Touches)+len(older.Touches))
	for _, t := range newer.Touches {
		was := uses[t.Page]
		delete(uses, t.Page)
		t.Uses, t.Written = was.Uses+1, t.Written || was.Written
		merged.Touches = append(merged.Touches, t)
	}
	for _, t := range older.Touches {
		if _, only := uses[t.Page]; only {
			merged.Touches = append(merged.Touches, t)
		}
	}
	merged.Recordings = older.Recordings + 1
	merged.age()
	merged.forget(len(newer.Touches))
	return merged
}

// age keeps the number of recordings bounded.
func (s *Set) age() {
	if s.Recordings <= maxRecordings {
		return
	}
	s.Recordings = (s.Recordings + 1) / 2
	for i := range s.Touches {
		s.Touches[i].Uses = min((s.Touches[i].Uses+1)/2, s.Recordings)
	}
}

// forget drops what is used too rarely, and what is too much; the first kept
// touches are those of the newest recording, which all stay.
func (s *Set) forget(kept int) {
	old := slices.DeleteFunc(slices.Clone(s.Touches[kept:]), func(t Touch) bool { return int(t.Uses)*keepOneIn < int(s.Recordings) })
	slices.SortStableFunc(old, func(a, b Touch) int { return cmp.Compare(b.Uses, a.Uses) })
	s.Touches = append(s.Touches[:kept:kept], old[:min(len(old), kept*(maxGrowth-1))]...)
}
