package suite

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
	"thaw/functions"
)

func workload(name string, sizes int) functions.Workload {
	w := functions.Workload{Name: name, MemoryBytes: 256 << 20, A: functions.Input{Event: []byte(`{"n":1}`), Result: "1"}, B: functions.Input{Event: []byte(`{"n":2}`), Result: "2"}}
	for i := range sizes {
		w.Sizes = append(w.Sizes, functions.Input{Event: []byte{'0' + byte(i)}, Result: "x"})
	}
	return w
}

// names are a subject's inputs, the recorded one first.
func names(s bench.Subject) string {
	text := s.Recorded.Name + ":"
	for _, in := range s.Inputs {
		text += " " + in.Name
	}
	return text
}

func TestTargets(t *testing.T) {
	o := Options{Workloads: []functions.Workload{workload("add", 0), workload("mul", 6)}, Bench: bench.Options{Clones: []int{1, 3}}, Different: true, MemoryMiB: []int64{128, 512}}
	var got []string
	for _, target := range o.targets() {
		s := target.subject(false)
		got = append(got, s.Name, s.Function)
		got = append(got, s.Copies...)
		if target.Settings().MemoryBytes != target.MemoryBytes || names(s) != "a: b" {
			t.Errorf("%s: %d bytes, inputs %s", target.name, target.Settings().MemoryBytes, names(s))
		}
	}
	want := []string{
		"add-128MiB", "bench-add-128MiB", "bench-add-128MiB-1", "bench-add-128MiB-2", "add-512MiB", "bench-add-512MiB", "bench-add-512MiB-1", "bench-add-512MiB-2",
		"mul-128MiB", "bench-mul-128MiB", "bench-mul-128MiB-1", "bench-mul-128MiB-2", "mul-512MiB", "bench-mul-512MiB", "bench-mul-512MiB-1", "bench-mul-512MiB-2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range want {
		if err := thaw.CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

// TestSizes: those without inputs of several sizes are left out, and what is
// recorded is not measured.
func TestSizes(t *testing.T) {
	o := Options{Workloads: []functions.Workload{workload("add", 0), workload("mul", 6)}, Sizes: true}
	targets := o.targets()
	if len(targets) != 1 || targets[0].name != "mul" || targets[0].copies != 0 {
		t.Fatalf("%+v", targets)
	}
	s := targets[0].subject(true)
	if got, want := names(s), "size3: size1 size2 size4 size5 size6"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := s.Inputs[4].Check([]byte(`{"result": "x"}`)); err != nil || string(s.Inputs[4].Event) != "5" {
		t.Errorf("event %s, %v", s.Inputs[4].Event, err)
	}
	if err := s.Inputs[4].Check([]byte(`{"result": "y"}`)); err == nil {
		t.Error("a wrong reply is taken")
	}
}
