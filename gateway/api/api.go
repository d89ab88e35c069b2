// Package api holds the words of thaw's HTTP interface, shared by the server
// (package gateway) and the client: paths, headers, bodies, limits and the one
// table that maps error codes to statuses.
package api

import (
	"encoding/json"
	"time"

	"thaw"
)

// The paths. InvokePath and what is under it follow the AWS Lambda API
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html), so that SDKs
// work when pointed here.
const (
	PathInvokePrefix = PathLambda + "/" // + name + PathInvokeSuffix
	PathInvokeSuffix = "/invocations"
	// PathLambda begins the paths of functions in the Lambda API, but for those that
	// came later, PathLambdaAsync, PathLambdaStream and those of what is not there.
	PathLambda      = "/2015-03-31/functions"
	PathLambdaAsync = "/2014-11-13/functions"
	PathLambdaTags  = "/2017-03-31/tags"
	// PathLambdaConcurrency is where concurrency is set, PathLambdaConcurrencyOf where
	// it is read.
	PathLambdaConcurrency   = "/2017-10-31/functions"
	PathLambdaConcurrencyOf = "/2019-09-30/functions"
	PathFunctions           = "/v1/functions" // + "/" + name + PathLogsSuffix
	PathLogsSuffix          = "/logs"
	// PathMemorySuffix and those below follow a function's path; an alias follows
	// PathAliasesSuffix.
	PathMemorySuffix   = "/memory"
	PathVersionsSuffix = "/versions"
	PathRollbackSuffix = "/rollback"
	PathAliasesSuffix  = "/aliases"
	PathInstances      = "/v1/instances"
	PathDeploys        = "/v1/deploys"
	// PathInstancesSuffix follows a function's path.
	PathInstancesSuffix = "/instances"
	PathInvocations     = "/v1/invocations" // + "/" + id
	PathSnapshots       = "/v1/snapshots"   // + "/" + id + PathVerifySuffix
	PathVerifySuffix    = "/verify"
	PathQueue           = "/v1/queue"     // + "/" + id + PathRedriveSuffix
	PathRedriveSuffix   = "/redrive"      // also of PathQueue itself
	PathSchedules       = "/v1/schedules" // + "/" + id
	PathSecrets         = "/v1/secrets"   // + "/" + name
	PathInfo            = "/v1/info"
	PathHealth          = "/healthz"
	PathMetrics         = "/metrics"
	PathOpenAPIYAML     = "/openapi.yaml"
	PathOpenAPIJSON     = "/openapi.json"
)

// The paths of OpenFaaS
// (https://github.com/openfaas/faas/blob/master/api-docs/spec.openapi.yml).
const (
	PathOpenFaaS      = "/function"       // + "/" + name, and a path of the function's own
	PathOpenFaaSAsync = "/async-function" // the same
	PathOpenFaaSList  = "/system/functions"
	PathOpenFaaSInfo  = "/system/info"
	// PathOpenFaaSSecrets takes what faas-cli secret sends.
	PathOpenFaaSSecrets = "/system/secrets"
)

// The headers of OpenFaaS. CallbackURL is of a request, CallID goes both ways, the
// others are of a reply and of a callback.
const (
	HeaderCallbackURL     = "X-Callback-Url"
	HeaderCallID          = "X-Call-Id"
	HeaderStartTime       = "X-Start-Time"       // Unix time in nanoseconds
	HeaderDurationSeconds = "X-Duration-Seconds" // a decimal number
	HeaderFunctionName    = "X-Function-Name"    // of a callback
	HeaderFunctionStatus  = "X-Function-Status"  // of a callback: the status of the reply
)

// The headers of W3C Trace Context, which go both ways.
const (
	HeaderTraceParent = "Traceparent"
	HeaderTraceState  = "Tracestate"
)

