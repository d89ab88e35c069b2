package simulate

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"thaw"
)

// The CSV files of the Azure Functions trace of 2019 have a row for each function
// and day (https://github.com/Azure/AzurePublicDataset). Every field is a plain word
// or number without quotes.
const (
	minutesPerDay = 1440
	// maxLine bounds a line in bytes: 1440 counts of ten digits and three hashes.
	maxLine = 64 << 10
)

func triggers() []string {
	return []string{"http", "timer", "event", "queue", "storage", "orchestration", "others"}
}

// Reader reads a trace of one or more days.
type Reader struct {
	days int
	apps map[string]*appDays
}

type appDays struct {
	counts  map[int]int // by minute of the trace
	memory  float64     // bytes, the sum of the days
	samples int
}

// NewReader returns one that has read nothing.
func NewReader() *Reader { return &Reader{apps: map[string]*appDays{}} }

func (r *Reader) app(owner, app string) *appDays {
	key := owner + "/" + app
	if r.apps[key] == nil {
		r.apps[key] = &appDays{counts: map[int]int{}}
	}
	return r.apps[key]
}

// Invocations reads the counts of the next day: HashOwner, HashApp, HashFunction,
// Trigger, 1 to 1440. What is not as it has to be is a [thaw.CodeInvalid] error that
// names the file, the line and the field.
func (r *Reader) Invocations(name string, from io.Reader) error {
	head := []string{"HashOwner", "HashApp", "HashFunction", "Trigger"}
	for m := range minutesPerDay {
		head = append(head, strconv.Itoa(m+1))
	}
	day := r.days
	err := rows(name, from, head, func(row row) error {
		if !slices.Contains(triggers(), row.fields[3]) {
			return row.bad(3, "choose one of "+strings.Join(triggers(), ", "))
		}
		a := r.app(row.fields[0], row.fields[1])
		for m := range minutesPerDay {
			n, err := strconv.ParseUint(row.fields[4+m], 10, 31)
			if err != nil {
				return row.bad(4+m, "a count of invocations is due")
			}
			if n > 0 {
				a.counts[day*minutesPerDay+m] += int(n)
			}
		}
		return nil
	})
	r.days++
	return err
}

// Memory reads what applications occupied on a day (app_memory_percentiles).
func (r *Reader) Memory(name string, from io.Reader) error {
	head := []string{"HashOwner", "HashApp", "SampleCount", "AverageAllocatedMb"}
	for _, p := range []int{1, 5, 25, 50, 75, 95, 99, 100} {
		head = append(head, fmt.Sprintf("AverageAllocatedMb_pct%d", p))
	}
	return rows(name, from, head, func(row row) error {
		mb, err := row.number(3)
		if err != nil {
			return err
		}
		a := r.app(row.fields[0], row.fields[1])
		a.memory, a.samples = a.memory+mb*1e6, a.samples+1
		return nil
	})
}

// Trace returns what was read. Applications without invocations are left out.
func (r *Reader) Trace(source string) (Trace, error) {
	t := Trace{Source: source, Length: r.days * minutesPerDay}
	for name, a := range r.apps {
		if len(a.counts) > 0 {
			t.Apps = append(t.Apps, a.finish(name))
		}
	}
	if len(t.Apps) == 0 {
		return t, thaw.Errorf(thaw.CodeInvalid, "%s holds no invocation", source)
	}
	slices.SortFunc(t.Apps, func(a, b App) int { return cmp.Compare(a.Name, b.Name) })
	return t, nil
}

func (d *appDays) finish(name string) App {
	a := App{Name: name}
	for m := range d.counts {
		a.Minutes = append(a.Minutes, m)
	}
	slices.Sort(a.Minutes)
	for _, m := range a.Minutes {
		a.Invocations = append(a.Invocations, d.counts[m])
	}
	a.MemoryBytes = int64(ratio(d.memory, float64(d.samples)))
	return a
}

// row is a line of a file that has the right number of fields.
type row struct {
	file   string
	line   int
	head   []string
	fields []string
}

func (r row) bad(field int, why string) error {
	return thaw.Errorf(thaw.CodeInvalid, "%s:%d: field %s is %.40q: %s", r.file, r.line, r.head[field], r.fields[field], why)
}

func (r row) number(field int) (float64, error) {
	v, err := strconv.ParseFloat(r.fields[field], 64)
	if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, r.bad(field, "a number is due, 0 or more")
	}
	return v, nil
}

// rows calls each with every line after the head, which must be as it is given.
func rows(name string, from io.Reader, head []string, each func(row) error) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	n := 0
	for lines.Scan() {
		n++
		fields := strings.Split(strings.TrimSuffix(lines.Text(), "\r"), ",")
		if len(fields) != len(head) {
			return thaw.Errorf(thaw.CodeInvalid, "%s:%d: %d fields, %d are due: %s, …", name, n, len(fields), len(head), strings.Join(head[:4], ", "))
		}
		r := row{name, n, head, fields}
		if n == 1 {
			if at := firstOther(fields, head); at >= 0 {
				return r.bad(at, "the head of the file has another name there")
			}
			continue
		}
		if err := each(r); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return thaw.Errorf(thaw.CodeInvalid, "%s:%d: the line is longer than %d bytes", name, n+1, maxLine)
	} else if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read %s: %w", name, err)
	}
	if n == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "%s is empty: its first line has to be %s, …", name, strings.Join(head[:4], ","))
	}
	return nil
}

func firstOther(a, b []string) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
