// Package lambda holds the words of AWS Lambda's management API
// (https://docs.aws.amazon.com/lambda/latest/api/): names and ARNs, what clients
// send, what they are told, and the archives that code comes in. It turns them into
// thaw's own words and back, and knows no HTTP. docs/lambda-api.md says what maps
// to what.
package lambda

import (
	"regexp"

	"thaw"
)

// The parts of the ARNs that are told. There is no account and one region; what
// clients send may have others.
const (
	Account = "000000000000"
	arnHead = "arn:aws:lambda:local:" + Account + ":function:"
)

// arnRule matches what may come before a function's name: an ARN's head, whole or
// without its first parts. Lambda also allows function:NAME, which here is the
// alias NAME of a function called function.
var arnRule = regexp.MustCompile(`^(?:arn:aws[a-z-]*:lambda:)?(?:[a-z]+[a-z0-9-]*:)?[0-9]{12}:function:`)

// ParseName reads a function's name as every operation takes it: NAME,
// NAME:QUALIFIER, or such an ARN, whole or partial; qualifier is that of the query, ""
// for none. What cannot be one is a [thaw.CodeInvalid] error.
func ParseName(name, qualifier string) (thaw.Ref, error) {
	ref, err := thaw.ParseRef(name[len(arnRule.FindString(name)):])
	switch {
	case err != nil || qualifier == "" || qualifier == ref.Qualifier:
		return ref, err
	case ref.Qualifier != "":
		return ref, thaw.Errorf(thaw.CodeInvalid, "the path names %s and the query the qualifier %.100q: give one of the two", ref, qualifier)
	}
	return thaw.ParseRef(ref.Function + ":" + qualifier)
}

// ARN is that of what ref names.
func ARN(ref thaw.Ref) string { return arnHead + ref.String() }
