package lambda

import "thaw"

// PutFunctionConcurrency is a request for how many invocations of a function there may
// be at once.
type PutFunctionConcurrency struct {
	Reserved     *int   `json:"ReservedConcurrentExecutions"`
	FunctionName string `json:"FunctionName"` // of clients that send the path's again
}

// Concurrency is the reply to PutFunctionConcurrency and GetFunctionConcurrency: the
// most invocations of a function at once, 0 where only the daemon bounds them.
type Concurrency struct {
	Reserved int `json:"ReservedConcurrentExecutions,omitempty"`
}

// ConcurrencyOf is what s allows: so many VMs, each of which serves so many at once.
func ConcurrencyOf(s thaw.Settings) Concurrency {
	return Concurrency{s.MaxScale * perInstance(s)}
}

// perInstance is how many invocations an instance serves at once.
func perInstance(s thaw.Settings) int { return max(s.Concurrency, 1) }

// Request checks p and returns the deploy that it asks for of a function whose version
// that serves is v. The bound is one of VMs, so that it can be kept only if they serve
// as many as is asked for when they are full.
func (p PutFunctionConcurrency) Request(v thaw.Version) (thaw.PublishRequest, error) {
	each := perInstance(v.Settings)
	most := thaw.MaxScale * each
	switch {
	case p.Reserved == nil:
		return thaw.PublishRequest{}, thaw.Errorf(thaw.CodeInvalid, "ReservedConcurrentExecutions is missing: choose 1 to %d", most)
	case *p.Reserved == 0:
		return thaw.PublishRequest{}, thaw.Errorf(thaw.CodeInvalid, "ReservedConcurrentExecutions of 0 is not supported: a function cannot be switched off, choose 1 to %d or delete the function", most)
	case *p.Reserved < 0 || *p.Reserved > most:
		return thaw.PublishRequest{}, thaw.Errorf(thaw.CodeInvalid, "ReservedConcurrentExecutions of %d is out of range: choose 1 to %d", *p.Reserved, most)
	case *p.Reserved%each != 0:
		return thaw.PublishRequest{}, thaw.Errorf(thaw.CodeInvalid, "ReservedConcurrentExecutions of %d cannot be kept: a VM of %s serves %d invocations at once, choose a multiple of that", *p.Reserved, v.Function, each)
	case *p.Reserved/each < v.MinScale:
		return thaw.PublishRequest{}, thaw.Errorf(thaw.CodeInvalid, "ReservedConcurrentExecutions of %d is too low: %s keeps %d VMs warm, choose at least %d", *p.Reserved, v.Function, v.MinScale, v.MinScale*each)
	}
	return withMaxScale(v, *p.Reserved/each), nil
}

// Unreserve returns the deploy that DeleteFunctionConcurrency asks for.
func Unreserve(v thaw.Version) thaw.PublishRequest { return withMaxScale(v, 0) }

// withMaxScale is the deploy of v's code with another max scale.
func withMaxScale(v thaw.Version, most int) thaw.PublishRequest {
	r := thaw.PublishRequest{Function: v.Function, Settings: v.Settings, From: thaw.RefTo(v.Function, v.Number).String()}
	r.Settings.MaxScale = most
	return r
}
