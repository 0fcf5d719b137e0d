package stock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipdc/ipdc/images"
)

// mergedUsr is mmdebstrap's own hook for roots without the usrmerge package,
// which would bring the whole of Perl.
const mergedUsr = "/usr/share/mmdebstrap/hooks/merged-usr"

// bootstrap writes the recipe's root file system as a tar to out. Each line
// of talk goes to cfg.Progress.
func bootstrap(ctx context.Context, cfg Config, r images.Recipe, out string) error {
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is missing, which builds Debian roots; on Debian and Ubuntu: sudo apt-get install -y mmdebstrap debian-archive-keyring")
	}
	args := []string{
		"--variant=essential", "--format=tar",
		"--include=" + strings.Join(r.Packages, ","),
		"--dpkgopt=force-unsafe-io", // a root that is lost in a crash is built again
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
	}
	if _, err := os.Stat(mergedUsr); err == nil {
		args = append(args, "--hook-dir="+mergedUsr)
	}
	hooks, env, err := wheels(cfg, r, filepath.Dir(out))
	if err != nil {
		return err
	}
	args = append(args, hooks...)
	for _, cmd := range r.Run {
		args = append(args, `--customize-hook=chroot "$1" sh -ec `+quote(cmd))
	}
	for _, opt := range proxies(ctx) {
		args = append(args, "--aptopt="+opt)
	}
	args = append(args, r.Suite, out)
	args = append(args, sources(ctx, r.Suite)...)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = filepath.Dir(out)
	cmd.Env = append(env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.Epoch, 10), "LC_ALL=C.UTF-8")
	// On an interrupt it unmounts and removes its root; killed, it would not.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return run(cmd, cfg.Progress)
}

// run runs cmd and hands the name of each of its steps to progress. The last
// lines it wrote are in the error.
func run(cmd *exec.Cmd, progress func(string)) error {
	const keep = 15
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	var last []string
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		line := lines.Text()
		if step, ok := strings.CutPrefix(line, "I: "); ok {
			progress(step)
		}
		last = append(last, line[strings.LastIndexByte(line, '\r')+1:])
		last = last[max(0, len(last)-keep):]
	}
	// A line that is too long ends the scan, but must not block the command.
	if _, err := io.Copy(io.Discard, pipe); err != nil {
		return fmt.Errorf("read from %s: %w", cmd.Path, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("mmdebstrap: %w:\n%s\n(it needs root rights, or user namespaces with uidmap; a missing key means: apt-get install -y debian-archive-keyring)",
			err, strings.Join(last, "\n"))
	}
	return nil
}

// sources returns the host's own apt sources of the suite, so that a mirror
// that works for the host works here; none on a host of another suite, where
// mmdebstrap's default serves.
func sources(ctx context.Context, suite string) []string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "deb $(SITE) $(RELEASE) $(COMPONENT)",
		"Created-By: Packages", "Origin: Debian", "Component: main").Output()
	if err != nil {
		return nil
	}
	var lines []string
	base := false
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if len(f) != 4 || slices.Contains(lines, line) {
			continue
		}
		switch f[2] {
		case suite:
			base = true
			lines = append(lines, line)
		case suite + "-updates", suite + "-security":
			lines = append(lines, line)
		}
	}
	if !base {
		return nil
	}
	return lines
}

var proxyOption = regexp.MustCompile(`(?i)^Acquire::https?::(.*::)?Proxy[^ ]* "[^"]+";$`)

// proxies returns the host's apt options that name a proxy.
func proxies(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", `%f "%v";%n`, "Acquire").Output()
	if err != nil {
		return nil
	}
	var opts []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); proxyOption.MatchString(line) {
			opts = append(opts, line)
		}
	}
	return opts
}

// quote returns s as one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
