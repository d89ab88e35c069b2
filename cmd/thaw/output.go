package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"thaw"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

func formats() []string { return []string{string(formatTable), string(formatJSON), string(formatYAML)} }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if !slices.Contains(formats(), s) {
		return errors.New("choose table, json or yaml")
	}
	*f = format(s)
	return nil
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// asValues says that the output is for programs.
func (a *app) asValues() bool { return a.format != formatTable && !a.quiet }

// value writes v, which is all there is: JSON is indented.
func (a *app) value(v any) error {
	if a.format == formatYAML {
		return writeYAML(a.stdout, v)
	}
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return written(encoder.Encode(v))
}

// nextValue writes v, one of several: a line of JSON, or a YAML document.
func (a *app) nextValue(v any) error {
	if a.format == formatYAML {
		if _, err := io.WriteString(a.stdout, "---\n"); err != nil {
			return written(err)
		}
		return writeYAML(a.stdout, v)
	}
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	return written(encoder.Encode(v))
}

// listing is what a command lists.
type listing struct {
	// values are what -o writes, names what -q does: what other commands take.
	values any
	names  []string
	head   []string
	rows   [][]string
}

func (a *app) list(l listing) error {
	switch {
	case a.quiet:
		return a.names(l.names...)
	case a.asValues():
		return a.value(l.values)
	}
	return writeTable(a.stdout, l.head, l.rows)
}

// names writes one a line.
func (a *app) names(names ...string) error {
	for _, name := range names {
		if _, err := fmt.Fprintln(a.stdout, printable(name)); err != nil {
			return written(err)
		}
	}
	return nil
}

// quietFlag gives cmd the flag -q.
func (a *app) quietFlag(cmd *cobra.Command, usage string) *cobra.Command {
	cmd.Flags().BoolVarP(&a.quiet, "quiet", "q", false, usage)
	return cmd
}

// written is an error of writing the output, such as a full disk.
func written(err error) error {
	if err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "write the output: %w", err)
	}
	return nil
}

// printable replaces what could move a terminal's cursor or colour its text:
// names and lines come from functions.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// printableLines keeps the lines of a message, such as those of a stack trace or
// of a console.
func printableLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.TrimRight(line, "\r"))
	}
	return strings.Join(lines, "\n")
}

// oneLine puts a message of several lines, such as one with a console's last
// words, on one.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return printable(strings.Join(lines, " | "))
}

// isTerminal reports whether f, an io.Reader or io.Writer, is one.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func count(n int64) string { return humanize.Comma(n) }

// ago says how long before now t was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return humanize.Time(t)
}

// duration renders milliseconds with three figures at most.
func duration(ms float64) string {
	switch {
	case ms < 0 || math.IsNaN(ms) || math.IsInf(ms, 0):
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 100_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	default:
		return (time.Duration(ms) * time.Millisecond).Round(time.Second).String()
	}
}

// orDash stands for what is not there.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
