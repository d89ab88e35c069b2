package procstat

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Use is what a range of a process's address space occupies, in bytes (proc(5),
// smaps).
type Use struct {
	Mappings int
	// Resident is mapped, Anonymous of that is no file's: the process's own copies.
	Resident, Anonymous int64
	// Referenced was accessed since it was mapped, or since ClearReferenced.
	Referenced int64
}

// ClearReferenced forgets which pages of process pid were accessed.
func ClearReferenced(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("1"), 0); err != nil {
		return fmt.Errorf("clear the referenced bits: %w", err)
	}
	return nil
}

// UseOf sums up the mappings of process pid that begin in the range from start up
// to end.
func UseOf(pid int, start, end uint64) (u Use, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return u, fmt.Errorf("read mappings: %w", err)
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return u, fmt.Errorf("read mappings: %w", err)
			}
			return u, nil
		}
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		if at, ok := mappingStart(name); ok {
			if inside = at >= start && at < end; inside {
				u.Mappings++
			}
		} else if inside {
			u.add(string(name), value)
		}
	}
}

// mappingStart recognises the line that a mapping begins with: "start-end ...",
// in hexadecimal, as opposed to "Name: value". The first colon is that of the
// device number.
func mappingStart(line []byte) (uint64, bool) {
	from, _, ok := bytes.Cut(line, []byte("-"))
	if !ok {
		return 0, false
	}
	at, err := strconv.ParseUint(string(from), 16, 64)
	return at, err == nil
}

// add takes in a value in kB.
func (u *Use) add(name string, value []byte) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
	if err != nil {
		return // flags
	}
	switch name {
	case "Rss":
		u.Resident += n << 10
	case "Anonymous":
		u.Anonymous += n << 10
	case "Referenced":
		u.Referenced += n << 10
	}
}

// Page is an entry of a process's page map.
type Page uint64

// Present says that the page is mapped.
func (p Page) Present() bool { return p>>63 != 0 }

// File says that a mapped page is one of a file, memory files included, not a
// private copy.
func (p Page) File() bool { return p>>61&1 != 0 }

// Own says that a mapped page is a private copy of this process alone, and not the
// page of zeroes that all share.
func (p Page) Own() bool { return p.Present() && !p.File() && p>>56&1 != 0 }

// Pages calls each with the page map entry of every page of process pid from
// start up to end, both multiples of the page size (proc(5), pagemap).
func Pages(pid int, start, end uint64, each func(page int, p Page)) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return fmt.Errorf("read the page map: %w", err)
	}
	defer f.Close()
	const entry = 8
	size := uint64(os.Getpagesize())
	r := io.NewSectionReader(f, int64(start/size*entry), int64((end-start)/size*entry))
	buf := make([]byte, 64<<10)
	for page := 0; ; {
		n, err := io.ReadFull(r, buf)
		for b := buf[:n]; len(b) >= entry; b = b[entry:] {
			each(page, Page(binary.LittleEndian.Uint64(b)))
			page++
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the page map: %w", err)
		}
	}
}
