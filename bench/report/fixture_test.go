package report_test

import (
	"time"

	"thaw"
	"thaw/bench"
	"thaw/bench/report"
)

// data is a run of two functions by which every part of a page has something to
// show.
func data() report.Data {
	measured := bench.Report{Environment: environment(), Clones: 1, Functions: []bench.Function{function("hello", 1), function("lookup", 2)}}
	return report.Data{
		Bench: &measured, Replay: replayed(),
		Faults: []report.Fault{
			{Class: "anonymous", Median: 1.1, Q1: .9, Q3: 1.4, TheirPaper: report.TheirFaults()["anonymous"]},
			{Class: "disk", Median: 130, Q1: 90, Q3: 180, TheirPaper: report.TheirFaults()["disk"]},
			{Class: "disk, 8 MiB readahead", Median: 900, Q1: 700, Q3: 1100},
		},
		Memory: []thaw.MemoryMap{memory("hello", thaw.PolicyThaw), memory("lookup", thaw.PolicyFaaSnap)},
		Points: points(),
	}
}

func environment() bench.Environment {
	return bench.Environment{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kernel: "6.1.0-40-amd64", CPU: "Some CPU @ 2.40GHz", Cores: 2,
		Accelerator: "TCG, which translates every instruction and is 10 to 20 times slower than KVM: /dev/kvm is not there",
		VMM:         "qemu 7.2.22 (Debian 1:7.2+dfsg-7)", Version: "v1.2.3", ReadaheadBefore: 8192, ReadaheadDuring: 128,
		LoadBefore: "1.50 0.20 0.30 1/99 1234", Disk: bench.Disk{SequentialMBps: 1200, Random4KiBUS: 120},
	}
}

// took are milliseconds of each kind in a quiet round.
func took() map[bench.Kind]float64 {
	return map[bench.Kind]float64{
		"boot": 5000, "vanilla": 320, "reap-parallel": 240, "reap-buffered": 215, "reap": 210, "faasnap": 220, "thaw": 200, "cached": 190,
		"vanilla+pool": 280, "reap+pool": 165, "faasnap+pool": 175, "thaw+pool": 160, "cached+pool": 150, "warm": 5,
	}
}

func function(name string, factor float64) bench.Function {
	f := bench.Function{Name: name, MemoryMiB: 256, SnapshotBytes: 128 << 20, WorkingSetPages: 1500, HostPages: 9000}
	policies := []bench.Kind{"boot", "vanilla", "reap-parallel", "reap-buffered", "reap", "faasnap", "thaw", "cached"}
	for round := range 7 {
		for i, k := range bench.Kinds(policies) {
			// A round is slow for all, and a little slower for some.
			ms, ok := took()[k]
			if ok {
				f.Samples = append(f.Samples, sample(k, round+1, factor*ms*(1+.02*float64(round%3)+.03*float64((round+i)%3))))
			}
		}
	}
	return f
}

func sample(k bench.Kind, round int, ms float64) bench.Sample {
	us := func(share float64) int64 { return int64(ms * 1e3 * share) }
	s := bench.Sample{Coordinates: bench.Coordinates{Kind: k}, Round: round, WallMS: ms + 1}
	s.Start, s.Policy, s.DurationMS = k.Start(), k.Policy(), ms
	s.PhasesMS = map[string]float64{thaw.PhasePrefetch: ms * .25, thaw.PhaseVMM: ms * .2, thaw.PhaseState: ms * .1, thaw.PhaseInvoke: ms * .6}
	s.Spans = []thaw.Span{
		{Phase: thaw.PhasePrefetch, StartUS: 0, DurationUS: us(.25)}, {Phase: thaw.PhaseVMM, StartUS: 0, DurationUS: us(.2)},
		{Phase: thaw.PhaseState, StartUS: us(.25), DurationUS: us(.1)}, {Phase: thaw.PhaseInvoke, StartUS: us(.35), DurationUS: us(.6)},
	}
	s.Faults, s.BytesRead = thaw.Faults{Trapped: 3, Major: 7, Minor: 500}, 6<<20
	if k.Policy() == thaw.PolicyThaw {
		s.Quality = &thaw.Quality{Brought: 1500, Hits: 1490, Misses: 2, MissedPages: []thaw.Miss{{Page: 900, AfterUS: 10}, {Page: 40_000, AfterUS: 20}}}
		s.Memory = &thaw.MemoryUse{Resident: 9 << 20, Private: 2 << 20}
	}
	return s
}

func replayed() *bench.ReplayReport {
	r := &bench.ReplayReport{Environment: environment(), Factor: 17}
	for _, name := range []string{"hello", "lookup"} {
		f := bench.Replayed{Name: name, Touches: 1500, SetBytes: 6_000_000, Disks: []bench.Disk{{SequentialMBps: 1200}}}
		for round := range 10 {
			for i, k := range []bench.Kind{"vanilla", "reap", "thaw", "cached"} {
				f.Samples = append(f.Samples, bench.ReplaySample{Kind: k, Round: round + 1, TotalMS: []float64{90, 40, 30, 25}[i] + float64(round%4), SetupMS: 1.5, InstalledMS: 9})
			}
		}
		r.Functions = append(r.Functions, f)
	}
	return r
}

func memory(name string, p thaw.Policy) thaw.MemoryMap {
	return thaw.MemoryMap{Function: name, Policy: p, Pages: 65_536, Runs: []thaw.MemoryRun{
		{Page: 0, Pages: 800, Class: thaw.PageZero}, {Page: 800, Pages: 700, Class: thaw.PageRead, Prefetched: true},
		{Page: 1500, Pages: 10_000, Class: thaw.PageUntouched}, {Page: 11_500, Pages: 300, Class: thaw.PageWritten, Prefetched: true},
		{Page: 11_800, Pages: 100, Class: thaw.PageUntouched, Prefetched: true}, {Page: 11_900, Pages: 50, Class: thaw.PageRead},
		{Page: 11_950, Pages: 53_586, Class: thaw.PageZero},
	}}
}

func points() (all []report.Point) {
	for _, n := range []int{2, 8, 32} {
		for _, different := range []bool{false, true} {
			for _, k := range []bench.Kind{"vanilla+pool", "thaw+pool"} {
				ms := 100 + 10*float64(n)
				all = append(all, report.Point{Function: "hello", Clones: n, Different: different, Kind: k, Median: ms, Q1: ms * .9, Q3: ms * 1.2, ReadMiB: float64(6 * n)})
			}
		}
	}
	return all
}
