package thaw

import (
	"encoding/json"
	"errors"
)

// The bounds of [Settings.Prime].
const (
	// MaxPrimeEvents is the most sample events of a function.
	MaxPrimeEvents = 16
	// MaxPrimeBytes bounds all of them together: a version keeps them, as its snapshot
	// may have to be made again. It is AWS Lambda's limit for an asynchronous event.
	MaxPrimeBytes = 256 << 10
)

// validatePrime wants few and small sample events, each of them JSON.
func (s Settings) validatePrime() error {
	if len(s.Prime) > MaxPrimeEvents {
		return Errorf(CodeInvalid, "%d prime events are too many: give at most %d", len(s.Prime), MaxPrimeEvents)
	}
	total := 0
	for i, event := range s.Prime {
		if err := checkJSON(event); err != nil {
			return Errorf(CodeInvalid, "prime event %d is not JSON: %w", i+1, err)
		}
		total += len(event)
	}
	if total > MaxPrimeBytes {
		return Errorf(CodeInvalid, "the prime events are %d bytes: at most %d are allowed for all of them", total, MaxPrimeBytes)
	}
	return nil
}

func checkJSON(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty")
	}
	var whole json.RawMessage
	return json.Unmarshal(text, &whole)
}
