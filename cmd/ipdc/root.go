package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ipdc/ipdc/client"
)

// app is what commands share: streams, settings and the format of answers.
type app struct {
	in       io.Reader
	out, err io.Writer
	set      settings
	format   format
	quiet    bool
	reload   func() error // sets set from the flags as they are now
	tenant   string       // whose jobs; "" = the caller's

	cmd *cobra.Command // that is run, for its flags; nil before

	sayEvery time.Duration // between two looks at what a job waits for; 0 = 3 s
}

// run executes one command line and returns the exit code.
func run(args []string, in io.Reader, out, errw io.Writer) int {
	if code, ran := plugin(args); ran {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once: the first gave the handlers back.
	context.AfterFunc(ctx, stop)
	a := &app{in: in, out: out, err: errw}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "ipdc",
		Short:         "Turn CIDs into CIDs: run programs where the data is",
		Long:          "ipdc runs a program over the data behind a CID, beside the node that holds it,\nand gives back one result CID.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	cmd.SetFlagErrorFunc(flagError)
	f := cmd.PersistentFlags()
	f.VarP(&a.format, "output", "o", "format of the answer: text, json, yaml, wide or name")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print ids only")
	load := newLoader()
	load.addFlags(f, everywhere)
	a.reload = func() (err error) {
		a.set, err = load.load()
		return err
	}
	cmd.PersistentPreRunE = func(run *cobra.Command, _ []string) (err error) {
		a.cmd = run
		if a.quiet && a.format == "" {
			a.format = formatName
		}
		return a.reload()
	}
	cmd.AddCommand(a.nodeCmd(load), a.addCmd(), a.getCmd(), a.lsCmd(), a.exportCmd(), a.importCmd(), a.pinCmd(), a.dataCmd(), a.datasetCmd(),
		a.jobCmd(), a.cronCmd(), a.clCmd(), a.mrCmd(), a.tfCmd(), a.imageCmd(), a.receiptCmd(), a.doctorCmd(), a.configCmd(), a.tokenCmd(), a.domainCmd(), a.peersCmd(), a.ipfsCmd(), a.versionCmd())
	a.addCompletions(cmd)
	return cmd
}

// plugin runs ipdc-NAME from PATH for a NAME that is no command here, as git
// and kubectl do. The program is told which node the settings name.
func plugin(args []string) (code int, ran bool) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.ContainsAny(args[0], "/\x00") {
		return 0, false
	}
	root := (&app{}).root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	if c, _, err := root.Find(args); err == nil && c != root || strings.HasPrefix(args[0], "__") {
		return 0, false
	}
	path, err := exec.LookPath("ipdc-" + args[0])
	if err != nil {
		return 0, false
	}
	err = syscall.Exec(path, append([]string{path}, args[1:]...), pluginEnv(os.Environ()))
	fmt.Fprintf(os.Stderr, "ipdc: run %s: %v\n", path, err)
	return exitError, true
}

// pluginEnv adds what client.FromEnv reads, in place of what is there of it. Settings that cannot be read are
// for a program that asks ipdc itself to complain about.
func pluginEnv(env []string) []string {
	set, err := newLoader().load()
	if err != nil {
		return env
	}
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return name == client.EnvAddress || name == client.EnvTokenFile
	})
	env = append(env, client.EnvAddress+"="+cmp.Or(set.API, "unix://"+set.socket()))
	if set.API != "" && set.TokenFile != "" {
		env = append(env, client.EnvTokenFile+"="+set.TokenFile)
	}
	return env
}

// client returns a client of the node that the settings name. It waits for the
// node of path when that has begun to start.
func (a *app) client() (*client.Client, error) {
	var opts []client.Option
	if a.tenant != "" {
		opts = append(opts, client.WithTenant(a.tenant))
	}
	if addr := a.set.API; addr != "" {
		if a.set.TokenFile != "" {
			secret, err := readToken(a.set.TokenFile)
			if err != nil {
				return nil, err
			}
			opts = append(opts, client.WithToken(secret))
		}
		c, err := client.New(addr, opts...)
		if err != nil {
			return nil, usageError{err}
		}
		return c, nil
	}
	awaitSocket(a.set.Path, a.set.socket())
	return client.New("unix://"+a.set.socket(), opts...)
}

// withClient calls do with a client of the node and closes it.
func (a *app) withClient(do func(*client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// say writes a line of talk to stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

// tty reports whether w is a terminal.
func tty(w io.Writer) bool { return terminal(w) }

// ttyIn reports whether r is a terminal.
func ttyIn(r io.Reader) bool { return terminal(r) }

func terminal(s any) bool {
	f, ok := s.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// usageArgs makes a wrong number of arguments a usage error that shows how the
// command is used.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w\nusage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// group makes a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: helpOrUnknown, SuggestionsMinimumDistance: 2}
	cmd.AddCommand(subs...)
	return cmd
}

var errInterrupted = errors.New("interrupted")
