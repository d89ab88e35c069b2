// Package strictyaml reads YAML files whose every key is known. What is not, what
// is of another type and what is there twice is an error that says where, as
// FILE:LINE:COLUMN, and what to do.
//
// Of YAML it takes what a file that people write needs: one document of mappings,
// lists and scalars. Anchors, aliases, merge keys and tags are errors: with them a
// file means more than it says.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"thaw"
)

// MaxBytes is the most a file may hold: far more than anybody writes by hand.
const MaxBytes = 64 << 10

// Value is a part of a file: a mapping, a list or a scalar. The zero value is an
// empty mapping.
type Value struct {
	file string
	path string // from the root, such as env.COLOUR
	node *yaml.Node
}

// Parse reads a file. Its name is only for messages. An empty file is an empty
// mapping. Errors are [thaw.CodeInvalid].
func Parse(file string, content []byte) (Value, error) {
	root := Value{file: file}
	if len(content) > MaxBytes {
		return root, thaw.Errorf(thaw.CodeInvalid, "%s is larger than %d KiB: is it the right file?", file, MaxBytes>>10)
	}
	if err := checkText(file, content); err != nil {
		return root, err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		return root, fmt.Errorf("read %s: %w", file, err)
	}
	var document, second yaml.Node
	if err := loader.Load(&document); errors.Is(err, io.EOF) {
		return root, nil
	} else if err != nil {
		return root, syntaxError(file, err)
	}
	if err := loader.Load(&second); err == nil {
		return root, Value{file: file, node: &second}.Errorf("a second document begins here: keep one")
	} else if !errors.Is(err, io.EOF) {
		return root, syntaxError(file, err)
	}
	root.node = document.Content[0]
	if isNull(root.node) {
		root.node = nil
	}
	return root, checkPlain(file, document.Content[0])
}

// checkText finds what no text file holds.
func checkText(file string, content []byte) error {
	for i, line := range bytes.Split(content, []byte("\n")) {
		if !utf8.Valid(line) {
			return thaw.Errorf(thaw.CodeInvalid, "%s:%d: this line is not UTF-8: save the file as that", file, i+1)
		}
		at := bytes.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\r' })
		if at >= 0 {
			return thaw.Errorf(thaw.CodeInvalid, "%s:%d:%d: a control character: remove it", file, i+1, utf8.RuneCount(line[:at])+1)
		}
	}
	return nil
}

// syntaxError puts an error of the library into our form.
func syntaxError(file string, err error) error {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok || e.Mark.Line == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not YAML: %w", file, err)
	}
	hint := ""
	if strings.Contains(e.Message, "tab ") || strings.Contains(e.Message, "cannot start any token") {
		hint = ": indent with spaces, and put a value that begins with a special character in quotes"
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s:%d:%d: not YAML: %s%s", file, e.Mark.Line, e.Mark.Column, strings.TrimSpace(e.Message+" "+e.ContextMsg), hint)
}

// checkPlain refuses what lets a file mean more than it says.
func checkPlain(file string, n *yaml.Node) error {
	v := Value{file: file, node: n}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return v.Errorf("anchors and aliases are not supported: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return v.Errorf("tags such as %s are not supported: leave it out", n.Tag)
	case n.Tag == "!!merge":
		return v.Errorf("merge keys are not supported: write the keys out")
	}
	for _, child := range n.Content {
		if err := checkPlain(file, child); err != nil {
			return err
		}
	}
	return nil
}

// Errorf returns a [thaw.CodeInvalid] error about v that begins with its place.
func (v Value) Errorf(format string, args ...any) error {
	place := v.Place()
	if v.path != "" {
		place += ": " + v.path
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s: %w", place, fmt.Errorf(format, args...))
}

// Place is FILE:LINE:COLUMN.
func (v Value) Place() string {
	if v.node == nil || v.node.Line == 0 {
		return v.file
	}
	return fmt.Sprintf("%s:%d:%d", v.file, v.node.Line, v.node.Column)
}

// at is v as an error is to speak of it: by the place of another node.
func (v Value) at(n *yaml.Node) Value { return Value{file: v.file, path: v.path, node: n} }

// child is a value within v.
func (v Value) child(name string, n *yaml.Node) Value {
	path := name
	if v.path != "" && !strings.HasPrefix(name, "[") {
		path = "." + name
	}
	return Value{file: v.file, path: v.path + path, node: n}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
