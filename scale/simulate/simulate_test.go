package simulate

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/scale"
)

func fixed(d time.Duration) Policy {
	return Policy{Name: Baseline, KeepAlive: scale.KeepAlive{Idle: d}}
}

// TestByHand compares with what was worked out by hand: invocations at 0, 5, 30 and
// 100 minutes of 120.
func TestByHand(t *testing.T) {
	trace := Trace{Length: 120, Apps: []App{{Minutes: []int{0, 5, 30, 100}, Invocations: []int{1, 3, 1, 1}, MemoryBytes: 1e9}}}
	for name, c := range map[string]struct {
		policy Policy
		cold   int
		gbs    float64
	}{
		// Of the gaps of 5, 25 and 70 minutes and 20 at the end, 10 at most are waited.
		"Fixed": {fixed(10 * time.Minute), 3, (5 + 10 + 10 + 10) * 60},
		"Exact": {fixed(25 * time.Minute), 2, (5 + 25 + 25 + 20) * 60},
		"None":  {Policy{None: true}, 6, 0},
		// Too few idle times are known: it falls back.
		"Histogram": {Policy{KeepAlive: scale.KeepAlive{Policy: thaw.KeepAliveHistogram, Idle: 10 * time.Minute}}, 3, (5 + 10 + 10 + 10) * 60},
	} {
		r := Run(trace, []Policy{c.policy})[0]
		if r.Cold != c.cold || r.Invocations != 6 || math.Abs(r.WastedGBs-c.gbs) > 1e-6 || r.P75 != float64(c.cold)/6 {
			t.Errorf("%s: %+v, want %d cold and %v GB·s", name, r, c.cold, c.gbs)
		}
	}
}

// TestRegular: what comes every half an hour is cold until the histogram knows, and
// waits a tenth of the time then.
func TestRegular(t *testing.T) {
	a := App{MemoryBytes: 1e9}
	for m := 0; m < 2*minutesPerDay; m += 30 {
		a.Minutes, a.Invocations = append(a.Minutes, m), append(a.Invocations, 1)
	}
	policies := []Policy{fixed(10 * time.Minute), {KeepAlive: scale.KeepAlive{Policy: thaw.KeepAliveHistogram, Idle: 10 * time.Minute}}}
	r := Run(Trace{Length: 2 * minutesPerDay, Apps: []App{a}}, policies)
	if r[0].Cold != 96 || r[0].AlwaysCold != 1 || r[1].Cold != 11 {
		t.Errorf("%d and %d of 96 are cold; want all, and 11", r[0].Cold, r[1].Cold)
	}
	// 10 times 10 minutes, then 3 minutes (27 to 30) each time.
	if want := float64(10*10+86*3) / (96 * 10); math.Abs(r[1].Wasted-want) > 1e-9 {
		t.Errorf("memory waits %v of the fixed policy's time, want %v", r[1].Wasted, want)
	}
}

func TestPercentile(t *testing.T) {
	values := []float64{1, 2, 3, 4}
	for p, want := range map[float64]float64{.5: 2, .75: 3, .76: 4, .99: 4, 0: 1} {
		if got := percentile(values, p); got != want {
			t.Errorf("%v: %v, want %v", p, got, want)
		}
	}
	if percentile(nil, .5) != 0 {
		t.Error("a percentile of nothing")
	}
}

// TestMoreKeepsWarm: who keeps longer has no more cold starts and no less memory.
func TestMoreKeepsWarm(t *testing.T) {
	trace := Synthetic(7, 100, 2)
	var before Result
	for i, m := range []int{0, 1, 5, 10, 60, 2880} {
		r := Run(trace, []Policy{fixed(time.Duration(m) * time.Minute)})[0]
		if i > 0 && (r.Cold > before.Cold || r.WastedGBs < before.WastedGBs) {
			t.Errorf("%d min: %d cold and %v GB·s, after %d and %v", m, r.Cold, r.WastedGBs, before.Cold, before.WastedGBs)
		}
		before = r
	}
	if before.Cold != len(trace.Apps) {
		t.Errorf("%d cold starts of %d applications that are never given up", before.Cold, len(trace.Apps))
	}
}

