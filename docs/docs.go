// Package docs holds the documents that the daemon itself serves.
package docs

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v4"
)

// OpenAPI describes the HTTP interface, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// OpenAPIAsJSON returns the same as JSON.
func OpenAPIAsJSON() ([]byte, error) {
	var document map[string]any
	if err := yaml.Unmarshal(OpenAPI, &document); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document as JSON: %w", err)
	}
	return raw, nil
}
