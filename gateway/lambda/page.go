package lambda

import (
	"encoding/base64"
	"strconv"

	"thaw"
)

// maxPage is the most that a list returns at once, as in Lambda, and what it returns
// when nobody says.
const maxPage = 50

// Page returns the part of a sorted list that marker and maxItems, as they are in a
// query, ask for, and the marker of the next one, "" at the end. A marker holds the
// key of the last item, so that a list that changes meanwhile is gone on with.
func Page[T any](all []T, key func(T) string, marker, maxItems string) (some []T, next string, err error) {
	size := maxPage
	if maxItems != "" {
		n, err := strconv.Atoi(maxItems)
		if err != nil || n < 1 || n > 10_000 {
			return nil, "", thaw.Errorf(thaw.CodeInvalid, "MaxItems %.100q is not valid: choose a number from 1 to 10000", maxItems)
		}
		size = min(n, maxPage)
	}
	after, err := base64.RawURLEncoding.DecodeString(marker)
	if err != nil {
		return nil, "", thaw.Errorf(thaw.CodeInvalid, "Marker %.100q is not valid: send the NextMarker of the page before", marker)
	}
	some = []T{}
	for _, item := range all {
		switch {
		case marker != "" && key(item) <= string(after):
		case len(some) == size:
			return some, base64.RawURLEncoding.EncodeToString([]byte(key(some[size-1]))), nil
		default:
			some = append(some, item)
		}
	}
	return some, "", nil
}
