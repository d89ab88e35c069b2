package metrics

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

func document(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gather(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	m, _ := filled()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, f := range all {
		families[f.GetName()] = f
	}
	return families
}

var (
	metricRule   = regexp.MustCompile(`\b(thaw|gateway|process|go)_[a-z_]+`)
	selectorRule = regexp.MustCompile(`([a-z_]+)\{([^}]*)\}`)
	labelRule    = regexp.MustCompile(`([a-z_]+)\s*(=|!=|=~|!~)"`)
	groupRule    = regexp.MustCompile(`\b(by|on) \(([^)]*)\)`)
)

// familyOf finds the family that a name in a query is of.
func familyOf(families map[string]*dto.MetricFamily, name string) *dto.MetricFamily {
	if f := families[name]; f != nil {
		return f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if f := families[strings.TrimSuffix(name, suffix)]; f.GetType() == dto.MetricType_HISTOGRAM {
			return f
		}
	}
	return nil
}

// labelsOf are those that a query may use: the family's, and what Prometheus adds.
func labelsOf(f *dto.MetricFamily) []string {
	labels := []string{"le", "job", "instance"}
	for _, l := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, l.GetName())
	}
	return labels
}

// TestDashboard: a panel whose query names what is not there is an empty panel.
func TestDashboard(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(document(t, "grafana-dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	families, used := gather(t), map[string]bool{}
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range checkQuery(t, families, target.Expr) {
				used[name] = true
			}
		}
	}
	for name := range families {
		own := strings.HasPrefix(name, "thaw_") || strings.HasPrefix(name, "gateway_")
		if own && !used[name] && name != "thaw_build_info" && name != "gateway_functions_seconds" {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// checkQuery returns the families that a query names.
func checkQuery(t *testing.T, families map[string]*dto.MetricFamily, expr string) (names []string) {
	t.Helper()
	var labels []string
	for _, name := range metricRule.FindAllString(expr, -1) {
		f := familyOf(families, name)
		if f == nil {
			t.Errorf("%s is no metric: %s", name, expr)
			continue
		}
		names, labels = append(names, f.GetName()), append(labels, labelsOf(f)...)
	}
	for _, s := range selectorRule.FindAllStringSubmatch(expr, -1) {
		for _, l := range labelRule.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(labelsOf(familyOf(families, s[1])), l[1]) {
				t.Errorf("%s has no label %s: %s", s[1], l[1], expr)
			}
		}
	}
	for _, g := range groupRule.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[2], ",") {
			if !slices.Contains(labels, strings.TrimSpace(l)) {
				t.Errorf("no label %s: %s", l, expr)
			}
		}
	}
	if len(names) == 0 {
		t.Errorf("no metric in %q", expr)
	}
	return names
}

// TestDocumentation: each metric has its row, and each row its metric.
func TestDocumentation(t *testing.T) {
	text, families := string(document(t, "observability.md")), gather(t)
	for name := range families {
		if own := strings.HasPrefix(name, "thaw_") || strings.HasPrefix(name, "gateway_"); own && !strings.Contains(text, "`"+name) {
			t.Errorf("docs/observability.md lacks %s", name)
		}
	}
	for _, name := range metricRule.FindAllString(text, -1) {
		if familyOf(families, strings.TrimSuffix(name, "_")) == nil && name != "go_" && name != "process_" {
			t.Errorf("docs/observability.md names %s, which is no metric", name)
		}
	}
}
