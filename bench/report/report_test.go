package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
	"thaw/bench/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestSummary: what is said, word for word.
func TestSummary(t *testing.T) {
	var b strings.Builder
	s := report.Summarize(data())
	for _, line := range s.Findings {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b)
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "%s: %s\n", w.Code, w.Text)
	}
	fmt.Fprintln(&b)
	for _, line := range s.Measured {
		fmt.Fprintln(&b, line)
	}
	const name = "testdata/summary.txt"
	got := strings.ReplaceAll(b.String(), "\u00a0", " ")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", name, d)
	}
}

func write(t *testing.T, d report.Data) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// element is one of a page, with its attributes.
type element struct {
	name string
	attr map[string]string
}

// parse reads a page as XML, strictly.
func parse(t *testing.T, page string) (elements []element, text string) {
	t.Helper()
	var words strings.Builder
	for d := xml.NewDecoder(strings.NewReader(page)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, words.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{token.Name.Local, map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			elements = append(elements, e)
		case xml.CharData:
			words.Write(token)
		}
	}
}

// TestPage: the page is whole, needs nothing else, and every picture has words.
func TestPage(t *testing.T) {
	elements, text := parse(t, write(t, data()))
	ids, pictures, parts := map[string]bool{}, 0, []string{}
	for _, e := range elements {
		if id := e.attr["id"]; id != "" {
			if ids[id] {
				t.Errorf("id %s is there twice", id)
			}
			ids[id] = true
		}
		if e.name == "section" {
			parts = append(parts, e.attr["id"])
		}
	}
	for _, e := range elements {
		for _, name := range []string{"src", "data", "action", "background", "poster", "srcset"} {
			if e.attr[name] != "" {
				t.Errorf("%s has a %s", e.name, name)
			}
		}
		if href := e.attr["href"]; href != "" && (!strings.HasPrefix(href, "#") || !ids[href[1:]]) {
			t.Errorf("a link to %q", href)
		}
		if slices.Contains([]string{"script", "link", "iframe", "object", "image", "img", "use"}, e.name) {
			t.Errorf("element %s", e.name)
		}
		if e.attr["role"] == "img" {
			pictures++
			for _, id := range strings.Fields(e.attr["aria-labelledby"]) {
				if !ids[id] {
					t.Errorf("a picture's words %s are not there", id)
				}
			}
		}
	}
	want := []string{"summary", "totals", "phases", "distributions", "concurrency", "replay", "memory", "faults", "ladder", "results", "papers"}
	if d := cmp.Diff(want, parts); d != "" {
		t.Error(d)
	}
	if pictures != 17 {
		t.Errorf("%d pictures, want 17", pictures)
	}
	if strings.Contains(text, "url(") || strings.Contains(text, "@import") || strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error("the page refers to something, or a value could not be shown")
	}
}

// TestNoRequests: the only addresses in a page are names of XML's kinds.
func TestNoRequests(t *testing.T) {
	page := write(t, data())
	for _, namespace := range []string{`xmlns="http://www.w3.org/1999/xhtml"`, `xmlns="http://www.w3.org/2000/svg"`} {
		page = strings.ReplaceAll(page, namespace, "")
	}
	if at := regexp.MustCompile(`.{0,40}(https?:|//[a-z]).{0,40}`).FindString(page); at != "" {
		t.Errorf("an address: %s", at)
	}
}

// TestColours: pictures have no colours but those that the style sheet knows by day
// and by night.
func TestColours(t *testing.T) {
	page := write(t, data())
	_, body, _ := strings.Cut(page, "</style>")
	if found := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|(fill|stroke)="(?:[^n]|n[^o])[^"]*"`).FindString(body); found != "" {
		t.Errorf("a colour in the page's body: %s", found)
	}
	day, night := themes(t)
	for _, use := range regexp.MustCompile(`var\(--([a-z0-9]+)\)`).FindAllStringSubmatch(page, -1) {
		if day[use[1]] == "" {
			t.Errorf("colour %s is not defined", use[1])
		}
	}
	for name := range day {
		if night[name] == "" {
			t.Errorf("colour %s is not defined by night", name)
		}
	}
	for _, p := range thaw.Policies() {
		name := "policy" + strings.ReplaceAll(string(p), "-", "")
		if p != thaw.PolicyAuto && p != thaw.PolicyBoot && day[name] == "" {
			t.Errorf("policy %s has no colour", p)
		}
	}
	for _, p := range thaw.PhaseNames() {
		if day["phase"+p] == "" {
			t.Errorf("phase %s has no colour", p)
		}
	}
}

// TestHostile: names come from users.
func TestHostile(t *testing.T) {
	const name = `</style></title><script>alert(1)</script>"'><svg onload=x> & ]]>`
	d := data()
	for i := range d.Bench.Functions {
		d.Bench.Functions[i].Name, d.Replay.Functions[i].Name, d.Memory[i].Function = name, name, name
	}
	d.Bench.Environment.CPU, d.Bench.Environment.Accelerator, d.Faults[0].Class = name, name, name
	for i := range d.Points {
		d.Points[i].Function = name
	}
	for i := range d.Bench.Functions[0].Samples {
		d.Bench.Functions[0].Samples[i].Kind = name
	}
	elements, text := parse(t, write(t, d))
	for _, e := range elements {
		if e.name == "script" || e.attr["onload"] != "" {
			t.Errorf("a name became %s", e.name)
		}
	}
	if strings.Count(text, name) < 10 {
		t.Error("the name is not told")
	}
}

// TestPartial: what was not measured is left out, and the rest is shown.
func TestPartial(t *testing.T) {
	only := func(kinds ...bench.Kind) report.Data {
		f := function("hello", 1)
		f.Samples = slices.DeleteFunc(f.Samples, func(s bench.Sample) bool { return !slices.Contains(kinds, s.Kind) })
		return report.Data{Bench: &bench.Report{Functions: []bench.Function{f}}}
	}
	one := only("thaw")
	one.Bench.Functions[0].Samples = one.Bench.Functions[0].Samples[:1]
	nothing := only("thaw", "vanilla", "warm")
	for i := range nothing.Bench.Functions[0].Samples {
		nothing.Bench.Functions[0].Samples[i] = bench.Sample{Coordinates: nothing.Bench.Functions[0].Samples[i].Coordinates}
	}
	other := function("other", 1)
	other.Samples = other.Samples[:2] // not all that the first has
	uneven := data()
	uneven.Bench.Functions = append(uneven.Bench.Functions, other, bench.Function{Name: "none"})
	beyond := memory("hello", thaw.PolicyReap)
	beyond.Pages = 1000
	for name, d := range map[string]report.Data{
		"Nothing": {}, "NoFunction": {Bench: &bench.Report{}, Replay: &bench.ReplayReport{}}, "OneKind": only("thaw"), "OneSample": one,
		"NoFloor": only("thaw", "vanilla", "warm"), "OnlyWarm": only("warm"), "OnlyBoot": only("boot"), "OnlyFloor": only("cached+pool"),
		"Zeroes": nothing, "Uneven": uneven, "OnlyReplay": {Replay: replayed()},
		"OnlyFaults": {Faults: []report.Fault{{Class: "a"}, {Class: "b", Median: 3, Q1: 3, Q3: 3}}},
		"OnlyMemory": {Memory: []thaw.MemoryMap{{}, beyond, {Function: "f", Pages: 1}}},
		"OnlyPoints": {Points: points()}, "OnePoint": {Points: points()[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			_, text := parse(t, write(t, d))
			if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, "ZgotmplZ") {
				t.Error("a value could not be shown")
			}
		})
	}
}
