package report_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

// themes are the colours by day and by night.
func themes(t *testing.T) (day, night map[string]string) {
	t.Helper()
	css, err := os.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(css), "prefers-color-scheme: dark")
	after, _, _ = strings.Cut(after, "* { box-sizing")
	if !found || before == "" || after == "" {
		t.Fatal("the style sheet has no two themes")
	}
	return properties(before), properties(after)
}

func properties(css string) map[string]string {
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`--([a-z]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
		all[m[1]] = m[2]
	}
	return all
}

// linear are the components of a colour in linear light.
func linear(colour string) (c [3]float64) {
	var v [3]int
	fmt.Sscanf(colour, "#%02x%02x%02x", &v[0], &v[1], &v[2])
	for i := range v {
		s := float64(v[i]) / 255
		if c[i] = s / 12.92; s > .04045 {
			c[i] = math.Pow((s+.055)/1.055, 2.4)
		}
	}
	return c
}

func luminance(c [3]float64) float64 { return .2126*c[0] + .7152*c[1] + .0722*c[2] }

// contrast is that of WCAG 2.
func contrast(a, b string) float64 {
	x, y := luminance(linear(a)), luminance(linear(b))
	return (max(x, y) + .05) / (min(x, y) + .05)
}

// TestContrast: text is read at 4.5:1, what is drawn seen at 3:1 (WCAG 2.2, 1.4.3 and
// 1.4.11). Pages that are not brought in are a background to those that are.
func TestContrast(t *testing.T) {
	day, night := themes(t)
	for theme, colours := range map[string]map[string]string{"day": day, "night": night} {
		for name, c := range colours {
			want, behind := 3.0, []string{"surface"}
			switch name {
			case "surface", "page", "grid", "warn", "memzero", "memuntouched":
				continue
			case "text", "dim", "accent":
				want, behind = 4.5, []string{"surface", "page"}
			case "memread", "memwritten", "memunused", "memlate", "memmissed":
				want, behind = 1.5, []string{"memuntouched", "memzero"}
			}
			for _, b := range behind {
				if got := contrast(c, colours[b]); got < want {
					t.Errorf("by %s, %s on %s has %.2f:1, want %.1f:1", theme, name, b, got, want)
				}
			}
		}
		if got := contrast(colours["text"], colours["warn"]); got < 4.5 {
			t.Errorf("by %s, text on warn has %.2f:1", theme, got)
		}
	}
}

// TestColourBlind: the policies that are drawn as lines are told apart by those who
// lack a kind of cones, and by all others.
func TestColourBlind(t *testing.T) {
	// Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation
	// of Color Vision Deficiency (2009), severity 1.
	eyes := map[string][3][3]float64{
		"full":         {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia":   {{.152286, 1.052583, -.204868}, {.114503, .786281, .099216}, {-.003882, -.048116, 1.051998}},
		"deuteranopia": {{.367322, .860646, -.227968}, {.280085, .672501, .047413}, {-.011820, .042940, .968881}},
		"tritanopia":   {{1.255528, -.076749, -.178779}, {-.078411, .930809, .147602}, {.004733, .691367, .303900}},
	}
	day, night := themes(t)
	lines := []string{"policyvanilla", "policyreap", "policyfaasnap", "policythaw", "policycached"}
	for theme, colours := range map[string]map[string]string{"day": day, "night": night} {
		for eye, m := range eyes {
			for i, a := range lines {
				for _, b := range lines[:i] {
					if d := distance(seen(m, colours[a]), seen(m, colours[b])); d < 12 {
						t.Errorf("by %s, with %s, %s and %s differ by %.1f", theme, eye, a, b, d)
					}
				}
			}
		}
	}
}

func seen(m [3][3]float64, colour string) (s [3]float64) {
	c := linear(colour)
	for i := range s {
		for j := range c {
			s[i] += m[i][j] * c[j]
		}
		s[i] = min(max(s[i], 0), 1)
	}
	return s
}

// distance is that of CIE 1976, in L*a*b*: 2.3 is just seen.
func distance(a, b [3]float64) float64 {
	x, y := lab(a), lab(b)
	return math.Sqrt((x[0]-y[0])*(x[0]-y[0]) + (x[1]-y[1])*(x[1]-y[1]) + (x[2]-y[2])*(x[2]-y[2]))
}

func lab(c [3]float64) [3]float64 {
	f := func(t float64) float64 {
		if t > 216./24389 {
			return math.Cbrt(t)
		}
		return (24389./27*t + 16) / 116
	}
	x := f((.4124*c[0] + .3576*c[1] + .1805*c[2]) / .95047)
	y := f(luminance(c))
	z := f((.0193*c[0] + .1192*c[1] + .9505*c[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}
