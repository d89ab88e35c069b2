package bench

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// noise is what the machine had done before something began.
type noise struct {
	began    time.Time
	cpu      cpuTime
	pressure map[string]time.Duration
}

// listen begins to listen.
func listen() noise {
	return noise{began: time.Now(), cpu: readCPUTime(), pressure: readPressures()}
}

// heard is what the machine did since.
func (n noise) heard() Noise {
	cpu, pressure, took := readCPUTime(), readPressures(), time.Since(n.began)
	share := func(what string) float64 {
		return float64(pressure[what]-n.pressure[what]) / float64(max(took, 1))
	}
	return Noise{
		Steal:       float64(cpu.steal-n.cpu.steal) / float64(max(1, cpu.total-n.cpu.total)),
		CPUPressure: share("cpu"), IOPressure: share("io"), MemoryPressure: share("memory"),
	}
}

// cpuTime is the time of all processors in ticks.
type cpuTime struct{ steal, total int64 }

func readCPUTime() cpuTime {
	b, _ := os.ReadFile("/proc/stat") // unknown is nothing
	return parseCPUTime(string(b))
}

// parseCPUTime reads the first line of /proc/stat: user, nice, system, idle, iowait,
// irq, softirq and steal; what follows is in user already (proc(5)).
func parseCPUTime(stat string) (t cpuTime) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t
	}
	for _, f := range fields[1:9] {
		n, _ := strconv.ParseInt(f, 10, 64) // a kernel writes numbers
		t.total, t.steal = t.total+n, n
	}
	return t
}

func readPressures() map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, what := range []string{"cpu", "io", "memory"} {
		if b, err := os.ReadFile("/proc/pressure/" + what); err == nil {
			all[what] = parsePressure(string(b))
		}
	}
	return all
}

// parsePressure reads how long something waited, from a file of /proc/pressure.
func parsePressure(text string) time.Duration {
	for line := range strings.Lines(text) {
		if _, total, ok := strings.Cut(line, "total="); ok && strings.HasPrefix(line, "some ") {
			us, _ := strconv.ParseInt(strings.TrimSpace(total), 10, 64)
			return time.Duration(us) * time.Microsecond
		}
	}
	return 0
}

// The bounds past which a figure is warned of.
const (
	busyLoad    = 0.5  // of the cores, before the run
	muchSteal   = 0.01 // of the processors' time
	wideSpread  = 0.25 // interquartile range over median
	fewSamples  = 5
	shownSpread = 8 // warnings of wide spread that are told one by one
)

// Warnings say what to hold against the figures, for people.
func (r Report) Warnings() []string {
	list := r.machineWarnings()
	if r.Partial != "" {
		list = append(list, "the run is partial: "+r.Partial)
	}
	for _, p := range r.Problems() {
		list = append(list, "not measured to the end: "+p)
	}
	list = append(list, r.refusalWarnings()...)
	return append(list, r.spreadWarnings()...)
}

func (r Report) machineWarnings() (list []string) {
	e := r.Environment
	if before, ok := loadOf(e.LoadBefore); ok && before > busyLoad*float64(e.Cores) {
		list = append(list, fmt.Sprintf("the machine was busy before the run: load %.2f on %d cores", before, e.Cores))
	}
	if e.Noise.Steal > muchSteal {
		list = append(list, fmt.Sprintf("a hypervisor gave %.1f %% of the processors' time to others", 100*e.Noise.Steal))
	}
	return list
}

// loadOf is the load average of the last minute.
func loadOf(loadavg string) (float64, bool) {
	first, _, _ := strings.Cut(loadavg, " ")
	n, err := strconv.ParseFloat(first, 64)
	return n, err == nil
}

func (r Report) refusalWarnings() (list []string) {
	for _, f := range r.Functions {
		if n := len(f.Refusals); n > 0 {
			list = append(list, fmt.Sprintf("%s: %d measurements were refused, the last: %s", f.Name, n, f.Refusals[n-1].Why))
		}
	}
	return list
}

func (r Report) spreadWarnings() (wide []string) {
	few := 0
	for _, f := range r.Functions {
		for _, cell := range f.Cells() {
			in := f.In(cell)
			for _, k := range in.Kinds() {
				rounds := in.byRound(k) // clones differ for a reason
				s := SpreadOf(slices.Collect(maps.Values(rounds)))
				if len(rounds) < fewSamples {
					few++
				}
				if s.Median > 0 && s.Q3-s.Q1 > wideSpread*s.Median {
					wide = append(wide, fmt.Sprintf("%s, %s: the middle half of the samples spreads over %.0f %% of the median", in.Title(cell), k, 100*(s.Q3-s.Q1)/s.Median))
				}
			}
		}
	}
	if more := len(wide) - shownSpread; more > 0 {
		wide = append(wide[:shownSpread], fmt.Sprintf("and %d more spread as wide", more))
	}
	if few > 0 {
		wide = append(wide, fmt.Sprintf("%d medians are of fewer than %d samples", few, fewSamples))
	}
	return wide
}

// Title names a function and a cell of it for people.
func (f Function) Title(cell Coordinates) string {
	if text := cell.String(); text != "" {
		return f.Name + ", " + text
	}
	return f.Name
}
