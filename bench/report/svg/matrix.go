package svg

import (
	"math"

	"gonum.org/v1/plot/vg"
)

// matrix turns what a plot says, y upwards, into pixels, y downwards: x' = m[0]x +
// m[2]y + m[4], y' = m[1]x + m[3]y + m[5].
type matrix [6]float64

func (m matrix) apply(x, y float64) (float64, float64) {
	return m[0]*x + m[2]*y + m[4], m[1]*x + m[3]*y + m[5]
}

// after does n first, then m.
func (m matrix) after(n matrix) matrix {
	x, y := m.apply(n[4], n[5])
	return matrix{
		m[0]*n[0] + m[2]*n[1], m[1]*n[0] + m[3]*n[1],
		m[0]*n[2] + m[2]*n[3], m[1]*n[2] + m[3]*n[3],
		x, y,
	}
}

// angle is how far text is turned on the screen, clockwise in degrees.
func (m matrix) angle() float64 { return math.Atan2(m[1], m[0]) * 180 / math.Pi }

// Rotate turns what is drawn next by radians, counter-clockwise.
func (c *Canvas) Rotate(rad float64) {
	s, k := math.Sincos(rad)
	c.matrix = c.after(matrix{k, s, -s, k, 0, 0})
}

// Translate moves what is drawn next.
func (c *Canvas) Translate(by vg.Point) {
	c.matrix = c.after(matrix{1, 0, 0, 1, by.X.Points(), by.Y.Points()})
}

// Scale stretches the places of what is drawn next; lines stay as wide, and text as
// large.
func (c *Canvas) Scale(x, y float64) { c.matrix = c.after(matrix{x, 0, 0, y, 0, 0}) }
