package project

import (
	"strings"

	"thaw"
	"thaw/internal/strictyaml"
)

// Key is a key of the project file. Its texts are for people.
type Key struct {
	Name string
	// Type is what its value is.
	Type string
	// Default is what holds without it, "" where nothing does.
	Default string
	// Doc says in a sentence what it is for.
	Doc  string
	read func(*Project, strictyaml.Value) error
}

// Keys returns every key, in the order of the reference. What depends on another
// key comes after it.
func Keys() []Key {
	return []Key{
		{"name", "string", "", "the function's name, unless `thaw deploy NAME` gives another", readName},
		{"runtime", "string", "python3", "what executes it: " + runtimes(), readRuntime},
		{"handler", "string", "app.handler for python3, index.handler for node, ./bootstrap for http", "what python3 and node call, as `module.function`; the command that starts the server for http", readHandler},
		{"memory", "size", "256MiB", "memory of each VM, 128MiB to 4GiB, a whole number of MiB", readMemory},
		{"timeout", "duration", "30s", "the most an invocation may take, 100ms to 15m", readTimeout},
		{"env", "map of strings", "", "environment variables; values are taken as they are written", readEnv},
		{"packages", "list of strings", "", "Debian packages that the code needs, such as `python3-numpy`; `provided` has a shell with any", readPackages},
		{"install_scripts", "bool", "false", "let packages of `requirements.txt` or `package.json` execute code of theirs while they are installed", readInstallScripts},
		{"secrets", "list of strings", "", "secrets that it finds in /run/thaw/secrets, see [secrets](secrets.md)", readSecrets},
		{"image", "string", "", "the OCI image that it is made of, see runtimes.md; a path is one from this folder", readImage},
		{"entry_point", "list of strings", "", "what is executed instead of the image's ENTRYPOINT, by words", readEntryPoint},
		{"command", "list of strings", "", "what follows it instead of the image's CMD, by words", readCommand},
		{"working_directory", "string", "", "where it is executed instead of the image's WORKDIR", readWorkingDirectory},
		{"prime", "list of events", "", "sample events that it serves before its snapshot is taken, each in YAML or JSON, see [publish](publish.md)", readPrime},
		{"skip_record", "bool", "false", "leave the first working set to the first cold start", readSkipRecord},
		{"policy", "string", "auto", "how its VMs get their memory when an invocation does not say: " + policies(), readPolicy},
		{"build", "string", "", "a shell command that `thaw deploy` runs in the folder first, such as `go build -o bootstrap .`", readBuild},
		{"schedules", "list of schedules", "", "all that the function is to have, see below; without the key those there are stay", readSchedules},
		{"description", "string", "", "what it is, for people, of at most 256 bytes", readDescription},
		{"concurrency", "number", "1", "how many invocations a VM serves at once; more than one is for runtimes http and provided", readConcurrency},
		{"min_scale", "number", "0", "how many VMs are kept warm while the version serves", readMinScale},
		{"max_scale", "number", "as the daemon has it", "the most VMs at once", readMaxScale},
		{"idle_timeout", "duration", "as the daemon has it", "how long a VM waits for the next invocation, 1s to 24h", readIdleTimeout},
		{"keep_alive", "string", "fixed", "how that is decided: `fixed`, or `histogram` for what idle times were seen ([scaling](scaling.md))", readKeepAlive},
	}
}

func runtimes() string {
	var names []string
	for _, r := range thaw.Runtimes() {
		names = append(names, "`"+string(r)+"`")
	}
	return strings.Join(names, ", ")
}

func policies() string {
	var names []string
	for _, p := range thaw.Policies() {
		names = append(names, "`"+string(p)+"`")
	}
	return strings.Join(names, ", ")
}

func readName(p *Project, v strictyaml.Value) (err error) {
	p.Name, err = nonEmpty(v)
	return err
}

func readRuntime(p *Project, v strictyaml.Value) error {
	text, err := nonEmpty(v)
	p.Settings.Runtime = thaw.Runtime(text)
	return err
}

func readHandler(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Handler, err = nonEmpty(v)
	return err
}

func readMemory(p *Project, v strictyaml.Value) error {
	text, err := v.Written()
	if err != nil {
		return err
	}
	n, err := ParseSize(text)
	if err != nil {
		return v.Errorf("%w", err)
	}
	if n == 0 { // which means the default
		return v.Errorf("0 is out of range: choose 128MiB to 4GiB")
	}
	p.Settings.MemoryBytes = n
	return nil
}

func readTimeout(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Timeout, err = v.Duration()
	if err == nil && p.Settings.Timeout == 0 { // which means the default
		err = v.Errorf("0 is out of range: choose %s to %s", thaw.MinTimeout, thaw.MaxTimeout)
	}
	return err
}

func readEnv(p *Project, v strictyaml.Value) error {
	entries, err := v.Entries()
	if err != nil {
		return err
	}
	p.Settings.Env = map[string]string{}
	for _, e := range entries {
		if p.Settings.Env[e.Key], err = e.Written(); err != nil {
			return err
		}
	}
	return nil
}

func readPackages(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Packages, err = v.Texts()
	return err
}

func readInstallScripts(p *Project, v strictyaml.Value) (err error) {
	p.Settings.InstallScripts, err = v.Bool()
	return err
}

func readSecrets(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Secrets, err = v.Texts()
	return err
}

func readPrime(p *Project, v strictyaml.Value) error {
	list, err := v.List()
	if err != nil {
		return err
	}
	for _, item := range list {
		event, err := item.JSON()
		if err != nil {
			return err
		}
		p.Settings.Prime = append(p.Settings.Prime, event)
	}
	return nil
}

func readSkipRecord(p *Project, v strictyaml.Value) (err error) {
	p.Settings.SkipRecord, err = v.Bool()
	return err
}

func readPolicy(p *Project, v strictyaml.Value) error {
	text, err := nonEmpty(v)
	p.Settings.Policy = thaw.Policy(text)
	return err
}

func readDescription(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Description, err = nonEmpty(v)
	return err
}

func readImage(p *Project, v strictyaml.Value) (err error) {
	image(p).Reference, err = nonEmpty(v)
	return err
}

func readEntryPoint(p *Project, v strictyaml.Value) (err error) {
	image(p).EntryPoint, err = v.Texts()
	return err
}

func readCommand(p *Project, v strictyaml.Value) (err error) {
	image(p).Command, err = v.Texts()
	return err
}

func readWorkingDirectory(p *Project, v strictyaml.Value) (err error) {
	image(p).WorkingDirectory, err = nonEmpty(v)
	return err
}

// image is what p says of an image, at first nothing.
func image(p *Project) *thaw.ContainerImage {
	if p.Settings.Image == nil {
		p.Settings.Image = &thaw.ContainerImage{}
	}
	return p.Settings.Image
}

// nonEmpty reads a string that cannot be empty: that would mean the default.
func nonEmpty(v strictyaml.Value) (string, error) {
	text, err := v.Text()
	if err == nil && text == "" {
		err = v.Errorf("is empty: write a value, or leave the key out")
	}
	return text, err
}
