package functions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"thaw"
	"thaw/image"
)

// sizes is how many inputs FaaSnap's experiment on input sizes has.
const sizes = 6

// spec is a [SpecName].
type spec struct {
	Description string   `json:"description"`
	Papers      []Paper  `json:"papers"`
	Original    string   `json:"original"`
	Differs     string   `json:"differs"`
	Packages    []string `json:"packages"`
	MemoryMiB   int64    `json:"memory_mib"`
	TimeoutS    int64    `json:"timeout_s"`
	A           Input    `json:"a"`
	B           Input    `json:"b"`
	Sizes       []Input  `json:"sizes"`
}

// Load returns the workload of each folder of fsys, such as [Files] or a folder
// on the disk, by name. One mistake in any of them is a [thaw.CodeInvalid] error
// that names the file and the mistake.
func Load(fsys fs.FS) ([]Workload, error) {
	folders, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	var all []Workload
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		w, err := load(fsys, folder.Name())
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "%s: %w", path.Join(folder.Name(), SpecName), err)
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		return nil, thaw.Errorf(thaw.CodeInvalid, "no workload: there must be a folder for each, with a %s", SpecName)
	}
	return all, nil
}

func load(fsys fs.FS, name string) (Workload, error) {
	text, err := fs.ReadFile(fsys, path.Join(name, SpecName))
	if err != nil {
		return Workload{}, err
	}
	s, err := parse(text)
	if err != nil {
		return Workload{}, err
	}
	if err := s.validate(); err != nil {
		return Workload{}, err
	}
	w := s.workload(name)
	code, err := fs.Sub(fsys, name)
	if err != nil {
		return Workload{}, err
	}
	return w, w.validate(code)
}

// parse decodes one JSON object that has no fields but those of a spec.
func parse(text []byte) (s spec, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("decode: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("there is more than one JSON value: remove what follows the first")
	}
	return s, nil
}

func (s spec) workload(name string) Workload {
	return Workload{
		Name:        name,
		Description: s.Description,
		Original:    s.Original,
		Differs:     s.Differs,
		Papers:      s.Papers,
		Packages:    s.Packages,
		MemoryBytes: s.MemoryMiB << 20,
		Timeout:     time.Duration(s.TimeoutS) * time.Second,
		A:           s.A,
		B:           s.B,
		Sizes:       s.Sizes,
	}
}

// validate looks at what a workload does not show any more.
func (s spec) validate() error {
	for _, line := range []struct{ field, text string }{
		{"description", s.Description},
		{"original", s.Original},
		{"differs", s.Differs},
	} {
		if line.text == "" || line.text != strings.TrimSpace(line.text) || strings.ContainsAny(line.text, "\n\r|") {
			return fmt.Errorf("%s is %q: write one line of text without |", line.field, line.text)
		}
	}
	if s.Packages == nil {
		return errors.New("packages is missing: write [] for none")
	}
	if !slices.IsSorted(s.Packages) || len(slices.Compact(slices.Clone(s.Packages))) != len(s.Packages) {
		return fmt.Errorf("packages are %q: name each once, in order", s.Packages)
	}
	// Settings take 0 for the default.
	if s.MemoryMiB < 1 || s.MemoryMiB > thaw.MaxMemory>>20 {
		return fmt.Errorf("memory_mib is %d: choose %d to %d", s.MemoryMiB, thaw.MinMemory>>20, thaw.MaxMemory>>20)
	}
	if most := int64(thaw.MaxTimeout / time.Second); s.TimeoutS < 1 || s.TimeoutS > most {
		return fmt.Errorf("timeout_s is %d: choose 1 to %d", s.TimeoutS, most)
	}
	return validatePapers(s.Papers)
}

func validatePapers(papers []Paper) error {
	known := []Paper{REAP, FaaSnap}
	for i, p := range papers {
		if !slices.Contains(known, p) || slices.Contains(papers[:i], p) {
			return fmt.Errorf("papers are %q: name each of %q at most once", papers, known)
		}
	}
	if len(papers) == 0 {
		return fmt.Errorf("papers is empty: name some of %q", known)
	}
	return nil
}

func (w Workload) validate(code fs.FS) error {
	if err := thaw.CheckName(w.Name); err != nil {
		return err
	}
	settings := w.Settings()
	if err := settings.Validate(); err != nil {
		return err
	}
	if err := image.CheckHandler(code, settings); err != nil {
		return err
	}
	if n := len(w.Sizes); n != 0 && (n != sizes || !slices.Contains(w.Papers, FaaSnap)) {
		return fmt.Errorf("sizes has %d inputs: it is for the %d of FaaSnap's experiment, leave it out without them", n, sizes)
	}
	for i, in := range append([]Input{w.A, w.B}, w.Sizes...) {
		if err := in.validate(); err != nil {
			return fmt.Errorf("input %d of a, b and sizes: %w", i+1, err)
		}
	}
	if sameJSON(w.A.Event, w.B.Event) {
		return errors.New("a and b have the same event: a working set must be tried on another one")
	}
	return nil
}

func (i Input) validate() error {
	var object map[string]any
	if err := json.Unmarshal(i.Event, &object); err != nil || len(object) == 0 {
		return fmt.Errorf("event %q is not a JSON object with something in it", i.Event)
	}
	if i.Result == "" {
		return fmt.Errorf("the event %s has no result", i.Event)
	}
	return nil
}

// sameJSON reports whether two texts, which must be JSON, say the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
