package svg_test

import (
	"encoding/xml"
	"image/color"
	"math"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"

	"thaw/bench/report/svg"
)

func TestCanvas(t *testing.T) {
	c := svg.New(100, 50)
	line := vg.Path{{Type: vg.MoveComp, Pos: vg.Point{X: 10, Y: 20}}, {Type: vg.LineComp, Pos: vg.Point{X: 30, Y: 20}}}
	c.Push()
	c.SetColor(svg.Ink("accent"))
	c.SetLineDash([]vg.Length{5, 3}, 0)
	c.Translate(vg.Point{X: 1, Y: 2})
	c.Stroke(line)
	c.Pop()
	c.SetColor(color.White) // no ink
	c.Rotate(math.Pi / 2)
	c.Fill(line)
	got := c.String("id", `a<b>"`, "c&d")
	for _, want := range []string{
		`style="stroke:var(--accent)" fill="none" stroke-width="1" stroke-dasharray="5 3" d="M11 28L31 28"`,
		`style="fill:var(--text)" d="M-20 40L-20 20"`, `aria-labelledby="id-title id-desc"`, `a&lt;b&gt;&#34;`, `c&amp;d`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil {
		t.Error(err)
	}
}
