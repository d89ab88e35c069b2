package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"thaw"
)

// primeFlags are about what happens between a function's init and its first user.
type primeFlags struct {
	events     []string
	skipRecord bool
}

func (f *primeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.events, "prime", nil, "sample event that the function serves before its snapshot, as JSON or as the name of a `FILE` of it, instead of those of thaw.yaml, may be repeated")
	flags.BoolVar(&f.skipRecord, "skip-record", false, "leave the first working set to the first cold start")
}

// override sets what was given. What is JSON is an event, anything else names a file.
func (f primeFlags) override(given func(string) bool, s *thaw.Settings) error {
	overrideIf(given("skip-record"), &s.SkipRecord, f.skipRecord)
	var events []json.RawMessage
	for _, arg := range f.events {
		event := []byte(arg)
		if !json.Valid(event) {
			var err error
			if event, err = readPrime(arg); err != nil {
				return err
			}
		}
		events = append(events, event)
	}
	overrideIf(len(events) > 0, &s.Prime, events)
	return nil
}

func readPrime(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "--prime %s is neither JSON nor a file of it: %w", printable(name), err)
	}
	defer file.Close()
	event, err := io.ReadAll(io.LimitReader(file, thaw.MaxPrimeBytes+1))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "--prime: %w", err)
	}
	if len(event) > thaw.MaxPrimeBytes {
		return nil, thaw.Errorf(thaw.CodeInvalid, "--prime %s holds more than %s", printable(name), size(thaw.MaxPrimeBytes))
	}
	if !json.Valid(event) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "--prime %s does not hold JSON", printable(name))
	}
	return event, nil
}
