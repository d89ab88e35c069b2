#!/bin/sh
# Runs every fuzz target of the module, one after the other.
#
# usage: scripts/fuzz.sh [TIME]        (default 60s each)
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r pkg; do
	grep -rhoE '^func (Fuzz[A-Za-z0-9_]+)' "$pkg"/*_test.go | sed 's/^func //' | while read -r target; do
		echo "fuzz: $pkg $target"
		# By default up to 60 s go to shrinking each input that is merely new, and
		# nothing is executed meanwhile.
		go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x
	done
done
