package plan

import (
	"thaw"
	"thaw/workingset"
)

// Classes says of every page of guest memory what it is to invocations, and
// whether p brings it in ahead. trace is nil while nothing was recorded.
func Classes(memoryPages uint32, nonZero []workingset.Run, trace *workingset.Set, p Plan) []thaw.MemoryRun {
	classes := make([]thaw.MemoryRun, memoryPages)
	for i := range classes {
		classes[i] = thaw.MemoryRun{Page: uint32(i), Pages: 1, Class: thaw.PageZero}
	}
	for _, r := range nonZero {
		for page := r.Page; page < r.End(); page++ {
			classes[page].Class = thaw.PageUntouched
		}
	}
	if trace != nil {
		for _, t := range trace.Touches {
			classes[t.Page].Class = touched(t)
		}
	}
	for _, e := range p.Extents {
		for page := e.Page; page < e.End(); page++ {
			classes[page].Prefetched = true
		}
	}
	return joined(classes)
}

func touched(t workingset.Touch) thaw.PageClass {
	if t.Written {
		return thaw.PageWritten
	}
	return thaw.PageRead
}

// joined joins neighbours that are alike, in place.
func joined(pages []thaw.MemoryRun) []thaw.MemoryRun {
	runs := pages[:0]
	for _, p := range pages {
		if n := len(runs); n > 0 && runs[n-1].Class == p.Class && runs[n-1].Prefetched == p.Prefetched {
			runs[n-1].Pages++
			continue
		}
		runs = append(runs, p)
	}
	return append([]thaw.MemoryRun(nil), runs...)
}
