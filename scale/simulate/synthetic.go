package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Synthetic makes a trace of apps applications over days, the same for the same seed,
// by distributions that "Serverless in the Wild" (ATC'20) publishes:
//
//   - Rates: 45 % of the applications are invoked once an hour at most and 81 % once a
//     minute at most, over eight orders of magnitude (figure 5a). Between the points the
//     logarithm is linear.
//   - Triggers: about 64 % of the applications have HTTP triggers, 29 % timers (figure 4);
//     here each has one kind, in the proportion of functions (figure 2): HTTP 55.0 %,
//     timers 15.6 %, others 29.4 %.
//   - Times between invocations: those of timers do not vary (CV 0). Of the others some
//     are nearly periodic, many are Poisson (CV 1) and many come in bursts (CV above 1;
//     figure 6). The shares here, a fifth, two fifths and two fifths, are read off it.
//   - Memory: Burr, c = 11.652, k = 0.221, λ = 107.083 MB (figure 8). Execution: log-normal,
//     mean -0.38 and standard deviation 2.36 of the logarithm of seconds (figure 7).
//
// It is no copy of the trace: what the figures do not tell, such as how rates change
// over the day, is not in it.
func Synthetic(seed uint64, apps, days int) Trace {
	r := rand.New(rand.NewPCG(seed, 0x74686177))
	t := Trace{Source: fmt.Sprintf("synthetic, seed %d: %d applications, %d days", seed, apps, days), Synthetic: true, Length: days * minutesPerDay}
	for i := range apps {
		if a := synthesize(r, t.Length); len(a.Minutes) > 0 {
			a.Name = fmt.Sprintf("app-%d", i)
			t.Apps = append(t.Apps, a)
		}
	}
	return t
}

func synthesize(r *rand.Rand, length int) App {
	a := App{MemoryBytes: int64(burr(r.Float64()) * 1e6)}
	period := float64(minutesPerDay) / dailyRate(r.Float64()) // minutes
	next := interval(r, period)
	counts := map[int]int{}
	for at := r.Float64() * period; at < float64(length); at += next() {
		counts[int(at)]++
		if len(counts) == length && counts[int(at)] > 1 {
			break // every minute has some already: more tell nothing
		}
	}
	for m := range counts {
		a.Minutes = append(a.Minutes, m)
	}
	slices.Sort(a.Minutes)
	for _, m := range a.Minutes {
		a.Invocations = append(a.Invocations, counts[m])
	}
	return a
}

// burr is the inverse of the distribution function of the memory in MB.
func burr(u float64) float64 {
	const c, k, scale = 11.652, 0.221, 107.083
	return min(scale*math.Pow(math.Pow(1-u, -1/k)-1, 1/c), 4096)
}

// dailyRate is the inverse of the distribution function of invocations a day. The
// most are cut at sixty a minute: a trace by the minute shows no difference.
func dailyRate(u float64) float64 {
	points := [][2]float64{{0, 0}, {.45, math.Log10(24)}, {.81, math.Log10(minutesPerDay)}, {1, 8}}
	for i := 1; i < len(points); i++ {
		if a, b := points[i-1], points[i]; u <= b[0] {
			return min(math.Pow(10, a[1]+(u-a[0])/(b[0]-a[0])*(b[1]-a[1])), 60*minutesPerDay)
		}
	}
	return 60 * minutesPerDay
}

// interval returns the times between invocations, in minutes, of a kind that is
// drawn.
func interval(r *rand.Rand, mean float64) func() float64 {
	const timers, periodic, poisson = .156, .2, .4
	kind := r.Float64()
	if kind < timers {
		period := max(1, math.Round(mean)) // timers are set to whole minutes
		return func() float64 { return period }
	}
	switch kind = (kind - timers) / (1 - timers); {
	case kind < periodic: // CV 0.1
		return func() float64 { return max(.01, mean*(1+.1*r.NormFloat64())) }
	case kind < periodic+poisson:
		return func() float64 { return mean * r.ExpFloat64() }
	}
	// Hyperexponential: of ten times nine are short, within a burst. CV about 4.
	return func() float64 {
		if r.Float64() < .9 {
			return mean / 10 * r.ExpFloat64()
		}
		return mean * 9.1 * r.ExpFloat64()
	}
}
