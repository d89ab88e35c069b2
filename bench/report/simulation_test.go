package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"thaw/bench/report"
	"thaw/scale/simulate"
)

func TestSimulation(t *testing.T) {
	trace := simulate.Synthetic(1, 50, 1)
	results := simulate.Run(trace, simulate.Policies())
	var page, picture bytes.Buffer
	if err := errors.Join(report.WriteSimulation(&page, trace, results), report.WriteSimulationSVG(&picture, results)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"synthetic, seed 1: 50 applications", "nobody made these invocations", "histogram, else 240m", "% of their invocations cold"} {
		if !strings.Contains(strings.ReplaceAll(page.String(), "\u00a0", " "), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for name, b := range map[string]*bytes.Buffer{"page": &page, "picture": &picture} {
		d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the %s is not well-formed: %v", name, err)
			}
		}
	}
	if text := picture.String(); !strings.Contains(text, "--policythaw: #") || !strings.Contains(text, ">60m</text>") {
		t.Error("the picture lacks its colours or its labels")
	}
	real := trace
	real.Synthetic, page = false, bytes.Buffer{}
	if err := report.WriteSimulation(&page, real, results); err != nil || strings.Contains(page.String(), "Before you rely on it") {
		t.Errorf("%v, or a warning of a trace that was measured", err)
	}
}
