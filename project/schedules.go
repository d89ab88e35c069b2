package project

import (
	"bytes"
	"slices"

	"thaw"
	"thaw/internal/strictyaml"
	"thaw/schedule"
)

// maxSchedules is the most a function can declare.
const maxSchedules = 32

// readSchedules reads a list of mappings. A schedule without a name is called like
// the function.
func readSchedules(p *Project, v strictyaml.Value) error {
	list, err := v.List()
	if err != nil {
		return err
	}
	if len(list) > maxSchedules {
		return v.Errorf("%d schedules are too many: write at most %d", len(list), maxSchedules)
	}
	p.Schedules = []thaw.Schedule{}
	for _, item := range list {
		s, err := readSchedule(item)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(p.Schedules, func(other thaw.Schedule) bool { return other.ID == s.ID }) {
			return item.Errorf("another one has this name, too: give each its own with name:")
		}
		p.Schedules = append(p.Schedules, s)
	}
	return nil
}

func readSchedule(v strictyaml.Value) (s thaw.Schedule, err error) {
	s.Data = []byte("{}")
	err = v.Object(map[string]strictyaml.Reader{
		"name": checked(&s.ID, thaw.CheckName),
		"cron": checked(&s.Spec, func(spec string) error { _, err := schedule.Parse(spec); return err }),
		"qualifier": checked(&s.Qualifier, func(q string) error {
			return thaw.Ref{Function: "f", Qualifier: q}.Validate()
		}),
		"event": func(v strictyaml.Value) (err error) {
			s.Data, err = v.JSON()
			return err
		},
	})
	if err == nil && s.Spec == "" {
		err = v.Errorf("has no cron: write one such as cron: \"0 9 * * MON-FRI\"")
	}
	s.Data = bytes.Clone(s.Data)
	return s, err
}

// checked reads a string that check must not refuse.
func checked(to *string, check func(string) error) strictyaml.Reader {
	return func(v strictyaml.Value) (err error) {
		if *to, err = nonEmpty(v); err != nil {
			return err
		}
		if err := check(*to); err != nil {
			return v.Errorf("%w", err)
		}
		return nil
	}
}

func readBuild(p *Project, v strictyaml.Value) (err error) {
	p.Build, err = nonEmpty(v)
	return err
}
