package faults

import (
	"slices"

	"thaw"
	"thaw/bench"
)

// Published is a figure of others.
type Published struct {
	Backing Backing `json:"backing"`
	US      float64 `json:"us"`
	Source  string  `json:"source"`
}

// published are the averages of FaaSnap (EuroSys'22), figure 2: faults that the host
// served while a guest ran, on AWS c5d.metal with an NVMe disk, Linux 5.4, exits of
// the VM included. Its userfaultfd is REAP's.
func published() []Published {
	const source = "FaaSnap, EuroSys'22, figure 2: in a VM, c5d.metal, NVMe, Linux 5.4"
	return []Published{{Anonymous, 2.5, source}, {PageCacheAround, 3.7, source}, {Userfaultfd, 6.7, source}, {Disk, 13.3, source}}
}

// Order says whether the backings cost what they are said to cost, in ascending
// order.
type Order struct {
	Touch Touch `json:"touch"`
	// Backings are in the order of the papers, with the medians of this run.
	Backings []Backing `json:"backings"`
	US       []float64 `json:"us"`
	// Holds says that the medians ascend; HeldRounds is in how many rounds those of
	// the round did.
	Holds      bool `json:"holds"`
	HeldRounds int  `json:"held_rounds"`
}

// conclude computes what follows from the samples.
func (r *Report) conclude() {
	for i := range r.Classes {
		r.Classes[i].US = bench.SpreadOf(slices.Concat(r.Classes[i].RoundsUS...))
	}
	for i := range r.Ways {
		w := &r.Ways[i]
		if w.US = bench.SpreadOf(slices.Concat(w.RoundsUS...)); w.US.Median > 0 {
			w.GBps = thaw.PageSize / w.US.Median / 1e3
		}
	}
	for _, t := range []Touch{Read, Write} {
		for _, cached := range []Backing{PageCache, PageCacheAround} {
			r.Orders = append(r.Orders, r.order(t, []Backing{Anonymous, cached, Userfaultfd, Disk}))
		}
	}
}

func (r *Report) order(t Touch, backings []Backing) Order {
	o := Order{Touch: t, Backings: backings}
	rounds := make([][]float64, r.Rounds)
	for _, b := range backings {
		c, _ := r.Class(Kind{b, t, thaw.PageSize})
		o.US = append(o.US, c.US.Median)
		for i := range min(len(c.RoundsUS), len(rounds)) {
			rounds[i] = append(rounds[i], bench.SpreadOf(c.RoundsUS[i]).Median)
		}
	}
	o.Holds = ascend(o.US, len(backings))
	for _, medians := range rounds {
		if ascend(medians, len(backings)) {
			o.HeldRounds++
		}
	}
	return o
}

// ascend reports whether v has n values, all measured, each greater than the one
// before.
func ascend(v []float64, n int) bool {
	if len(v) != n || n == 0 || v[0] <= 0 {
		return false
	}
	for i := 1; i < n; i++ {
		if v[i] <= v[i-1] {
			return false
		}
	}
	return true
}

// Class returns what was measured of a class; false if it is not in the report.
func (r *Report) Class(k Kind) (Class, bool) {
	for _, c := range r.Classes {
		if c.Kind == k {
			return c, true
		}
	}
	return Class{}, false
}
