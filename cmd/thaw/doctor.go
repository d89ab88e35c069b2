package main

import (
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/doctor"
)

func newDoctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can run thaw",
		Long: `Check whether this machine can run thaw, and say what to do where it cannot.
Nothing is changed, and no daemon is needed. THAW_STATE names the daemon's state
folder. The exit code is 4 when a check fails.`,
		Example: `  thaw doctor
  thaw doctor -o json | jq '.[] | select(.status != "ok")'`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := a.setting(settingState)
			if err != nil {
				return err
			}
			return a.doctor(doctor.Run(cmd.Context(), doctor.Machine(state)))
		},
	}
}

func (a *app) doctor(results []doctor.Result) error {
	if err := a.printChecks(results); err != nil {
		return err
	}
	var failed []string
	for _, r := range doctor.Failed(results) {
		failed = append(failed, r.Name)
	}
	if len(failed) == 0 {
		return nil
	}
	return thaw.Errorf(thaw.CodeUnavailable, "thaw cannot run here, these checks failed: %s", strings.Join(failed, ", "))
}

func (a *app) printChecks(results []doctor.Result) error {
	if a.asValues() {
		return a.value(results)
	}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		rows = append(rows, []string{r.Name, string(r.Status), r.Detail})
		if r.Fix != "" {
			rows = append(rows, []string{"", "", "→ " + r.Fix})
		}
	}
	return writeTable(a.stdout, []string{"CHECK", "STATUS", "DETAIL"}, rows)
}