// TestSynthetic compares what is drawn with what was published.
func TestSynthetic(t *testing.T) {
	if !cmp.Equal(Synthetic(3, 20, 1), Synthetic(3, 20, 1)) || cmp.Equal(Synthetic(3, 20, 1), Synthetic(4, 20, 1)) {
		t.Error("a seed says what is drawn")
	}
	const apps, days = 1500, 3
	trace := Synthetic(1, apps, days)
	if !trace.Synthetic || !strings.Contains(trace.Source, "synthetic, seed 1") {
		t.Errorf("%q, %v", trace.Source, trace.Synthetic)
	}
	hourly, perMinute := apps-len(trace.Apps), apps-len(trace.Apps)
	var memory []float64
	for _, a := range trace.Apps {
		if !slices.IsSorted(a.Minutes) || len(a.Minutes) != len(a.Invocations) {
			t.Fatalf("%s is out of order", a.Name)
		}
		if a.Total() <= 24*days {
			hourly++
		}
		if len(a.Minutes) < days*minutesPerDay && a.Total() <= days*minutesPerDay {
			perMinute++
		}
		memory = append(memory, float64(a.MemoryBytes)/1e6)
	}
	slices.Sort(memory)
	for what, c := range map[string]struct{ got, want, off float64 }{
		"at most once an hour":  {float64(hourly) / apps, .45, .05},
		"at most once a minute": {float64(perMinute) / apps, .81, .05},
		"median of the memory":  {percentile(memory, .5), 140, 40},
		"90 % of the memory":    {percentile(memory, .9), 262, 60},
	} {
		if math.Abs(c.got-c.want) > c.off {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

// day is a file of counts with these rows, each a function's fields and its counts
// by minute.
func day(rows ...string) string {
	head := "HashOwner,HashApp,HashFunction,Trigger"
	for m := range minutesPerDay {
		head += fmt.Sprint(",", m+1)
	}
	return strings.Join(append([]string{head}, rows...), "\n") + "\n"
}

func function(name, trigger string, counts map[int]int) string {
	row := "o," + name + ",f," + trigger
	for m := range minutesPerDay {
		row += fmt.Sprint(",", counts[m])
	}
	return row
}

func TestReader(t *testing.T) {
	r := NewReader()
	for _, text := range []string{
		day(function("a", "http", map[int]int{0: 2, 7: 1}), function("a", "timer", map[int]int{7: 3}), function("idle", "queue", nil)),
		strings.ReplaceAll(day(function("a", "http", map[int]int{1439: 1}), function("b", "others", map[int]int{5: 9})), "\n", "\r\n"),
	} {
		if err := r.Invocations("day.csv", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	head := "HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,AverageAllocatedMb_pct25,AverageAllocatedMb_pct50,AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,AverageAllocatedMb_pct99,AverageAllocatedMb_pct100\n"
	if err := r.Memory("m.csv", strings.NewReader(head+"o,a,5,100,1,1,1,1,1,1,1,1\no,a,5,200.0,1,1,1,1,1,1,1,1\n")); err != nil {
		t.Fatal(err)
	}
	got, err := r.Trace("two days")
	want := Trace{Source: "two days", Length: 2 * minutesPerDay, Apps: []App{
		{Name: "o/a", Minutes: []int{0, 7, 2879}, Invocations: []int{2, 4, 1}, MemoryBytes: 150e6},
		{Name: "o/b", Minutes: []int{1445}, Invocations: []int{9}},
	}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, d)
	}
}

func TestReaderIsStrict(t *testing.T) {
	good := function("a", "http", nil)
	for want, text := range map[string]string{
		"f.csv is empty":                         "",
		"f.csv:1: field HashOwner is \"Owner\"":  strings.Replace(day(), "HashOwner", "Owner", 1),
		"f.csv:1: 5 fields, 1444 are due":        "HashOwner,HashApp,HashFunction,Trigger,1\n",
		"f.csv:3: 1443 fields, 1444 are due":     day(good, good[:len(good)-2]),
		"f.csv:2: field Trigger is \"cron\"":     day(function("a", "cron", nil)),
		"f.csv:2: field 1 is \"-1\"":             day(function("a", "http", map[int]int{0: -1})),
		"f.csv:3: field 1440 is \"x\"":           day(good, good[:len(good)-1]+"x"),
		"f.csv:2: field 1 is \"99999999999999\"": day(function("a", "http", map[int]int{0: 99999999999999})),
		"f.csv:2: the line is longer than 65536": day(strings.Repeat("a", 70000)),
		"f.csv:2: 1 fields, 1444 are due":        day(""),
	} {
		err := NewReader().Invocations("f.csv", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := NewReader().Memory("m.csv", strings.NewReader(day())); err == nil {
		t.Error("a file of counts is none of memory")
	}
	r := NewReader()
	if err := r.Invocations("f.csv", strings.NewReader(day(good))); err != nil {
		t.Error(err)
	}
	if _, err := r.Trace("f.csv"); err == nil || !strings.Contains(err.Error(), "holds no invocation") {
		t.Errorf("%v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(day(function("a", "http", map[int]int{3: 1})))
	f.Add("HashOwner,HashApp\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader()
		if err := r.Invocations("f", strings.NewReader(text)); err != nil {
			return
		}
		trace, err := r.Trace("f")
		if err != nil {
			return
		}
		for _, r := range Run(trace, Policies()) {
			if r.Cold > r.Invocations || r.Cold < len(trace.Apps) {
				t.Errorf("%+v", r)
			}
		}
	})
}
