package main

import (
	"cmp"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
)

// serveFlags are the settings that have a flag: those one changes from start to
// start. All others have a line in the file and a variable.
func serveFlags() []string {
	return []string{"addr", "frame_addr", "mqtt_addr", "data", "node", "broker", "public_url", "log.level", "log.format"}
}

func flagOf(key string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(key)
}

func serveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Start the server and the community",
		Long: "Start everything in one process. Nothing has to be set: state goes to ./data and the\n" +
			"address is 127.0.0.1:8080. docs/configuration.md lists all settings.",
		Example: "  parley serve\n" +
			"  parley serve --addr :8080 --data /var/lib/parley\n" +
			"  PARLEY_API_KEY=$(openssl rand -hex 32) parley serve --config parley.yaml",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd, cmp.Or(file, os.Getenv("PARLEY_CONFIG")))
		},
	}
	c.Flags().StringVar(&file, "config", "", "YAML file with settings (PARLEY_CONFIG)")
	for _, s := range config.Settings() {
		for _, key := range serveFlags() {
			if s.Key == key {
				c.Flags().String(flagOf(key), "", strings.TrimSuffix(strings.ReplaceAll(s.Doc, "`", ""), ".")+" ("+s.Env()+")")
			}
		}
	}
	return c
}

func serve(cmd *cobra.Command, file string) error {
	given := map[string]string{}
	for _, key := range serveFlags() {
		if f := cmd.Flags().Lookup(flagOf(key)); f.Changed {
			given[key] = f.Value.String()
		}
	}
	cfg, err := config.Load(config.Sources{File: file, Environ: os.Environ(), Flags: given})
	if err != nil {
		return err
	}
	return server.Serve(cmd.Context(), forceOf(cmd.Context()), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
}
