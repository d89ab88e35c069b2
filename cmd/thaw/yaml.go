package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// writeYAML writes as YAML what v is as JSON, with the same names in the same order.
func writeYAML(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	node, err := yamlNode(decoder)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	text, err := yaml.Dump(node)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = w.Write(text)
	return written(err)
}

// yamlNode makes a node of the next JSON value.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		return yamlCollection(d, t)
	case string:
		return yamlScalar("!!str", t), nil
	case json.Number:
		return yamlNumber(t), nil
	case bool:
		return yamlScalar("!!bool", fmt.Sprint(t)), nil
	}
	return yamlScalar("!!null", "null"), nil
}

// yamlCollection reads on to the end of an object or an array. Keys and values
// alternate in both kinds of content.
func yamlCollection(d *json.Decoder, begin json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if begin == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for d.More() {
		child, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err := d.Token() // the end
	return n, err
}

func yamlScalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// yamlNumber keeps a number as JSON has it.
func yamlNumber(n json.Number) *yaml.Node {
	if _, err := n.Int64(); err == nil {
		return yamlScalar("!!int", n.String())
	}
	if _, err := n.Float64(); err != nil {
		return yamlScalar("!!str", n.String()) // YAML has no larger ones
	}
	return yamlScalar("!!float", n.String())
}
