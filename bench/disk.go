package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
)

// Disk is what a quick measurement past the page cache found.
type Disk struct {
	// SequentialMBps is of requests of 1 MiB, four in flight, in 10^6 bytes per
	// second; Random4KiBUS the median of single requests, in microseconds.
	SequentialMBps float64 `json:"sequential_mbps"`
	Random4KiBUS   float64 `json:"random_4kib_us"`
}

// diskModel is what the disk under folder is, as sysfs has it: its model where it
// says so, else its driver; "" where there is no disk.
func diskModel(folder string) string {
	var st unix.Stat_t
	if unix.Stat(folder, &st) != nil {
		return ""
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	model := line(filepath.Join(dir, "device/model"))
	if driver, err := os.Readlink(filepath.Join(dir, "device/driver")); err == nil && model == "" {
		model = filepath.Base(driver)
	}
	if line(filepath.Join(dir, "queue/rotational")) == "1" {
		model += ", rotational" // or a virtual disk that does not say
	}
	return strings.TrimPrefix(model+", "+filepath.Base(dir), ", ")
}

func line(name string) string {
	b, _ := os.ReadFile(name) // unknown is ""
	return strings.TrimSpace(string(b))
}

const (
	sequentialBytes = 64 << 20
	requestBytes    = 1 << 20
	inFlight        = 4
	randomReads     = 64
)

// MeasureDisk reads the file called name, which must have no holes. One under 4 MiB
// is too short: the answer is zeroes.
func MeasureDisk(name string) (d Disk, err error) {
	f, err := pagecache.OpenDirect(name)
	if err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	requests := min(info.Size(), sequentialBytes) / requestBytes
	if requests < inFlight {
		return d, nil // too short to tell
	}
	if d.SequentialMBps, err = sequential(f, requests); err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	if d.Random4KiBUS, err = random(f, info.Size()); err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	return d, nil
}

// diskOf measures the disk by the root disk of d, which has no holes; zeroes when
// there is none.
func diskOf(d thaw.Description) (Disk, error) {
	if len(d.Disks) == 0 {
		return Disk{}, nil
	}
	return MeasureDisk(d.Disks[0])
}

type readerAt interface {
	ReadAt(b []byte, at int64) (int, error)
}

func sequential(f readerAt, requests int64) (mbps float64, err error) {
	var work errgroup.Group
	start := time.Now()
	for lane := range int64(inFlight) {
		work.Go(func() error {
			buf := pagecache.Aligned(requestBytes)
			for n := lane; n < requests; n += inFlight {
				if _, err := f.ReadAt(buf, n*requestBytes); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = work.Wait()
	return float64(requests*requestBytes) / 1e6 / time.Since(start).Seconds(), err
}

func random(f readerAt, size int64) (us float64, err error) {
	draw, buf := rand.New(rand.NewPCG(3, 4)), pagecache.Aligned(thaw.PageSize)
	var took []float64
	for range randomReads {
		at := draw.Int64N(size/thaw.PageSize) * thaw.PageSize
		start := time.Now()
		if _, err := f.ReadAt(buf, at); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/1e3)
	}
	return SpreadOf(took).Median, nil
}
