package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"thaw"
	"thaw/gateway/api"
)

// topFrame is what a daemon was like at one moment.
type topFrame struct {
	time      time.Time
	info      api.Info
	instances []thaw.Instance
	families  map[string]*dto.MetricFamily
}

// sum adds up the series of a counter or gauge that have these labels, name=value.
func (f topFrame) sum(name string, labels ...string) (n float64) {
	for _, m := range f.families[name].GetMetric() {
		if hasLabels(m, labels) {
			n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return n
}

func hasLabels(m *dto.Metric, want []string) bool {
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		if labelOf(m, name) != value {
			return false
		}
	}
	return true
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// rate is how fast a counter grew since before, per second; NaN at first.
func (f topFrame) rate(before topFrame, name string, labels ...string) float64 {
	if before.families == nil {
		return math.NaN()
	}
	// A daemon that was started again begins at 0.
	return max(0, f.sum(name, labels...)-before.sum(name, labels...)) / f.time.Sub(before.time).Seconds()
}

// median is that of a histogram's series with these labels, in milliseconds; NaN of
// none. It is as exact as the native buckets, within a tenth.
func (f topFrame) median(name string, labels ...string) float64 {
	counts := map[int]float64{} // by bucket
	var total, zero float64
	var schema int32
	for _, m := range f.families[name].GetMetric() {
		if !hasLabels(m, labels) {
			continue
		}
		h := m.GetHistogram()
		total, zero, schema = total+float64(h.GetSampleCount()), zero+float64(h.GetZeroCount()), h.GetSchema()
		for bucket, n := range nativeCounts(h) {
			counts[bucket] += n
		}
	}
	if total == 0 {
		return math.NaN()
	}
	buckets := make([]int, 0, len(counts))
	for bucket := range counts {
		buckets = append(buckets, bucket)
	}
	slices.Sort(buckets)
	seen := zero
	for _, bucket := range buckets {
		if seen += counts[bucket]; seen >= total/2 {
			return 1e3 * bucketMiddle(schema, bucket)
		}
	}
	return 0
}

// nativeCounts returns how many fell into each bucket of a native histogram, whose
// buckets come as spans with gaps, each as the difference from the one before.
func nativeCounts(h *dto.Histogram) map[int]float64 {
	counts := map[int]float64{}
	var bucket, at int
	var n int64
	for _, span := range h.GetPositiveSpan() {
		bucket += int(span.GetOffset())
		for range span.GetLength() {
			if at >= len(h.GetPositiveDelta()) {
				return counts
			}
			n += h.GetPositiveDelta()[at]
			counts[bucket] = float64(n)
			bucket, at = bucket+1, at+1
		}
	}
	return counts
}

// bucketMiddle is the geometric middle of a bucket: bucket i ends at 2^(i·2^-schema).
func bucketMiddle(schema int32, bucket int) float64 {
	return math.Exp2((float64(bucket) - .5) * math.Exp2(-float64(schema)))
}

// line is the frame on one line, for what is no terminal.
func (f topFrame) line(before topFrame) string {
	return fmt.Sprintf("%s  %s invocations/s, %s cold, %s failed/s; VMs: %s; memory %s%s",
		f.time.Format(time.DateTime), number(f.rate(before, "thaw_starts_total")), percent(f.coldShare()), number(f.rate(before, "thaw_invocation_errors_total")),
		f.states(), size(int64(f.sum("thaw_instances_resident_bytes"))), f.shared("; "))
}

// shared says what VMs share and who waits for it, where there is something to say.
func (f topFrame) shared(before string) (text string) {
	if n := f.sum("thaw_queue_depth"); n > 0 {
		text = before + fmt.Sprintf("%s requests wait", count(int64(n)))
	}
	if budget := f.sum("thaw_memory_budget_bytes"); budget > 0 {
		text += before + fmt.Sprintf("%s of a budget of %s used, %s evictions",
			size(int64(f.sum("thaw_memory_charged_bytes"))), size(int64(budget)), count(int64(f.sum("thaw_evictions_total"))))
	}
	return text
}

// coldShare is the part of all invocations that had to make an instance.
func (f topFrame) coldShare() float64 {
	all := f.sum("thaw_starts_total")
	return (all - f.sum("thaw_starts_total", "start=warm")) / all
}

func (f topFrame) states() string {
	var states []string
	for _, s := range []thaw.InstanceState{thaw.InstanceBusy, thaw.InstanceIdle, thaw.InstanceStarting} {
		states = append(states, fmt.Sprintf("%v %s", f.sum("thaw_instances", "state="+string(s)), s))
	}
	return strings.Join(states, ", ") + fmt.Sprintf(", %d waiting", f.info.Prestarted)
}

// screen is the frame for a terminal.
func (f topFrame) screen(before topFrame, addr string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "thaw %s at %s, up %s, guests by %s\n", f.info.Version, addr, f.time.Sub(f.info.Started).Round(time.Second), f.accelerator())
	fmt.Fprintf(&b, "invocations %s/s, %s cold, %s failed/s   VMs %s   memory %s%s\n\n",
		number(f.rate(before, "thaw_starts_total")), percent(f.coldShare()), number(f.rate(before, "thaw_invocation_errors_total")), f.states(),
		size(int64(f.sum("thaw_instances_resident_bytes"))), f.shared("   "))
	// A strings.Builder takes whatever is written.
	_ = writeTable(&b, []string{"START", "POLICY", "STARTS", "RATE", "MEDIAN START", "FAULTS", "RECALL"}, f.startRows(before))
	b.WriteString("\n")
	_ = writeTable(&b, instanceHead(), instanceRows(slices.SortedFunc(slices.Values(f.instances), byUse)))
	return b.String()
}

// accelerator leaves out why it was chosen.
func (f topFrame) accelerator() string {
	word, _, _ := strings.Cut(f.info.Accelerator, ":")
	word, _, _ = strings.Cut(word, ",")
	return printable(word)
}

// byUse puts busy instances first, and the newest of those that are alike.
func byUse(a, b thaw.Instance) int {
	order := []thaw.InstanceState{thaw.InstanceBusy, thaw.InstanceStarting, thaw.InstanceIdle}
	return cmp.Or(cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
}

// startRows has a row for each kind of start and policy that occurred. Faults are
// those of one start that waited for thaw or for the disk, in the mean.
func (f topFrame) startRows(before topFrame) [][]string {
	var rows [][]string
	for _, m := range f.families["thaw_starts_total"].GetMetric() {
		start, policy := labelOf(m, "start"), labelOf(m, "policy")
		labels := []string{"start=" + start, "policy=" + policy}
		n := m.GetCounter().GetValue()
		slow := f.sum("thaw_faults_total", append(labels, "class=trapped")...) + f.sum("thaw_faults_total", append(labels, "class=major")...)
		recall := "-"
		if start == string(thaw.StartCold) {
			recall = number(f.mean("thaw_prefetch_recall_ratio", "policy="+policy))
		}
		rows = append(rows, []string{
			start, policy, count(int64(n)), number(f.rate(before, "thaw_starts_total", labels...)) + "/s",
			duration(f.median("thaw_start_duration_seconds", labels...)), number(slow / n), recall,
		})
	}
	slices.SortFunc(rows, slices.Compare)
	return rows
}

// mean is that of a histogram's series with these labels, NaN of none.
func (f topFrame) mean(name string, labels ...string) float64 {
	var sum, n float64
	for _, m := range f.families[name].GetMetric() {
		if hasLabels(m, labels) {
			sum, n = sum+m.GetHistogram().GetSampleSum(), n+float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum / n
}

// number has three figures at most, and a dash for what is unknown.
func number(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "-"
	case x >= 100:
		return count(int64(math.Round(x)))
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func percent(share float64) string {
	if math.IsNaN(share) {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*share)
}