// The headers of AWS Lambda.
const (
	HeaderInvocationType  = "X-Amz-Invocation-Type"
	HeaderFunctionError   = "X-Amz-Function-Error"
	HeaderExecutedVersion = "X-Amz-Executed-Version"
	HeaderErrorType       = "X-Amzn-ErrorType"
	HeaderLogType         = "X-Amz-Log-Type"       // None or Tail
	HeaderLogResult       = "X-Amz-Log-Result"     // base64
	HeaderClientContext   = "X-Amz-Client-Context" // a JSON object in base64
	// HeaderRequestID is on every reply. On the reply of an invocation it is
	// the id of its record; on an error it is the request's id in the log.
	HeaderRequestID = "X-Amzn-RequestId"
)

// The headers of thaw. Policy goes both ways; Cold, Discard, OnDemand, Frozen
// and Record (true or false) are of a request, the others of a reply.
const (
	HeaderPolicy       = "Thaw-Policy"
	HeaderCold         = "Thaw-Cold"
	HeaderDiscard      = "Thaw-Discard"
	HeaderOnDemand     = "Thaw-On-Demand"
	HeaderFrozen       = "Thaw-Frozen"
	HeaderRecord       = "Thaw-Record"
	HeaderStart        = "Thaw-Start"
	HeaderInstance     = "Thaw-Instance"
	HeaderServerTiming = "Server-Timing"
)

// The kinds of body.
const (
	TypeJSON   = "application/json"
	TypeNDJSON = "application/x-ndjson"
	TypeTar    = "application/x-tar"
	TypeYAML   = "application/yaml"
)

// The parts of the multipart/form-data body of a deploy, in this order.
const (
	PartSettings = "settings" // a thaw.Settings as JSON
	PartCode     = "code"     // the function's files, or an OCI image layout, as a tar stream
)

// Limits on what a client may send.
const (
	// MaxCode is the largest tar stream of a deploy in bytes: 250 MB, as AWS
	// Lambda has it for an unzipped deployment package.
	MaxCode = 250 << 20
	// MaxCodeEntries is how many files, folders and links it may hold.
	MaxCodeEntries = 20_000
	// MaxImage is the same of a deploy that brings an OCI image: one of 10 GiB, and
	// what tar and the image's layout add.
	MaxImage = 11 << 30
	// MaxSettings bounds the settings part of a deploy; its largest fields, the
	// sample events and the environment, are bounded by thaw.MaxPrimeBytes and
	// thaw.MaxEnvBytes.
	MaxSettings = 64<<10 + thaw.MaxPrimeBytes
	// MaxAlias bounds the body that sets an alias.
	MaxAlias = 16 << 10
	// MaxLogLines is the most lines one request for logs returns.
	MaxLogLines = 10_000
	// DefaultLogLines is what it returns when it does not say.
	DefaultLogLines = 1000
)

// Error is the body of an error outside the Lambda paths.
type Error struct {
	Code    thaw.Code `json:"code"`
	Message string    `json:"message"`
}

// LambdaError is the body of an error on the Lambda paths. Both spellings of
// the message are in use by Lambda's own clients.
type LambdaError struct {
	Type         string    `json:"Type"` // User or Service
	Message      string    `json:"Message"`
	MessageLower string    `json:"message"`
	Code         thaw.Code `json:"code"`
}

// DeployLine is one line of the reply to a deploy: an event, or as the last
// line the error that ended it.
type DeployLine struct {
	thaw.DeployEvent
	// Detached is how the deploy stands that goes on without its client, in the last
	// line.
	Detached *thaw.Publish `json:"detached,omitempty"`
	Error    *Error        `json:"error,omitempty"`
}

// ErrorLine is a [DeployLine] or a [CheckLine] with nothing but an error.
type ErrorLine struct {
	Error Error `json:"error"`
}

// CheckLine is one line of the reply to a verification: a file that is being read
// or was checked, and as the last line the result or the error that ended it.
type CheckLine struct {
	File   *thaw.FileCheck    `json:"file,omitempty"`
	Result *thaw.Verification `json:"result,omitempty"`
	Error  *Error             `json:"error,omitempty"`
}

