package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// flat is a message whose JSON object holds strings, numbers and booleans only.
// Those that are sent for every restore and invocation are flat, and are coded
// here: encoding/json touched 50 to 70 pages more of the agent per invocation,
// pages that a guest reads from disk on every cold start.
type flat interface{ fields() []field }

// field is one member: its name and a *string, *int64, *uint64 or *bool. Zero
// values are left out.
type field struct {
	name string
	at   any
}

// appendFlat appends the object of fields to dst.
func appendFlat(dst []byte, fields []field) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for _, f := range fields {
		var value []byte
		switch p := f.at.(type) {
		case *string:
			if *p != "" {
				value = appendString(nil, *p)
			}
		case *int64:
			if *p != 0 {
				value = strconv.AppendInt(nil, *p, 10)
			}
		case *uint64:
			if *p != 0 {
				value = strconv.AppendUint(nil, *p, 10)
			}
		case *bool:
			if *p {
				value = []byte("true")
			}
		}
		if value == nil {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(append(append(dst, '"'), f.name...), '"', ':'), value...)
	}
	return append(dst, '}')
}

// appendString appends s as a JSON string (RFC 8259, section 7). What is not
// UTF-8 becomes U+FFFD, as in encoding/json.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, "\uFFFD"...)
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

var errFlat = errors.New("not a flat JSON object")

// parseFlat sets fields from an object. Members of other names are skipped; a
// value of the wrong type, or one that is not flat, is an error.
func parseFlat(b []byte, fields []field) error {
	s := scanner{b}
	if !s.take('{') {
		return errFlat
	}
	for more := !s.take('}'); more; {
		name, err := s.text()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return errFlat
		}
		if err := s.value(name, fields); err != nil {
			return err
		}
		if more = s.take(','); !more && !s.take('}') {
			return errFlat
		}
	}
	s.space()
	if len(s.b) > 0 {
		return errFlat
	}
	return nil
}

// scanner takes JSON apart from the front.
type scanner struct{ b []byte }

func (s *scanner) space() { s.b = bytes.TrimLeft(s.b, " \t\r\n") }

func (s *scanner) take(c byte) bool {
	s.space()
	if len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

// value reads one value into the field called name, if there is one.
func (s *scanner) value(name string, fields []field) error {
	var at any
	for _, f := range fields {
		if f.name == name {
			at = f.at
		}
	}
	s.space()
	if len(s.b) > 0 && s.b[0] == '"' {
		v, err := s.text()
		if p, ok := at.(*string); ok {
			*p = v
		} else if at != nil && err == nil {
			err = fmt.Errorf("%w: %s is a string", errFlat, name)
		}
		return err
	}
	end := bytes.IndexAny(s.b, ",} \t\r\n")
	if end < 0 {
		return errFlat
	}
	word := string(s.b[:end])
	s.b = s.b[end:]
	return setWord(at, word)
}

// setWord sets a number or a boolean.
func setWord(at any, word string) (err error) {
	switch p := at.(type) {
	case *int64:
		*p, err = strconv.ParseInt(word, 10, 64)
	case *uint64:
		*p, err = strconv.ParseUint(word, 10, 64)
	case *bool:
		*p = word == "true"
		if word != "true" && word != "false" {
			err = errFlat
		}
	case *string:
		err = errFlat
	case nil:
		if word == "" || bytes.ContainsAny([]byte(word), "[{\"") {
			err = errFlat
		}
	}
	return err
}

// text reads a string.
func (s *scanner) text() (string, error) {
	if !s.take('"') {
		return "", errFlat
	}
	var out []byte
	for {
		i := bytes.IndexAny(s.b, `"\`)
		if i < 0 {
			return "", errFlat
		}
		out = append(out, s.b[:i]...)
		c := s.b[i]
		s.b = s.b[i+1:]
		if c == '"' {
			return string(bytes.ToValidUTF8(out, []byte("\uFFFD"))), nil
		}
		r, err := s.escape()
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, r)
	}
}

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, error) {
	if len(s.b) == 0 {
		return 0, errFlat
	}
	c := s.b[0]
	s.b = s.b[1:]
	if c == 'u' {
		return s.unicode()
	}
	i := bytes.IndexByte([]byte(`"\/bfnrt`), c)
	if i < 0 {
		return 0, errFlat
	}
	return rune("\"\\/\b\f\n\r\t"[i]), nil
}

// unicode reads four hex digits, and the other half of a surrogate pair.
func (s *scanner) unicode() (rune, error) {
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) || !bytes.HasPrefix(s.b, []byte(`\u`)) {
		return r, err
	}
	saved := s.b
	s.b = s.b[2:]
	low, err := s.hex4()
	if err != nil {
		return 0, err
	}
	pair := utf16.DecodeRune(r, low)
	if pair == utf8.RuneError {
		s.b = saved // the second is a character of its own
	}
	return pair, nil
}

func (s *scanner) hex4() (rune, error) {
	if len(s.b) < 4 {
		return 0, errFlat
	}
	n, err := strconv.ParseUint(string(s.b[:4]), 16, 16)
	s.b = s.b[4:]
	return rune(n), err
}
