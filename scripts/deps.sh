#!/bin/sh
# Installs what thaw needs from Debian, and only what is missing. It does nothing
# and takes no time when everything is there.
#
# usage: scripts/deps.sh [PACKAGE...]        (as root; others that are needed, too)
set -eu

packages="qemu-system-x86 mmdebstrap erofs-utils ca-certificates $*"

fail() {
	echo "deps: $*" >&2
	exit 1
}

# is_there PACKAGE: a package counts by what is used of it, wherever that came
# from.
is_there() {
	case $1 in
	qemu-system-x86) command -v qemu-system-x86_64 ;;
	mmdebstrap) command -v mmdebstrap ;;
	erofs-utils) command -v mkfs.erofs ;;
	nodejs) command -v node ;;
	python3) command -v python3 ;;
	ca-certificates) test -s /etc/ssl/certs/ca-certificates.crt ;;
	esac >/dev/null
}

look() {
	missing=""
	for p in $packages; do
		is_there "$p" || missing="$missing $p"
	done
	missing=${missing# }
}

look
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null ||
	fail "missing: $missing. This machine has no apt-get: use Debian 12 or newer."
[ "$(id -u)" = 0 ] ||
	fail "missing: $missing. Run as root: apt-get install --no-install-recommends $missing"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# quietly WHAT COMMAND...: one line, and the command's output only if it fails.
quietly() {
	echo "deps: $1"
	shift
	"$@" >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		fail "this failed: $*"
	}
}

# installable: the package lists know every missing package.
installable() {
	# shellcheck disable=SC2086 # a list of words
	[ -z "$(apt-cache policy $missing | awk '/Candidate: \(none\)/')" ] &&
		[ "$(apt-cache policy $missing | grep -c 'Candidate:')" = "$(echo "$missing" | wc -w)" ]
}

export DEBIAN_FRONTEND=noninteractive
install() {
	# shellcheck disable=SC2086
	quietly "installing $missing" apt-get -q -y --no-install-recommends install $missing
}

installable || quietly "updating the package lists" apt-get -q update
installable || fail "no package source has: $missing. Add Debian's own to /etc/apt/sources.list.d."
# Package lists that are too old name files that are gone: update once, then
# try again.
# shellcheck disable=SC2086
if ! apt-get -q -y --no-install-recommends --download-only install $missing >"$log" 2>&1; then
	quietly "updating the package lists" apt-get -q update
fi
install
look
[ -z "$missing" ] || fail "installed, but not found in PATH: $missing"
echo "deps: done"