// Snapshots is the reply to a list of snapshots.
type Snapshots struct {
	Snapshots []thaw.Snapshot `json:"snapshots"`
}

// Queue is the reply to a list of what is in the queue.
type Queue struct {
	Items []thaw.QueueItem `json:"items"`
}

// QueueItem is one item with its payload: JSON, or a string that holds it.
type QueueItem struct {
	thaw.QueueItem
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Count is the reply to what changes several items of the queue at once.
type Count struct {
	Items int `json:"items"`
}

// Schedules is the reply to a list of schedules.
type Schedules struct {
	Schedules []thaw.Schedule `json:"schedules"`
}

// Secrets is the reply to a list of secrets, whose values are never told.
type Secrets struct {
	Secrets []thaw.Secret `json:"secrets"`
}

// OpenFaaSFunction is a function as OpenFaaS lists it. Replicas are VMs, and there
// are none of a function that is not in use.
type OpenFaaSFunction struct {
	Name              string            `json:"name"`
	Image             string            `json:"image"`
	Namespace         string            `json:"namespace"`
	EnvProcess        string            `json:"envProcess"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	Replicas          int               `json:"replicas"`
	AvailableReplicas int               `json:"availableReplicas"`
	CreatedAt         time.Time         `json:"createdAt"`
}

// Deploys is the reply to a list of deploys: the latest of each function, by name.
type Deploys struct {
	Deploys []thaw.Publish `json:"deploys"`
}

// OpenFaaSInfo says what stands behind the paths of OpenFaaS.
type OpenFaaSInfo struct {
	Provider OpenFaaSProvider `json:"provider"`
	Version  OpenFaaSVersion  `json:"version"`
	Arch     string           `json:"arch"`
}

// OpenFaaSProvider is what runs the functions.
type OpenFaaSProvider struct {
	Provider      string          `json:"provider"`
	Orchestration string          `json:"orchestration"`
	Version       OpenFaaSVersion `json:"version"`
}

// OpenFaaSVersion is that of a build.
type OpenFaaSVersion struct {
	Release string `json:"release"`
	SHA     string `json:"sha"`
}

// OpenFaaSRemove is the body that removes a function.
type OpenFaaSRemove struct {
	FunctionName string `json:"functionName"`
	// Namespace is without effect.
	Namespace string `json:"namespace,omitempty"`
}

// Functions is the reply to a list of functions: the version of each that serves.
type Functions struct {
	Functions []thaw.Version `json:"functions"`
	// More says that there are more after the last one.
	More bool `json:"more,omitempty"`
}

// Versions is the reply to a list of a function's versions, newest first.
type Versions struct {
	Versions []thaw.VersionInfo `json:"versions"`
}

// Aliases is the reply to a list of a function's aliases, by name.
type Aliases struct {
	Aliases []thaw.Alias `json:"aliases"`
}

// Alias is the body that sets an alias, whose name is in the path.
type Alias struct {
	Version int             `json:"version"`
	Weights map[int]float64 `json:"weights,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
}

// Instances is the reply to a list of instances.
type Instances struct {
	Instances []thaw.Instance `json:"instances"`
}

// Logs is the reply to a request for logs, newest line last.
type Logs struct {
	Lines []thaw.LogLine `json:"lines"`
}

// FollowLine is one line of the reply to who follows a log: a line of it, or as the
// last one the error that ended it.
type FollowLine struct {
	*thaw.LogLine
	Error *Error `json:"error,omitempty"`
}

// Info describes a running daemon.
type Info struct {
	Version     string `json:"version"`
	Accelerator string `json:"accelerator"`
	PID         int    `json:"pid"`
	StateDir    string `json:"state_dir"`
	// Prestarted VMMs wait for a restore; PrestartedFull says that none is missing
	// or being started.
	Prestarted     int  `json:"prestarted"`
	PrestartedFull bool `json:"prestarted_full"`
	// Ending instances are not listed any more, but not gone yet.
	Ending  int       `json:"ending"`
	Started time.Time `json:"started"`
}
