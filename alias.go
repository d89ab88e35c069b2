package thaw

import (
	"cmp"
	"maps"
	"slices"
)

// Alias is a name for a version of a function that can be moved to another one.
type Alias struct {
	Name string `json:"alias"`
	// Version gets the invocations that Weights leave.
	Version int `json:"version"`
	// Weights are the shares of invocations, 0 to 1, that other versions get
	// (Lambda's AdditionalVersionWeights).
	Weights map[int]float64 `json:"weights,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
}

// Validate returns a [CodeInvalid] error that says what is wrong with a. Whether
// its versions exist is for the registry to say.
func (a Alias) Validate() error {
	if err := CheckAlias(a.Name); err != nil {
		return err
	}
	if len(a.Description) > MaxDescription {
		return Errorf(CodeInvalid, "description of alias %s is %d bytes long: use at most %d", a.Name, len(a.Description), MaxDescription)
	}
	total := 0.0
	for _, n := range append([]int{a.Version}, a.others()...) {
		if n < 1 {
			return Errorf(CodeInvalid, "version %d of alias %s is not valid: write its number, such as 1", n, a.Name)
		}
	}
	for _, n := range a.others() {
		w := a.Weights[n]
		if !(w >= 0 && w <= 1) { // nor not a number
			return Errorf(CodeInvalid, "weight %v of version %d is out of range: choose 0 to 1, such as 0.1", w, n)
		}
		if n == a.Version {
			return Errorf(CodeInvalid, "version %d has a weight and is what alias %s points at: that gets what the weights leave", n, a.Name)
		}
		total += w
	}
	const rounding = 1e-9 // of sums such as 0.7+0.2+0.1
	if total > 1+rounding {
		return Errorf(CodeInvalid, "the weights of alias %s add up to %v: at most 1 can be given away", a.Name, total)
	}
	return nil
}

// Pick returns the version for one invocation: which one, u decides, a number
// drawn evenly from 0 up to, and not including, 1. The other versions share the
// beginning of that range, in the order of their numbers.
func (a Alias) Pick(u float64) int {
	for _, n := range a.others() {
		if u -= a.Weights[n]; u < 0 {
			return n
		}
	}
	return a.Version
}

// Versions returns the versions that a names, its own first.
func (a Alias) Versions() []int { return append([]int{a.Version}, a.others()...) }

func (a Alias) others() []int { return slices.Sorted(maps.Keys(a.Weights)) }

// Function is what is deployed under one name, apart from its versions: which of
// them are pointed at.
type Function struct {
	Name string `json:"function"`
	// Serves is the version that invocations without a qualifier get. A deploy moves
	// it on, a rollback back.
	Serves int `json:"serves"`
	// Before served before, oldest first: the last one is what a rollback goes to.
	Before []int `json:"before,omitempty"`
	// Aliases are in the order of their names.
	Aliases []Alias `json:"aliases,omitempty"`
}

// Alias returns the alias called name.
func (f Function) Alias(name string) (Alias, bool) {
	i := slices.IndexFunc(f.Aliases, func(a Alias) bool { return a.Name == name })
	if i < 0 {
		return Alias{}, false
	}
	return f.Aliases[i], true
}

// AliasesOf returns the names of the aliases that name a version, be it with a
// weight.
func (f Function) AliasesOf(number int) []string {
	var names []string
	for _, a := range f.Aliases {
		if slices.Contains(a.Versions(), number) {
			names = append(names, a.Name)
		}
	}
	return names
}

// PointsAt says whether version number serves or has an alias.
func (f Function) PointsAt(number int) bool {
	return f.Serves == number || len(f.AliasesOf(number)) > 0
}

// Move returns f with version number serving. Back to one that served before, it
// forgets those after it; otherwise it remembers the one that served until now.
func (f Function) Move(number int) Function {
	if i := slices.Index(f.Before, number); i >= 0 {
		f.Before = slices.Clone(f.Before[:i])
	} else if f.Serves != 0 && f.Serves != number {
		f.Before = append(slices.Clone(f.Before), f.Serves)
	}
	f.Serves = number
	return f
}

// WithAlias returns f with a in place of any alias of that name.
func (f Function) WithAlias(a Alias) Function {
	f = f.WithoutAlias(a.Name)
	f.Aliases = append(f.Aliases, a)
	slices.SortFunc(f.Aliases, func(a, b Alias) int { return cmp.Compare(a.Name, b.Name) })
	return f
}

// WithoutAlias returns f without the alias called name.
func (f Function) WithoutAlias(name string) Function {
	f.Aliases = slices.DeleteFunc(slices.Clone(f.Aliases), func(a Alias) bool { return a.Name == name })
	return f
}

// Without returns f without any memory of version number, which must not be
// pointed at.
func (f Function) Without(number int) Function {
	f.Before = slices.DeleteFunc(slices.Clone(f.Before), func(n int) bool { return n == number })
	return f
}
