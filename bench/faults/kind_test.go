package faults

import (
	"errors"
	"testing"

	"thaw"
	"thaw/bench/standin"
)

func TestCheck(t *testing.T) {
	const small, huge = thaw.PageSize, standin.HugeSize
	for name, test := range map[string]struct {
		kind   Kind
		counts Counts
		ok     bool
	}{
		"Anonymous":              {Kind{Anonymous, Read, small}, Counts{Touches: 9, Minor: 9}, true},
		"AnonymousAndStack":      {Kind{Anonymous, Read, small}, Counts{Touches: 9, Minor: 10}, true},
		"AnonymousTooFew":        {Kind{Anonymous, Read, small}, Counts{Touches: 9, Minor: 8}, false},
		"AnonymousSwapped":       {Kind{Anonymous, CopyOnWrite, small}, Counts{Touches: 9, Major: 9}, false},
		"InPlace":                {Kind{InPlace, Read, small}, Counts{Touches: 9}, true},
		"InPlaceNot":             {Kind{InPlace, Read, small}, Counts{Touches: 9, Minor: 9}, false},
		"CacheFromDisk":          {Kind{PageCache, Read, small}, Counts{Touches: 9, Minor: 8, Major: 1}, false},
		"Disk":                   {Kind{Disk, Write, small}, Counts{Touches: 9, Major: 9}, true},
		"DiskReadAhead":          {Kind{Disk, Read, small}, Counts{Touches: 9, Minor: 4, Major: 5}, false},
		"DiskOnceRead":           {Kind{Disk, CopyOnWrite, small}, Counts{Touches: 9, Minor: 9}, true},
		"Trapped":                {Kind{Userfaultfd, Read, small}, Counts{Touches: 9, Minor: 9, Trapped: 9}, true},
		"TrappedCountedAsMajor":  {Kind{Userfaultfd, Read, small}, Counts{Touches: 9, Major: 9, Trapped: 9}, true},
		"NotTrapped":             {Kind{Userfaultfd, Read, small}, Counts{Touches: 9, Minor: 9, Trapped: 8}, false},
		"TrappedTwice":           {Kind{Userfaultfd, Write, small}, Counts{Touches: 9, Minor: 9, Trapped: 10}, false},
		"InstalledWritable":      {Kind{Userfaultfd, CopyOnWrite, small}, Counts{Touches: 9}, true},
		"InstalledReadOnly":      {Kind{Userfaultfd, CopyOnWrite, small}, Counts{Touches: 9, Minor: 9}, false},
		"ProtectedNotTrapped":    {Kind{UserfaultfdWrites, CopyOnWrite, small}, Counts{Touches: 9, Minor: 9}, false},
		"AnonymousButTrapped":    {Kind{Anonymous, Read, small}, Counts{Touches: 9, Minor: 9, Trapped: 1}, false},
		"Huge":                   {Kind{Anonymous, Write, huge}, Counts{Touches: 2, Minor: 2, Mapped: 1024, Own: 1024}, true},
		"HugeButTwoFaultsEach":   {Kind{Anonymous, Write, huge}, Counts{Touches: 9, Minor: 18, Own: 9 * 512}, false},
		"HugeMappedReadFromDisk": {Kind{Disk, Read, huge}, Counts{Touches: 2, Major: 2, Mapped: 1024}, true},
	} {
		if err := test.kind.check(test.counts); (err == nil) != test.ok || errors.Is(err, errAnotherClass) == test.ok {
			t.Errorf("%s: check = %v, want ok %v", name, err, test.ok)
		}
	}
	for name, test := range map[string]struct {
		kind   Kind
		counts Counts
	}{
		"MappedSmall": {Kind{PageCache, Read, huge}, Counts{Touches: 2, Minor: 2, Mapped: 2}},
		"CopiedSmall": {Kind{PageCache, Write, huge}, Counts{Touches: 2, Minor: 2, Mapped: 1024, Own: 2}},
	} {
		if err := test.kind.check(test.counts); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: check = %v, want that the machine does not have it", name, err)
		}
	}
}

func TestAscend(t *testing.T) {
	for _, test := range []struct {
		v    []float64
		n    int
		want bool
	}{
		{[]float64{1, 2, 3}, 3, true}, {[]float64{1, 3, 2}, 3, false}, {[]float64{1, 2, 2}, 3, false},
		{[]float64{1, 2}, 3, false}, {[]float64{0, 1, 2}, 3, false}, {nil, 0, false},
	} {
		if got := ascend(test.v, test.n); got != test.want {
			t.Errorf("ascend(%v, %d) = %v", test.v, test.n, got)
		}
	}
}
