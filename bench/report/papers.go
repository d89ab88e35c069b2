package report

import (
	"strings"

	"thaw/bench"
)

// Theirs is a row of what REAP measured (Ustiugov et al., Benchmarking, Analysis,
// and Optimization of Serverless Function Snapshots, ASPLOS'21, arXiv 2101.09355;
// figures 2, 3 and 8, table 1): under KVM on two Xeon E5-2680 v3, with a SATA SSD,
// guests of 1 virtual CPU and 256 MB. Values were read from figures, with an error
// of 1 to 2 %.
type Theirs struct {
	Function        string
	Warm            float64 // milliseconds, as the next two
	Vanilla         float64
	Reap            float64
	BootedMB        float64
	WorkingSetMB    float64
	SamePages       int // used by two invocations with different inputs
	UniquePages     int // used by one of them only
	ContiguousPages float64
}

// theirs is the REAP paper's table, in its order.
func theirs() []Theirs {
	return []Theirs{
		{"helloworld", 1, 232, 60, 148, 8, 1965, 2, 1.9},
		{"chameleon", 29, 437, 97, 152, 13, 3276, 6, 2.3},
		{"pyaes", 3, 309, 55, 149, 8, 2081, 7, 1.9},
		{"image_rotate", 37, 594, 207, 174, 24, 6132, 1311, 3.4},
		{"json_serdes", 27, 535, 127, 164, 22, 4357, 1102, 3.2},
		{"lr_serving", 2, 647, 66, 256, 10, 2673, 15, 1.6},
		{"cnn_serving", 192, 1424, 237, 256, 28, 7117, 59, 2.4},
		{"rnn_serving", 25, 503, 82, 187, 11, 2698, 5, 1.9},
		{"lr_training", 4991, 8057, 6090, 256, 99, 23841, 725, 4.9},
		{"video_processing", 1476, 2642, 2540, 246, 32, 8038, 2527, 2.8},
	}
}

// theirName is what the REAP paper calls a function like the one called name, ""
// if it has none: their names in any spelling, and hello for helloworld.
func theirName(name string) string {
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	if plain(name) == "hello" {
		return "helloworld"
	}
	for _, t := range theirs() {
		if plain(name) == plain(t.Function) {
			return t.Function
		}
	}
	return ""
}

// Of the papers as a whole.
const (
	// theirReapGain is the mean of vanilla / REAP (REAP, section 6.2).
	theirReapGain = 3.7
	// theirFaultsRemoved is the share of page faults that REAP removes (section 6.2).
	theirFaultsRemoved = .97
	// theirFaaSnapOverCached is FaaSnap's time over that of a snapshot cached in
	// memory, on average (Ao et al., FaaSnap: FaaS Made Fast Using Snapshot-based VMs,
	// EuroSys'22, abstract).
	theirFaaSnapOverCached = 1.035
)

// rung is a step of the way from vanilla to REAP for helloworld, in milliseconds
// (REAP, figure 7).
type rung struct {
	kind bench.Kind
	ms   float64
}

func ladder() []rung {
	return []rung{{"vanilla", 232}, {"reap-parallel", 118}, {"reap-buffered", 71}, {"reap", 60}}
}

// TheirFaults are the means of the classes of page faults that FaaSnap's authors
// traced with bpftrace (FaaSnap, figure 2, under KVM on an AWS c5d.metal; taken
// from notes of readers of the paper), in microseconds.
func TheirFaults() map[string]float64 {
	return map[string]float64{"anonymous": 2.5, "page cache": 3.7, "userfaultfd": 6.7, "disk": 13.3}
}
