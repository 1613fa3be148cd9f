package main

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/server/backup"
)

func checkCommand() *cobra.Command {
	var repair bool
	var to string
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "Read everything in a data folder or a backup and tell what is damaged",
		Long: "Read everything in the data folder of a stopped server, or in a backup, and tell what is\n" +
			"damaged, by topic and number. It changes nothing. With --repair what can be read is put into a\n" +
			"new folder; restore a backup instead if it has more.",
		Example: "  parley check /var/lib/parley\n" +
			"  parley check --repair /var/lib/parley --to /var/lib/parley.saved",
		Args: cobra.MatchAll(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			// What the engine says about damage is in the findings, in better words.
			quiet := slog.New(slog.DiscardHandler)
			var found backup.Findings
			if repair {
				if to == "" {
					return errors.New("name the folder for what can be saved with --to")
				}
				found, err = backup.Repair(cmd.Context(), args[0], to, quiet)
			} else {
				found, err = backup.Check(cmd.Context(), args[0], quiet)
			}
			return errors.Join(tell(cmd, found), err, verdict(found, repair))
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "put what can be read into a new folder")
	c.Flags().StringVar(&to, "to", "", "the new folder")
	return c
}

func tell(cmd *cobra.Command, found backup.Findings) error {
	var errs []error
	for _, line := range found.Sound {
		errs = append(errs, say(cmd, "%s\n", line))
	}
	for _, line := range found.Damage {
		errs = append(errs, say(cmd, "DAMAGED %s\n", line))
	}
	return errors.Join(errs...)
}

func verdict(found backup.Findings, repair bool) error {
	if len(found.Damage) == 0 || repair {
		return nil
	}
	return errors.New("something is lost: restore a backup that has it, or save the rest with --repair --to a new folder")
}
