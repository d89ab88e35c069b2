package strictyaml

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Entry is a key of a mapping with its value.
type Entry struct {
	Key string
	Value
	key *yaml.Node
}

// Entries returns what a mapping holds, in the order of the file: each key is a
// string that is there once.
func (v Value) Entries() ([]Entry, error) {
	if v.node == nil {
		return nil, nil
	}
	if v.node.Kind != yaml.MappingNode {
		return nil, v.Errorf("%s where keys with values are due: write KEY: VALUE", kindOf(v.node))
	}
	first := map[string]*yaml.Node{}
	var all []Entry
	for pair := range slices.Chunk(v.node.Content, 2) {
		key := pair[0]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			return nil, v.at(key).Errorf("%s where a key is due: write KEY: VALUE", kindOf(key))
		}
		e := Entry{Key: key.Value, Value: v.child(key.Value, pair[1]), key: key}
		if before := first[key.Value]; before != nil {
			return nil, v.child(key.Value, key).Errorf("is there twice, first in line %d: keep one", before.Line)
		}
		first[key.Value] = key
		all = append(all, e)
	}
	return all, nil
}

// Reader takes over the value of a key.
type Reader func(Value) error

// Object reads a mapping whose keys are those of readers, in the order of the
// file. A value of null, or of nothing, is an error.
func (v Value) Object(readers map[string]Reader) error {
	entries, err := v.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		read, known := readers[e.Key]
		if !known {
			return e.unknown(slices.Sorted(maps.Keys(readers)))
		}
		if err := e.present(); err != nil {
			return err
		}
		if err := read(e.Value); err != nil {
			return err
		}
	}
	return nil
}

func (e Entry) unknown(known []string) error {
	v := e.at(e.key)
	if near := nearest(e.Key, known); near != "" {
		return v.Errorf("unknown key: did you mean %s?", near)
	}
	return v.Errorf("unknown key: choose one of %s", strings.Join(known, ", "))
}

// present refuses a key without a value.
func (e Entry) present() error {
	if isNull(e.node) {
		return e.at(e.key).Errorf("has no value: write one, or leave the key out")
	}
	return nil
}

// nearest returns the word that s was probably meant to be, or "".
func nearest(s string, words []string) string {
	best, least := "", 1+max(1, len(s)/3)
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters are to be changed, put in or left out (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
