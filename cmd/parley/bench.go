package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/bench"
	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/swarm"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/datadir"
)

type benchFlags struct {
	bench.Options

	protocol      string
	token, tokens string
	data, config  string
	spawn, json   bool
}

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Load a server and measure what it costs",
		Long: "Load a server, check that no message is lost, doubled or out of order, and report times and what the\n" +
			"server spent. Without --url a server of its own is started, with an empty data folder that is removed\n" +
			"afterwards. The end is not 0 when anything was not as it must be.",
		Example: "  parley bench fanout\n" +
			"  parley bench idle --connections 10000\n" +
			"  parley bench storm --url ws://127.0.0.1:8080/ws --data ./data --pid $(pgrep -x parley)\n" +
			"  parley bench fanout --url ws://127.0.0.1:9000/ws --protocol raw --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no scenario %q: `parley bench` lists them", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range []struct {
		scenario bench.Scenario
		short    string
	}{
		{bench.Idle, "Connections that do nothing: how fast they come up, what they hold"},
		{bench.Fanout, "Few topics with many receivers each"},
		{bench.OneToOne, "Many topics with one receiver each, published over one connection"},
		{bench.Slow, "A few receivers are slow: do the others notice, and what does the server hold?"},
		{bench.Storm, "Everybody drops at once and comes back"},
		{bench.Resume, "Sessions come back at a steady rate to what was said without them: what does catching up cost?"},
		{bench.Soak, "Coming and going for long: does the server hold more and more?"},
	} {
		c.AddCommand(scenarioCommand(s.scenario, s.short))
	}
	return c
}

func scenarioCommand(scenario bench.Scenario, short string) *cobra.Command {
	f := benchFlags{Options: bench.Defaults(scenario)}
	c := &cobra.Command{
		Use: string(scenario), Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, f) },
	}
	f.server(c)
	f.load(c)
	return c
}

// server adds the flags about whom to load.
func (f *benchFlags) server(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.URL, "url", "", "WebSocket address of a running server; without it one is started")
	flags.BoolVar(&f.spawn, "spawn", false, "start a server even though PARLEY_URL is set")
	flags.StringVar(&f.config, "config", "", "settings of the server that is started; without it the defaults")
	flags.StringVar(&f.protocol, "protocol", string(swarm.Parley), "parley, raw (what one sends all receive) or echo")
	flags.StringVar(&f.token, "token", "", "sign in with this token")
	flags.StringVar(&f.tokens, "tokens", "", "file of tokens, one a line, for a user per connection")
	flags.StringVar(&f.data, "data", "", "the running server's data folder: sign tokens with its key")
	flags.IntVar(&f.PID, "pid", 0, "the running server's process, to read its CPU and memory")
	flags.BoolVar(&f.Mine, "yes-this-is-mine", false, "the server is not on this machine and I may load it")
	flags.BoolVar(&f.json, "json", false, "print the report as JSON")
}

// load adds the flags about what to do. A scenario has those it can use.
func (f *benchFlags) load(c *cobra.Command) {
	flags, s := c.Flags(), f.Scenario
	switch s {
	case bench.OneToOne:
		flags.IntVar(&f.Topics, "topics", f.Topics, "topics, each with a connection that receives")
	case bench.Resume:
		flags.IntVar(&f.Connections, "sessions", f.Connections, "sessions, each with a device and one subscription that acknowledges")
		flags.IntVar(&f.Topics, "topics", f.Topics, "topics that they spread over")
	default:
		flags.IntVar(&f.Connections, "connections", f.Connections, "connections that receive")
		flags.IntVar(&f.Topics, "topics", f.Topics, "topics that they spread over")
	}
	flags.StringVar(&f.Prefix, "prefix", f.Prefix, "of topics: the users may subscribe and publish below it")
	flags.IntVar(&f.Workers, "workers", f.Workers, "connects under way at once")
	flags.DurationVar(&f.Settle, "settle", f.Settle, "rest before memory is read")
	flags.DurationVar(&f.Timeout, "timeout", f.Timeout, "for one connect; and of silence before messages count as lost")
	flags.BoolVar(&f.Portable, "portable", false, "read each connection with a goroutine instead of epoll")
	switch s {
	case bench.Idle:
		flags.DurationVar(&f.Hold, "hold", f.Hold, "how long to idle")
		return
	case bench.Slow:
		flags.IntVar(&f.Messages, "messages", f.Messages, "messages to publish in each round")
		flags.IntVar(&f.Slow, "slow", f.Slow, "of the connections, those that are slow")
		flags.IntVar(&f.SlowRate, "slow-rate", f.SlowRate, "bytes a second that a slow one takes")
		flags.IntVar(&f.Rounds, "rounds", f.Rounds, "rounds without the slow, and as many with them")
		flags.Float64Var(&f.Tolerance, "tolerance", f.Tolerance, "percent by which the slow may worsen the p99 of the others; 0 is any")
		flags.IntVar(&f.QueueBytes, "queue-bytes", f.QueueBytes, "what the server may hold for one connection: its limits.queue_bytes")
	case bench.Soak:
		flags.DurationVar(&f.Duration, "duration", f.Duration, "how long")
		flags.IntVar(&f.Churn, "churn", f.Churn, "connections replaced a second")
		flags.DurationVar(&f.ResumeWindow, "resume-window", f.ResumeWindow, "how long the server keeps sessions: its limits.resume_window")
	case bench.Resume:
		flags.IntVar(&f.Messages, "messages", f.Messages, "messages that every session gets live, and as many that it misses")
		flags.IntVar(&f.InFlight, "in-flight", f.InFlight, "messages under way before the next is published")
		flags.Float64Var(&f.Returns, "rate", f.Returns, "sessions that come back in a second")
		flags.IntVar(&f.Size, "size", f.Size, "bytes of a payload")
		return
	default:
		flags.IntVar(&f.Messages, "messages", f.Messages, "messages to publish")
		flags.IntVar(&f.InFlight, "in-flight", f.InFlight, "messages under way before the next is published")
	}
	flags.Float64Var(&f.Rate, "rate", f.Rate, "messages a second; 0 is as fast as those in flight arrive")
	flags.IntVar(&f.Size, "size", f.Size, "bytes of a payload")
}

