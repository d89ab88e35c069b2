package image

import (
	"strings"

	"thaw"
)

// unknownPrefix begins the line by which knownHook names a package.
const unknownPrefix = "thaw: unknown package "

// knownHook ends the build unless every package of $THAW_PACKAGES exists by
// exactly that name. apt alone would not do: it takes a name that it does not
// know and that has a . or + in it for a pattern, and installs what matches. The
// hook gets the package lists by itself, so that a wrong name shows before a
// whole system is downloaded and unpacked.
const knownHook = `set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get -q update
apt-cache dumpavail > "$1/tmp/available"
unknown=0
for p in $THAW_PACKAGES; do
	grep -Fxq "Package: $p" "$1/tmp/available" || { unknown=1; echo "` + unknownPrefix + `$p"; }
done
rm "$1/tmp/available"
exit $unknown`

// unknownPackages collects what knownHook says.
type unknownPackages struct {
	codename string
	names    []string
}

// line takes a line of the build's output.
func (u *unknownPackages) line(text string) {
	if name, ok := strings.CutPrefix(text, unknownPrefix); ok && len(u.names) < thaw.MaxPackages {
		u.names = append(u.names, name)
	}
}

// explain returns a [thaw.CodeInvalid] error instead of err when the build ended
// for want of a package.
func (u *unknownPackages) explain(err error) error {
	if err == nil || len(u.names) == 0 {
		return err
	}
	return thaw.Errorf(thaw.CodeInvalid, "Debian %s has no package %s: look for the name with `apt-cache search`", u.codename, strings.Join(u.names, ", "))
}
