package project

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// ParseSize reads a size in bytes such as 256MiB, or a plain number of bytes. A
// small one is an error: it was meant to be of MiB.
func ParseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, errors.New("write a size such as 256MiB")
	}
	if _, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 && n < 1<<20 {
		return 0, fmt.Errorf("%s is a number of bytes: for MiB write %sMiB", s, s)
	}
	return int64(n), nil
}
