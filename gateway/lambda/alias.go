package lambda

import (
	"strconv"

	"thaw"
)

// RoutingConfig gives shares of invocations to other versions than an alias's own.
type RoutingConfig struct {
	AdditionalVersionWeights map[string]float64 `json:"AdditionalVersionWeights"`
}

// Alias is an alias as clients are told of it.
type Alias struct {
	AliasArn        string         `json:"AliasArn"`
	Name            string         `json:"Name"`
	FunctionVersion string         `json:"FunctionVersion"`
	Description     string         `json:"Description"`
	RoutingConfig   *RoutingConfig `json:"RoutingConfig,omitempty"`
	RevisionID      string         `json:"RevisionId"`
}

// Aliases is the reply to ListAliases.
type Aliases struct {
	Aliases    []Alias `json:"Aliases"`
	NextMarker string  `json:"NextMarker,omitempty"`
}

// TellAlias tells of an alias of function.
func TellAlias(function string, a thaw.Alias) Alias {
	told := Alias{
		AliasArn: ARN(thaw.Ref{Function: function, Qualifier: a.Name}), Name: a.Name, FunctionVersion: strconv.Itoa(a.Version),
		Description: a.Description, RevisionID: revision(a),
	}
	if len(a.Weights) > 0 {
		told.RoutingConfig = &RoutingConfig{map[string]float64{}}
		for n, w := range a.Weights {
			told.RoutingConfig.AdditionalVersionWeights[strconv.Itoa(n)] = w
		}
	}
	return told
}

// SetAlias is a request to make an alias or to change it: what is nil stays.
type SetAlias struct {
	Name            string         `json:"Name"`
	FunctionVersion *string        `json:"FunctionVersion"`
	Description     *string        `json:"Description"`
	RoutingConfig   *RoutingConfig `json:"RoutingConfig"`
	RevisionID      string         `json:"RevisionId"`
	FunctionName    string         `json:"FunctionName"`
}

// Apply returns a as s wants it, checked.
func (s SetAlias) Apply(a thaw.Alias) (thaw.Alias, error) {
	var err error
	if s.FunctionVersion != nil {
		if *s.FunctionVersion == thaw.Latest {
			return a, thaw.Errorf(thaw.CodeInvalid, "an alias of %s is not supported, as it would not move: name a version by its number", thaw.Latest)
		}
		if a.Version, err = thaw.ParseVersion(*s.FunctionVersion); err != nil {
			return a, err
		}
	}
	set(&a.Description, s.Description)
	if s.RoutingConfig != nil {
		a.Weights = nil
		for version, weight := range s.RoutingConfig.AdditionalVersionWeights {
			n, err := thaw.ParseVersion(version)
			if err != nil {
				return a, err
			}
			if a.Weights == nil {
				a.Weights = map[int]float64{}
			}
			a.Weights[n] = weight
		}
	}
	if a.Version == 0 {
		return a, thaw.Errorf(thaw.CodeInvalid, "FunctionVersion is missing: write the number of the version that alias %.128q names", a.Name)
	}
	return a, a.Validate()
}
