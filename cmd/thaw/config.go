package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"thaw"
	"thaw/project"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config [DIR]",
		Short: "Show and change settings, and where each comes from",
		Long: `Show every setting and where it comes from: a flag, the environment, thaw.yaml in the
current folder or in DIR, your own settings, or the default. The first of these that
has it counts. Your own settings are in
$XDG_CONFIG_HOME/thaw/config.yaml, else ~/.config/thaw/config.yaml; thaw config set
changes them.

` + settingsHelp(),
		Example: `  thaw config
  thaw config ./hello
  thaw config set addr 127.0.0.1:8000
  thaw config set output json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("unexpected argument %q", args[1])
			}
			return nil
		},
		ValidArgsFunction: completeFolders,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.config(cmd.Flags(), append(args, ".")[0])
		},
	}
	cmd.AddCommand(newConfigSetCommand(a), newConfigUnsetCommand(a))
	return cmd
}

func settingsHelp() string {
	var b strings.Builder
	b.WriteString("Settings:\n")
	for _, s := range settings() {
		fmt.Fprintf(&b, "  %-8s %-12s %s\n", s.name, s.env, s.doc)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// configRow is a setting as it is shown.
type configRow struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	From    string `json:"from"`
}

func (a *app) config(flags *pflag.FlagSet, dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not a folder: name the one that holds thaw.yaml", dir)
	}
	p, err := readProject(dir)
	if err != nil {
		return err
	}
	u, err := readUserFile()
	if err != nil {
		return err
	}
	rows, err := configRows(flags, p, u)
	if err != nil || a.asValues() {
		return firstOf(err, func() error { return a.value(rows) })
	}
	cells := make([][]string, 0, len(rows))
	for _, r := range rows {
		cells = append(cells, []string{r.Setting, orDash(oneLine(r.Value)), r.From})
	}
	return writeTable(a.stdout, []string{"SETTING", "VALUE", "FROM"}, cells)
}

func firstOf(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

// configRows are the user's settings and then, in a folder with a project file, those
// of the function.
func configRows(flags *pflag.FlagSet, p project.Project, u userFile) (rows []configRow, err error) {
	for _, s := range settings() {
		o, err := s.resolve(flags, fromProject(p, s.name), u)
		if err != nil {
			return nil, err
		}
		rows = append(rows, configRow{s.name, o.value, o.from})
	}
	if !p.Exists() {
		return rows, nil
	}
	for _, k := range project.Keys() {
		if slices.ContainsFunc(rows, func(r configRow) bool { return r.Setting == k.Name }) {
			continue
		}
		if o := fromProject(p, k.Name); o.from != "" {
			rows = append(rows, configRow{k.Name, o.value, o.from})
		} else {
			rows = append(rows, configRow{k.Name, k.Default, fromDefault})
		}
	}
	return rows, nil
}

// fromProject is a key of the project file, its zero value if the file has it not.
func fromProject(p project.Project, key string) origin {
	return origin{p.Text(key), p.Set(key)}
}

func newConfigSetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set SETTING VALUE",
		Short: "Change one of your own settings",
		Long:  "Change one of your own settings, in the file that thaw config names.\n\n" + settingsHelp(),
		Example: `  thaw config set addr 127.0.0.1:8000
  thaw config set output yaml`,
		Args:              arguments("SETTING", "VALUE"),
		ValidArgsFunction: completeSettings,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := findSetting(args[0])
			if err != nil {
				return err
			}
			if err := s.check(args[1]); err != nil {
				return thaw.Errorf(thaw.CodeInvalid, "%s %q: %w", s.name, args[1], err)
			}
			return a.changeConfig(s.name, args[1])
		},
	}
}

func newConfigUnsetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "unset SETTING",
		Short:             "Take one of your own settings back",
		Long:              "Take one of your own settings back: the default holds again.",
		Example:           "  thaw config unset addr",
		Args:              arguments("SETTING"),
		ValidArgsFunction: completeSettings,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := findSetting(args[0])
			if err != nil {
				return err
			}
			return a.changeConfig(s.name, "")
		},
	}
}

// completeSettings offers the names of settings, and then what one can be.
func completeSettings(cmd *cobra.Command, args []string, begun string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		for _, s := range settings() {
			words = append(words, cobra.CompletionWithDesc(s.name, s.doc))
		}
	case len(args) == 1 && cmd.Name() == "set":
		s, err := findSetting(args[0])
		if err == nil {
			words = s.words
		}
	}
	return fitting(words, args, begun), cobra.ShellCompDirectiveNoFileComp
}

// changeConfig writes a setting into the user's file; "" takes it out.
func (a *app) changeConfig(name, value string) error {
	u, err := readUserFile()
	if err != nil {
		return err
	}
	if u.path == "" {
		return thaw.Errorf(thaw.CodeInvalid, "there is no home folder for your settings: set HOME or XDG_CONFIG_HOME")
	}
	content, err := u.with(name, value)
	if err != nil {
		return err
	}
	if err := u.write(content); err != nil {
		return err
	}
	if a.asValues() {
		return a.value(configRow{name, value, u.path})
	}
	_, err = fmt.Fprintf(a.stdout, "%s is %s in %s\n", name, orDash(value), u.path)
	return written(err)
}
