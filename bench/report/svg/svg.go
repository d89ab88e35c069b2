// Package svg draws plots as SVG that takes its colours from the page around it: the
// colour of an [Ink] called accent is the CSS custom property --accent, and the page
// says what that is by day, by night and on paper.
package svg

import (
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// Ink is a colour by its name, which consists of letters and digits. A canvas that
// knows no inks draws it black.
type Ink string

// InkText is that of text, and of whatever was given a colour that is no Ink.
const InkText Ink = "text"

// RGBA implements [color.Color].
func (Ink) RGBA() (r, g, b, a uint32) { return color.Black.RGBA() }

// CSS is the colour as a value of a CSS property.
func (i Ink) CSS() string { return "var(--" + string(i) + ")" }

// Canvas is a [vg.Canvas] of a fixed size. Lengths are in CSS pixels: one point is
// one pixel. It is not safe for concurrent use.
type Canvas struct {
	width, height float64
	state
	saved []state
	body  strings.Builder
}

// state is what Push saves.
type state struct {
	matrix
	ink  Ink
	line float64
	dash []vg.Length
}

// New returns an empty canvas.
func New(width, height float64) *Canvas {
	c := &Canvas{width: width, height: height, state: state{matrix: matrix{1, 0, 0, -1, 0, height}}}
	vg.Initialize(c)
	return c
}

// Size implements [vg.CanvasSizer].
func (c *Canvas) Size() (width, height vg.Length) { return vg.Length(c.width), vg.Length(c.height) }

// SetLineWidth implements [vg.Canvas], as the other methods do.
func (c *Canvas) SetLineWidth(w vg.Length) { c.line = w.Points() }

// SetLineDash sets the pattern of lines.
func (c *Canvas) SetLineDash(pattern []vg.Length, _ vg.Length) { c.dash = pattern }

// SetColor sets the ink; a colour that is none becomes [InkText].
func (c *Canvas) SetColor(clr color.Color) {
	c.ink = InkText
	if ink, ok := clr.(Ink); ok {
		c.ink = ink
	}
}

// Push saves the state.
func (c *Canvas) Push() { c.saved = append(c.saved, c.state) }

// Pop restores it.
func (c *Canvas) Pop() {
	c.state = c.saved[len(c.saved)-1]
	c.saved = c.saved[:len(c.saved)-1]
}

// Stroke draws a line.
func (c *Canvas) Stroke(p vg.Path) {
	if c.line <= 0 || len(p) == 0 {
		return
	}
	dash := ""
	if len(c.dash) > 0 {
		dash = fmt.Sprintf(` stroke-dasharray="%s"`, strings.Trim(fmt.Sprint(c.dash), "[]"))
	}
	c.add(`<path style="stroke:%s" fill="none" stroke-width="%s"%s d="%s"/>`, c.ink.CSS(), number(c.line), dash, c.data(p))
}

// Fill draws an area.
func (c *Canvas) Fill(p vg.Path) {
	if len(p) > 0 {
		c.add(`<path style="fill:%s" d="%s"/>`, c.ink.CSS(), c.data(p))
	}
}

// FillString draws text. It is as wide as it was measured to be, whatever font the
// reader has: labels do not run into each other.
func (c *Canvas) FillString(f font.Face, at vg.Point, text string) {
	if f.Font.Size == 0 || strings.TrimSpace(text) == "" {
		return
	}
	x, y := c.apply(at.X.Points(), at.Y.Points())
	turn := ""
	if angle := c.angle(); angle != 0 {
		turn = fmt.Sprintf(` transform="rotate(%s %s %s)"`, number(angle), number(x), number(y))
	}
	c.add(`<text style="fill:%s" font-size="%s" x="%s" y="%s" textLength="%s" lengthAdjust="spacingAndGlyphs"%s>%s</text>`,
		c.ink.CSS(), number(f.Font.Size.Points()), number(x), number(y), number(f.Width(text).Points()), turn, Escape(text))
}

// DrawImage is not implemented: an image has colours of its own.
func (c *Canvas) DrawImage(vg.Rectangle, image.Image) { panic("svg: images are not supported") }

// Add adds SVG to the picture: an element on a line, in CSS pixels from the upper
// left corner. The arguments are not escaped.
func (c *Canvas) Add(format string, args ...any) { c.add(format, args...) }

func (c *Canvas) add(format string, args ...any) { fmt.Fprintf(&c.body, format+"\n", args...) }

// String is the picture as an element of an HTML page. Its id must be the page's
// only one; title and description are for those who do not see it.
func (c *Canvas) String(id, title, description string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-title %s-desc">
<title id="%s-title">%s</title>
<desc id="%s-desc">%s</desc>
%s</svg>`, number(c.width), number(c.height), id, id, id, Escape(title), id, Escape(description), c.body.String())
}

// Escape makes any text fit for an element or attribute of XML and HTML.
func Escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}

// data is a path in SVG's words, in pixels.
func (c *Canvas) data(p vg.Path) string {
	var b strings.Builder
	for _, part := range p {
		switch part.Type {
		case vg.MoveComp:
			c.point(&b, "M", part.Pos)
		case vg.LineComp:
			c.point(&b, "L", part.Pos)
		case vg.ArcComp:
			c.arc(&b, part)
		case vg.CurveComp:
			c.curve(&b, part)
		case vg.CloseComp:
			b.WriteString("Z")
		}
	}
	return b.String()
}

func (c *Canvas) point(b *strings.Builder, command string, p vg.Point) {
	x, y := c.apply(p.X.Points(), p.Y.Points())
	fmt.Fprintf(b, "%s%s %s", command, number(x), number(y))
}

func (c *Canvas) curve(b *strings.Builder, part vg.PathComp) {
	command := "Q"
	if len(part.Control) == 2 {
		command = "C"
	}
	for _, p := range part.Control {
		c.point(b, command, p)
		command = " "
	}
	c.point(b, " ", part.Pos)
}

// arc draws an arc in parts, of which each is shorter than half a circle: a longer
// one has no single way in SVG.
func (c *Canvas) arc(b *strings.Builder, a vg.PathComp) {
	at := func(angle float64) vg.Point {
		return vg.Point{X: a.Pos.X + a.Radius*vg.Length(math.Cos(angle)), Y: a.Pos.Y + a.Radius*vg.Length(math.Sin(angle))}
	}
	command := "L" // to its beginning, from where the path is
	if b.Len() == 0 {
		command = "M"
	}
	c.point(b, command, at(a.Start))
	sweep := 0 // counter-clockwise, since y grows upwards in vg
	if a.Angle < 0 {
		sweep = 1
	}
	const parts = 3
	for i := range parts {
		x, y := c.apply(pair(at(a.Start + a.Angle*float64(i+1)/parts)))
		r := number(a.Radius.Points())
		fmt.Fprintf(b, "A%s %s 0 0 %d %s %s", r, r, sweep, number(x), number(y))
	}
}

func pair(p vg.Point) (x, y float64) { return p.X.Points(), p.Y.Points() }

// number is v with two digits at most after the point.
func number(v float64) string {
	v = math.Round(v*100) / 100
	return fmt.Sprintf("%g", v+0) // -0 becomes 0
}
