package suite

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"thaw"
	"thaw/bench"
	"thaw/bench/faults"
)

// Result is what a suite found.
type Result struct {
	Report  bench.Report
	Deploys []Deploy
	// Replay is nil where nothing was replayed.
	Replay *bench.ReplayReport
	// Memory are maps of guest memory as policies bring it in, by workload.
	Memory []thaw.MemoryMap
	// Faults is what page faults cost, nil where that was not measured.
	Faults *faults.Report
}

// Deploy is how long it took to deploy a function.
type Deploy struct {
	Workload string `json:"workload"`
	Function string `json:"function"`
	// StepsMS are in milliseconds, by step: image, boot, init, snapshot, verify,
	// activate.
	StepsMS map[string]float64 `json:"steps_ms"`
}

// document is the JSON of a result: that of a report, with more beside it.
type document struct {
	bench.Found
	Deploys []Deploy            `json:"deploys,omitempty"`
	Replay  *bench.ReplayReport `json:"replay,omitempty"`
	Memory  []thaw.MemoryMap    `json:"memory,omitempty"`
	Faults  *faults.Report      `json:"faults,omitempty"`
}

// Problems are what went wrong, by function.
func (r Result) Problems() []string {
	list := r.Report.Problems()
	if r.Replay != nil {
		for _, p := range r.Replay.Problems() {
			list = append(list, "replay of "+p)
		}
	}
	return list
}

// MarshalJSON implements [json.Marshaler]: the object of a [bench.Found], with
// deploys and replay beside.
func (r Result) MarshalJSON() ([]byte, error) {
	return json.Marshal(document{r.Report.WithFindings(), r.Deploys, r.Replay, r.Memory, r.Faults})
}

// UnmarshalJSON implements [json.Unmarshaler]. What follows from the samples is
// computed anew when it is asked for.
func (r *Result) UnmarshalJSON(b []byte) error {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	*r = Result{Report: d.Report, Deploys: d.Deploys, Replay: d.Replay, Memory: d.Memory, Faults: d.Faults}
	return nil
}

// WriteJSON writes a result for programs.
func (r Result) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// WriteGo writes the samples in the Go benchmark format.
func (r Result) WriteGo(w io.Writer) error { return r.Report.WriteGo(w) }

// WriteText writes a result for people.
func (r Result) WriteText(w io.Writer) error {
	if err := r.Report.WriteText(w); err != nil {
		return err
	}
	if err := r.writeDeploys(w); err != nil {
		return err
	}
	if r.Replay != nil {
		fmt.Fprintln(w)
		if err := r.Replay.WriteText(w); err != nil {
			return err
		}
	}
	if r.Faults == nil {
		return nil
	}
	fmt.Fprintln(w, "\nPage faults")
	return r.Faults.WriteText(w)
}

func (r Result) writeDeploys(w io.Writer) error {
	if len(r.Deploys) == 0 {
		return nil
	}
	var steps []string
	for _, s := range []string{"image", "boot", "init", "snapshot", "verify", "activate"} {
		if slices.ContainsFunc(r.Deploys, func(d Deploy) bool { return d.StepsMS[s] > 0 }) {
			steps = append(steps, s)
		}
	}
	fmt.Fprintln(w, "\nDeploys, ms by step:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "function\t")
	for _, s := range steps {
		fmt.Fprintf(t, "%s\t", s)
	}
	for _, d := range r.Deploys {
		fmt.Fprintf(t, "\n%s\t", d.Function)
		for _, s := range steps {
			fmt.Fprintf(t, "%.0f\t", d.StepsMS[s])
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}
