package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// writeTable writes rows under a head, in columns.
func writeTable(w io.Writer, head []string, rows [][]string) error {
	all := make([][]string, 0, 1+len(rows))
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		all = append(all, cells)
	}
	p, widths := paletteOf(w), widthsOf(all)
	var b strings.Builder
	for i, row := range all {
		paint := p.word
		if i == 0 {
			paint = p.bold
		}
		b.WriteString(line(row, widths, paint))
	}
	_, err := io.WriteString(w, b.String())
	return written(err)
}

// writeFields writes names and what is to be said of each.
func writeFields(w io.Writer, fields [][2]string) error {
	rows := make([][]string, 0, len(fields))
	for _, f := range fields {
		rows = append(rows, []string{printable(f[0]), printable(f[1])})
	}
	widths := widthsOf(rows)
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(line(row, widths, func(s string) string { return s }))
	}
	_, err := io.WriteString(w, b.String())
	return written(err)
}

// widthsOf returns how wide each column is, in characters.
func widthsOf(rows [][]string) (widths []int) {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// line pads the cells of a row and has them painted.
func line(row []string, widths []int, paint func(string) string) string {
	var b strings.Builder
	for i, cell := range row {
		b.WriteString(paint(cell))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

// palette colours words on a terminal. The zero value leaves them as they are.
type palette struct{ on bool }

// paletteOf is for what is written to w. NO_COLOR is as in https://no-color.org.
func paletteOf(w io.Writer) palette {
	return palette{isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }

func (p palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// word colours what says that something is well, or is not.
func (p palette) word(s string) string {
	switch s {
	case "ok", "pass", "ready":
		return p.green(s)
	case "warn", "skip", "orphaned", "rebuilding":
		return p.yellow(s)
	case "fail", "quarantined", "dead":
		return p.red(s)
	}
	return s
}
