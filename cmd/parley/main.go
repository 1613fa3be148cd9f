// Command parley is the standalone server and the tools around it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in.
func run(args []string, in io.Reader, out, problems io.Writer) int {
	root := &cobra.Command{
		Use:   "parley",
		Short: "Real-time messaging and a live community in one binary",
		Long: "Parley carries messages between browsers, programs and devices as they happen.\n" +
			"Start everything with `parley serve`; it prints where to click.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(problems)
	root.AddCommand(serveCommand(), tokenCommand(), pubCommand(), subCommand(),
		backupCommand(), restoreCommand(), checkCommand(), benchCommand(), versionCommand())
	stop, force, release := signals()
	defer release()
	if err := root.ExecuteContext(context.WithValue(stop, forceKey{}, force)); err != nil {
		_, _ = fmt.Fprintf(problems, "parley: %v\n", err) // nobody is left to tell
		return 1
	}
	return 0
}
