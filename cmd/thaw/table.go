package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
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

// alignRight pads the cells of columns, and their heads, to the left: they are numbers.
func alignRight(head []string, rows [][]string, columns ...string) {
	widths := widthsOf(append([][]string{head}, rows...))
	for i, name := range slices.Clone(head) {
		if !slices.Contains(columns, name) {
			continue
		}
		for _, row := range append([][]string{head}, rows...) {
			row[i] = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i])) + row[i]
		}
	}
}

// fit leaves out columns, in the order of spare, until rows are not wider than width.
// A width of 0 has room for all.
func fit(width int, head []string, rows [][]string, spare ...string) ([]string, [][]string) {
	for _, column := range spare {
		if width == 0 || rowWidth(widthsOf(append([][]string{head}, rows...))) <= width {
			break
		}
		head, rows = without(head, rows, column)
	}
	return head, rows
}

func rowWidth(widths []int) int {
	total := 2 * max(0, len(widths)-1)
	for _, w := range widths {
		total += w
	}
	return total
}

// without leaves one column out.
func without(head []string, rows [][]string, column string) ([]string, [][]string) {
	at := slices.IndexFunc(head, func(h string) bool { return strings.TrimSpace(h) == column })
	if at < 0 {
		return head, rows
	}
	cut := func(row []string) []string { return slices.Delete(slices.Clone(row), at, at+1) }
	less := make([][]string, 0, len(rows))
	for _, row := range rows {
		less = append(less, cut(row))
	}
	return cut(head), less
}

// terminalWidth is how many characters a line of the terminal w has, 0 of what is
// none.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// shorten cuts the middle out of the last word of s, such as a path or a digest, if s
// is longer than width and that helps. A width of 0 has room for all.
func shorten(s string, width int) string {
	const least = 16 // of what is left of the word, to tell it from others
	at := strings.LastIndexByte(s, ' ') + 1
	word := []rune(s[at:])
	left := len(word) - (utf8.RuneCountInString(s) - width)
	if width == 0 || left >= len(word) || left < least {
		return s
	}
	head := (left - 1) / 2
	return s[:at] + string(word[:head]) + "…" + string(word[len(word)-(left-1-head):])
}

// writeFields writes names and what is to be said of each, on a line each.
func writeFields(w io.Writer, fields [][2]string) error {
	rows := make([][]string, 0, len(fields))
	for _, f := range fields {
		rows = append(rows, []string{printable(f[0]), printable(f[1])})
	}
	width, widths := terminalWidth(w), widthsOf(rows)
	var b strings.Builder
	for _, row := range rows {
		room := 0
		if width > 0 {
			room = width - widths[0] - 2
		}
		row[1] = shorten(row[1], room)
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
