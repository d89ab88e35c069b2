package thaw

import (
	"regexp"
	"strconv"
	"strings"
)

// Latest is the qualifier of a function's newest version, whether it serves or
// not.
const Latest = "$LATEST"

// MaxAliasLen is the longest name of an alias in bytes, as in Lambda's CreateAlias.
const MaxAliasLen = 128

// aliasRule is Lambda's; there, too, digits alone are a version.
var aliasRule = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Ref names a version of a function: by its number, by an alias, as [Latest], or
// without a qualifier the one that serves. Written out it is NAME[:QUALIFIER].
type Ref struct {
	Function  string
	Qualifier string
}

// ParseRef reads NAME[:QUALIFIER]. What cannot be one is a [CodeInvalid] error.
func ParseRef(s string) (Ref, error) {
	name, qualifier, qualified := strings.Cut(s, ":")
	r := Ref{Function: name, Qualifier: qualifier}
	if err := r.Validate(); err != nil {
		return r, err
	}
	if qualified && qualifier == "" {
		return r, Errorf(CodeInvalid, "nothing follows the colon of %s: write a version, an alias or %s, or leave the colon out", name, Latest)
	}
	return r, nil
}

// Validate returns a [CodeInvalid] error unless r can name a version.
func (r Ref) Validate() error {
	if err := CheckName(r.Function); err != nil {
		return err
	}
	switch {
	case r.Qualifier == "" || r.Qualifier == Latest:
		return nil
	case isNumber(r.Qualifier):
		_, err := ParseVersion(r.Qualifier)
		return err
	}
	return CheckAlias(r.Qualifier)
}

// Number is the version that r names by its number, 0 when it does otherwise.
func (r Ref) Number() int {
	if !isNumber(r.Qualifier) {
		return 0
	}
	n, err := ParseVersion(r.Qualifier)
	if err != nil {
		return 0
	}
	return n
}

func (r Ref) String() string {
	if r.Qualifier == "" {
		return r.Function
	}
	return r.Function + ":" + r.Qualifier
}

// RefTo names a version of a function by its number.
func RefTo(function string, number int) Ref {
	return Ref{Function: function, Qualifier: strconv.Itoa(number)}
}

// ParseVersion reads a version's number. Anything else is a [CodeInvalid] error.
func ParseVersion(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || !isNumber(s) || s[0] == '0' {
		return 0, Errorf(CodeInvalid, "version %.100q is not valid: write its number, such as 1", s)
	}
	return n, nil
}

// CheckAlias returns a [CodeInvalid] error unless name can be an alias's.
func CheckAlias(name string) error {
	switch {
	case len(name) > MaxAliasLen:
		return Errorf(CodeInvalid, "alias name is %d bytes long: use at most %d", len(name), MaxAliasLen)
	case !aliasRule.MatchString(name):
		return Errorf(CodeInvalid, "alias name %q is not valid: use a to z, A to Z, digits, - and _", name)
	case isNumber(name):
		return Errorf(CodeInvalid, "alias name %q is not valid: digits alone name a version", name)
	}
	return nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