func runBench(cmd *cobra.Command, f benchFlags) (err error) {
	f.Protocol = swarm.Protocol(f.protocol)
	if f.Scenario == bench.OneToOne {
		f.Connections = f.Topics
	}
	f.Progress = cmd.ErrOrStderr()
	f.Terminal = isTerminal(f.Progress)
	if f.URL == "" && !f.spawn && f.Protocol == swarm.Parley {
		f.URL = os.Getenv("PARLEY_URL")
	}
	if f.URL == "" && f.Protocol != swarm.Parley {
		return fmt.Errorf("--protocol %s needs the --url of a server that speaks it", f.Protocol)
	}
	if f.URL == "" {
		check := f.Options
		if check.URL = "ws://127.0.0.1/ws"; check.Validate() != nil {
			return check.Validate()
		}
		stop, err := f.start(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if err := f.signIn(); err != nil {
		return err
	}
	report, err := bench.Run(cmd.Context(), f.Options)
	if err != nil {
		return err
	}
	if err := f.show(cmd, report); err != nil {
		return err
	}
	if report.Failed() {
		return errors.New("not everything was as it must be; the report says what")
	}
	return nil
}

func (f *benchFlags) show(cmd *cobra.Command, report *bench.Report) error {
	if !f.json {
		_, err := fmt.Fprint(cmd.OutOrStdout(), report.Table())
		return err
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	out.SetIndent("", "  ")
	return out.Encode(report)
}

// start runs a server as an operator would, in a process of its own so that
// what it spends can be told from what the load does. Settings that this
// process was given by its environment are not for it.
func (f *benchFlags) start(ctx context.Context) (stop func() error, err error) {
	folder, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}()
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := []string{program, "serve", "--addr", "127.0.0.1:0", "--data", folder, "--log-level", "warn"}
	if f.config != "" {
		command = append(command, "--config", f.config)
	}
	var environ []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PARLEY_") {
			environ = append(environ, v)
		}
	}
	address := regexp.MustCompile(`Open +(http://\S+)`)
	// The first start makes the admin of the community, whose password takes 64 MB to hash: memory that would hide
	// what connections take. The second is like every start after it.
	first, err := proc.Start(ctx, command, environ, address)
	if err != nil {
		return nil, err
	}
	if err := first.Stop(); err != nil {
		return nil, err
	}
	s, err := proc.Start(ctx, command, environ, address)
	if err != nil {
		return nil, err
	}
	f.URL, f.PID, f.data = s.URL+"/ws", s.PID(), folder
	return func() error { return errors.Join(s.Stop(), os.RemoveAll(folder)) }, nil
}

// signIn gets a token for every connection: those it is given, or its own.
func (f *benchFlags) signIn() error {
	switch {
	case f.Protocol != swarm.Parley:
	case f.token != "":
		f.Tokens = []string{f.token}
	case f.tokens != "":
		return f.readTokens()
	case f.data != "":
		return f.makeTokens()
	case os.Getenv("PARLEY_TOKEN") != "":
		f.Tokens = []string{os.Getenv("PARLEY_TOKEN")}
	}
	return nil
}

func (f *benchFlags) readTokens() (err error) {
	file, err := os.Open(f.tokens)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			f.Tokens = append(f.Tokens, line)
		}
	}
	if len(f.Tokens) == 0 {
		return cmp.Or(lines.Err(), fmt.Errorf("--tokens %s: there is none in it", f.tokens))
	}
	return lines.Err()
}

// makeTokens signs as `parley token` does, for the connections and the one that
// publishes.
func (f *benchFlags) makeTokens() error {
	if _, err := os.Stat(f.data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	dir, err := datadir.Open(f.data)
	if err != nil {
		return err
	}
	key, _, err := server.TokenKey(dir)
	if err != nil {
		return err
	}
	expires := time.Now().Add(f.Duration + time.Hour)
	for i := range f.Connections + 1 {
		token, err := key.Sign(auth.Identity{User: fmt.Sprintf("bench-%d", i), Expires: expires})
		if err != nil {
			return err
		}
		f.Tokens = append(f.Tokens, token)
	}
	return nil
}

// isTerminal tells whether somebody watches.
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
