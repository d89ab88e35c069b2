package guest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"thaw/agent/wire"
)

// searchPath is where programs are, as in Lambda.
const searchPath = "/usr/local/bin:/usr/bin:/bin:/opt/bin"

// containerPath is where programs of an image are that does not say, as in Docker.
const containerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// pythonPackages is where the code has what was installed from requirements.txt, see
// [thaw/image.PythonPackages].
const pythonPackages = ".packages"

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// environment returns the runtime's environment: the defaults, over them the
// variables of its image, over them the user's, over them those that the protocol
// reserves.
func environment(cfg Config, m wire.Init, reserved map[string]string) []string {
	env := map[string]string{
		"TZ":   ":UTC",
		"PATH": searchPath,
		"LANG": "C.UTF-8",
		"HOME": "/tmp",
		// The C library gives memory back to the kernel and asks for it again, page by
		// page: in every clone of a snapshot anew, and nobody else is there to use it.
		"MALLOC_TRIM_THRESHOLD_": "134217728",
		"MALLOC_TOP_PAD_":        "2097152",
	}
	if m.Container == nil {
		env["LD_LIBRARY_PATH"] = cfg.TaskRoot + ":" + cfg.TaskRoot + "/lib"
	} else {
		env["PATH"] = containerPath
		maps.Copy(env, m.Container.Env)
	}
	maps.Copy(env, m.Env)
	if packages := filepath.Join(cfg.TaskRoot, pythonPackages); m.Container == nil && isFolder(packages) {
		env["PYTHONPATH"] = strings.TrimPrefix(env["PYTHONPATH"]+":"+packages, ":")
	}
	maps.Copy(env, reserved)
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// lambdaEnv are the variables that Lambda reserves ("Using Lambda environment
// variables", Lambda developer guide).
func lambdaEnv(cfg Config, m wire.Init, apiAddr string) map[string]string {
	kind := "on-demand"
	if m.SnapStart {
		kind = "snap-start"
	}
	env := map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          apiAddr,
		"THAW_RUNTIME_SOCKET":             cfg.APISocket,
		"_HANDLER":                        m.Handler,
		"LAMBDA_TASK_ROOT":                cfg.TaskRoot,
		"LAMBDA_RUNTIME_DIR":              cfg.RuntimeDir,
		"AWS_LAMBDA_FUNCTION_NAME":        m.Function,
		"AWS_LAMBDA_FUNCTION_VERSION":     strconv.Itoa(m.Version),
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(m.MemoryMiB),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  kind,
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + m.Function,
		"AWS_LAMBDA_LOG_STREAM_NAME":      fmt.Sprintf("%s/[%d]", m.Function, m.Version),
	}
	if m.Prime {
		env["THAW_PRIME"] = "1"
	}
	if m.Concurrency > 1 { // as where several requests are sent to one environment
		env["AWS_LAMBDA_MAX_CONCURRENCY"] = strconv.Itoa(m.Concurrency)
	}
	return env
}

// httpEnv are the variables of the contract of Knative and Cloud Run (Knative
// Runtime Contract, "Environment Variables"; Cloud Run, "Container runtime
// contract").
func httpEnv(m wire.Init, port string) map[string]string {
	return map[string]string{
		"PORT":            port,
		"K_SERVICE":       m.Function,
		"K_CONFIGURATION": m.Function,
		"K_REVISION":      fmt.Sprintf("%s-%05d", m.Function, m.Version),
	}
}

// functionARN names the function where Lambda clients expect an ARN. Its region
// and account are placeholders.
func functionARN(m wire.Init) string {
	return fmt.Sprintf("arn:aws:lambda:local:000000000000:function:%s:%d", m.Function, m.Version)
}
