package suite_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
	"thaw/bench/suite"
	"thaw/functions"
)

func TestShort(t *testing.T) {
	all, err := functions.Load(functions.Files())
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := suite.Choose(all, suite.Short())
	if err != nil || len(chosen) != len(suite.Short()) {
		t.Fatalf("%d workloads, %v", len(chosen), err)
	}
	for i, w := range chosen {
		if w.Name != suite.Short()[i] {
			t.Errorf("workload %d is %s", i, w.Name)
		}
	}
	if got, err := suite.Choose(all, nil); err != nil || len(got) != len(all) {
		t.Errorf("%d workloads without names, %v; want %d", len(got), err, len(all))
	}
	if _, err := suite.Choose(all, []string{"pyaes", "nothing"}); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), `"pyaes"`) {
		t.Errorf("an unknown workload: %v", err)
	}
}

func TestKinds(t *testing.T) {
	for _, k := range suite.Kinds() {
		if _, err := bench.ParseKind(string(k)); err != nil && k != bench.KindWarm {
			t.Error(err)
		}
	}
	if !slices.Contains(suite.Kinds(), bench.KindFloor) {
		t.Error("nothing to hold the others against")
	}
}

// result is of one workload that was measured and one that was not.
func result() suite.Result {
	at := bench.Coordinates{Kind: "vanilla", Input: "b", Clones: 1, Snapshots: bench.SameSnapshot, MemoryMiB: 256}
	return suite.Result{
		Report: bench.Report{Clones: 1, Partial: "interrupted", Functions: []bench.Function{
			{Name: "add", Samples: []bench.Sample{{Coordinates: at, Round: 1, Invocation: thaw.Invocation{DurationMS: 12.5}}}},
			{Name: "broken", Problem: "deploy: no"},
		}},
		Deploys: []suite.Deploy{{Workload: "add", Function: "bench-add", StepsMS: map[string]float64{"boot": 7000, "snapshot": 400.25}}},
		Replay:  &bench.ReplayReport{Replay: "replay", Factor: 17, Functions: []bench.Replayed{{Name: "add", Touches: 3, Problem: "gone"}}},
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(result())
	if err != nil {
		t.Fatal(err)
	}
	var back suite.Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(result(), back); d != "" {
		t.Error(d)
	}
	var report bench.Report // for programs that know no suites
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(result().Report, report); d != "" {
		t.Error(d)
	}
}

func TestWriteText(t *testing.T) {
	var b strings.Builder
	if err := result().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{"the run is partial: interrupted", "broken: deploy: no", "function boot snapshot bench-add 7000 400", "divided by 17", "not replayed to the end: add: gone"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("not a number:\n%s", &b)
	}
	if got, want := result().Problems(), []string{"broken: deploy: no", "replay of add: gone"}; !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
}
