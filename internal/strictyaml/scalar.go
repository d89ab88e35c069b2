package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// Text returns a string. A number and the like is an error that says how to quote
// it: YAML reads 1.10 as 1.1.
func (v Value) Text() (string, error) {
	if v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!str" {
		return v.node.Value, nil
	}
	if v.node != nil && v.node.Kind == yaml.ScalarNode {
		return "", v.Errorf("%s where a string is due: write %q", kindOf(v.node), v.node.Value)
	}
	return "", v.Errorf("%s where a string is due", kindOf(v.node))
}

// Written returns a scalar of any type as it is written: 1.10 stays that.
func (v Value) Written() (string, error) {
	if v.node == nil || v.node.Kind != yaml.ScalarNode {
		return "", v.Errorf("%s where a single value is due", kindOf(v.node))
	}
	if isNull(v.node) {
		return "", v.Errorf(`no value: for an empty one write ""`)
	}
	return v.node.Value, nil
}

// Int returns a whole number.
func (v Value) Int() (int, error) {
	if v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!int" {
		if n, err := strconv.Atoi(v.node.Value); err == nil {
			return n, nil
		}
	}
	return 0, v.Errorf("%s where a whole number is due: write one such as 3", kindOf(v.node))
}

// Bool returns true or false.
func (v Value) Bool() (bool, error) {
	if v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!bool" {
		if b, err := strconv.ParseBool(v.node.Value); err == nil {
			return b, nil
		}
	}
	return false, v.Errorf("%s where true or false is due", kindOf(v.node))
}

// Duration returns a time such as 30s.
func (v Value) Duration() (time.Duration, error) {
	text, err := v.Written()
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || v.node.ShortTag() != "!!str" && d != 0 {
		return 0, v.Errorf("%q is not a duration: write a number with its unit, such as 30s, 500ms or 2m", text)
	}
	return d, nil
}

// List returns the values of a list.
func (v Value) List() ([]Value, error) {
	if v.node == nil || v.node.Kind != yaml.SequenceNode {
		return nil, v.Errorf("%s where a list is due: write each value on a line of its own after -", kindOf(v.node))
	}
	all := make([]Value, 0, len(v.node.Content))
	for i, n := range v.node.Content {
		all = append(all, v.child(fmt.Sprintf("[%d]", i+1), n))
	}
	return all, nil
}

// Texts returns the strings of a list.
func (v Value) Texts() ([]string, error) {
	list, err := v.List()
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(list))
	for _, item := range list {
		text, err := item.Text()
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// IsText says whether v is a string.
func (v Value) IsText() bool {
	return v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!str"
}

// Line is v on one line: a scalar as it is written, anything else as JSON, or "" if
// JSON has not the like.
func (v Value) Line() string {
	if v.node == nil {
		return ""
	}
	if v.node.Kind == yaml.ScalarNode {
		return v.node.Value
	}
	raw, err := v.JSON()
	if err != nil {
		return ""
	}
	return string(raw)
}

// JSON returns v as JSON, the keys of each mapping in the order of the file.
// Numbers must be written as JSON has them.
func (v Value) JSON() (json.RawMessage, error) {
	var b bytes.Buffer
	err := v.writeJSON(&b)
	return b.Bytes(), err
}

func (v Value) writeJSON(b *bytes.Buffer) error {
	switch {
	case v.node == nil:
		b.WriteString("{}")
		return nil
	case v.node.Kind == yaml.MappingNode:
		return v.writeObject(b)
	case v.node.Kind == yaml.SequenceNode:
		return v.writeArray(b)
	}
	switch v.node.ShortTag() {
	case "!!null":
		b.WriteString("null")
	case "!!bool", "!!int", "!!float":
		if !json.Valid([]byte(v.node.Value)) {
			return v.Errorf("%s is not written as JSON has it: write it so, or in quotes", v.node.Value)
		}
		b.WriteString(v.node.Value)
	default:
		writeString(b, v.node.Value)
	}
	return nil
}

func (v Value) writeObject(b *bytes.Buffer) error {
	entries, err := v.Entries()
	if err != nil {
		return err
	}
	b.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(b, e.Key)
		b.WriteByte(':')
		if err := e.writeJSON(b); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func (v Value) writeArray(b *bytes.Buffer) error {
	list, err := v.List()
	if err != nil {
		return err
	}
	b.WriteByte('[')
	for i, item := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := item.writeJSON(b); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeString(b *bytes.Buffer, s string) {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	b.Write(raw)
}

// kindOf says what a node is.
func kindOf(n *yaml.Node) string {
	switch {
	case n == nil:
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "a true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "a string"
}
