package lambda

import (
	"strings"
	"testing"

	"thaw"
)

func TestParseName(t *testing.T) {
	const head = "arn:aws:lambda:eu-central-1:123456789012:function:"
	for _, test := range []struct {
		name, qualifier string
		want            string // "" is an error
	}{
		{"hello", "", "hello"},
		{"hello:2", "", "hello:2"},
		{"hello:$LATEST", "", "hello:$LATEST"},
		{"hello", "live", "hello:live"},
		{"hello:live", "live", "hello:live"},
		{head + "hello", "", "hello"},
		{head + "hello:live", "", "hello:live"},
		{head + "hello", "3", "hello:3"},
		{"arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:hello", "", "hello"},
		{ARN(thaw.Ref{Function: "hello", Qualifier: "live"}), "", "hello:live"},
		{"123456789012:function:hello", "", "hello"},
		{"eu-central-1:123456789012:function:hello:4", "", "hello:4"},
		{"function:live", "", "function:live"}, // a function of that name
		{"function", "", "function"},

		{"hello:live", "2", ""},
		{"hello", "-", "hello:-"},
		{"hello", "a b", ""},
		{"", "", ""},
		{head, "", ""},
		{head + "hello:", "", ""},
		{head + "hello:1:2", "", ""},
		{"arn:aws:s3:::bucket", "", ""},
		{"arn:aws:lambda:eu-central-1:123456789012:layer:hello", "", ""},
		{"arn:aws:lambda:eu-central-1:12345:function:hello", "", ""},
		{head + head + "hello", "", ""},
		{strings.Repeat("x", 65), "", ""},
	} {
		ref, err := ParseName(test.name, test.qualifier)
		switch {
		case test.want == "" && thaw.CodeOf(err) != thaw.CodeInvalid:
			t.Errorf("%s, %s: %v, %v, want an error", test.name, test.qualifier, ref, err)
		case test.want != "" && (err != nil || ref.String() != test.want):
			t.Errorf("%s, %s: %v, %v, want %s", test.name, test.qualifier, ref, err, test.want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"hello", "hello:2", "arn:aws:lambda:x:000000000000:function:hello:$LATEST", "000000000000:function:f"} {
		f.Add(s, "")
		f.Add(s, "live")
	}
	f.Fuzz(func(t *testing.T, name, qualifier string) {
		ref, err := ParseName(name, qualifier)
		if err != nil {
			if thaw.CodeOf(err) != thaw.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if err := ref.Validate(); err != nil {
			t.Fatalf("%q, %q: %v", name, qualifier, err)
		}
		if back, err := ParseName(ARN(ref), ""); err != nil || back != ref {
			t.Fatalf("%v comes back as %v, %v", ref, back, err)
		}
	})
}
