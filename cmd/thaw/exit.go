package main

import (
	"errors"
	"fmt"
	"strings"

	"thaw"
	"thaw/client"
)

// The exit codes. They are part of the interface: scripts tell a function's own
// failure from the platform's by them.
const (
	exitOK          = 0
	exitFunction    = 1
	exitInvalid     = 2
	exitNotFound    = 3
	exitPlatform    = 4
	exitUnreachable = 5
	exitThrottled   = 6
	exitInterrupted = 130
)

// exitRow is a row of the table from error codes to exit codes.
type exitRow struct {
	exit  int
	codes []thaw.Code
	help  string
}

func exitTable() []exitRow {
	return []exitRow{
		{exitOK, nil, "success"},
		{exitFunction, []thaw.Code{thaw.CodeFunction}, "the function itself failed, or a test of thaw conformance"},
		{exitInvalid, []thaw.Code{thaw.CodeInvalid, thaw.CodeConflict, thaw.CodeTooLarge}, "wrong usage, or a request that cannot succeed as it is"},
		{exitNotFound, []thaw.Code{thaw.CodeNotFound}, "no such function"},
		{exitPlatform, []thaw.Code{thaw.CodeInstance, thaw.CodeUnavailable, thaw.CodeInternal}, "thaw or the machine failed, not the function"},
		{exitUnreachable, nil, "no daemon answers"},
		{exitThrottled, []thaw.Code{thaw.CodeThrottled}, "too much at once: try again later"},
		{exitInterrupted, nil, "interrupted"},
	}
}

// exitCode returns the exit code for a command that ended with err.
func exitCode(err error) int {
	if errors.Is(err, client.ErrUnreachable) {
		return exitUnreachable
	}
	code := thaw.CodeOf(err)
	for _, row := range exitTable() {
		for _, c := range row.codes {
			if c == code {
				return row.exit
			}
		}
	}
	return exitPlatform
}

func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, row := range exitTable() {
		fmt.Fprintf(&b, "  %3d  %s\n", row.exit, row.help)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
