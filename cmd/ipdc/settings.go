package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// settings are taken from flags, then IPDC_* variables, then config.yaml in
// the state or XDG configuration directory, then defaults.
type settings struct {
	Path      string `mapstructure:"path"`       // state directory
	API       string `mapstructure:"api"`        // address of the node's API; "" = the socket in Path
	TokenFile string `mapstructure:"token-file"` // for API by TCP
	CPU       string `mapstructure:"cpu"`        // node start: processors for jobs
	Memory    string `mapstructure:"memory"`     // node start: memory for jobs
	Disk      string `mapstructure:"disk"`       // node start: disk for outputs
	Listen    string `mapstructure:"listen"`     // node start: TCP address of the API
	Docker    string `mapstructure:"docker"`     // engine's address
	Guest     string `mapstructure:"guest"`      // ipdc-guest binary
	LogLevel  string `mapstructure:"log-level"`  // node start
}

func bindSettings(f *pflag.FlagSet) *viper.Viper {
	v := viper.New()
	v.SetEnvPrefix("IPDC")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	for key, def := range map[string]string{
		"path": defaultPath(), "api": "", "token-file": "", "cpu": "", "memory": "", "disk": "",
		"listen": "127.0.0.1:0", "docker": "", "guest": "", "log-level": "info",
	} {
		v.SetDefault(key, def)
		_ = v.BindEnv(key) // fails without a key only
	}
	f.String("path", "", "state directory of the node (IPDC_PATH; default "+tilde(defaultPath())+")")
	f.String("api", "", "address of another node's API: http://127.0.0.1:PORT or unix:///PATH (IPDC_API)")
	f.String("token-file", "", "file with the token for --api (IPDC_TOKEN_FILE)")
	for _, key := range []string{"path", "api", "token-file"} {
		_ = v.BindPFlag(key, f.Lookup(key)) // fails for a missing flag only
	}
	return v
}

// nodeKeys are the settings that are flags of node start.
var nodeKeys = []struct{ key, usage string }{
	{"cpu", "processors that jobs may use together (IPDC_CPU; default all)"},
	{"memory", "memory that jobs may use together (IPDC_MEMORY; default 80 % of the machine's)"},
	{"disk", "disk that running jobs' outputs may use together (IPDC_DISK; default 80 % of what is free)"},
	{"listen", "TCP address of the API on the loopback interface (IPDC_LISTEN; default a port chosen at the first start)"},
	{"docker", "address of the Docker Engine (IPDC_DOCKER, DOCKER_HOST; default unix:///var/run/docker.sock)"},
	{"guest", "the ipdc-guest binary (IPDC_GUEST; default beside ipdc)"},
	{"log-level", "debug, info, warn or error (IPDC_LOG_LEVEL; default info)"},
}

func loadSettings(v *viper.Viper) (s settings, err error) {
	path := v.GetString("path")
	if path == "" {
		return s, errors.New("no state directory: set HOME, XDG_STATE_HOME or IPDC_PATH")
	}
	for _, file := range configFiles(path) {
		v.SetConfigFile(file)
		if err := v.MergeInConfig(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, usagef("read %s: %w", file, err)
		}
	}
	if err := v.UnmarshalExact(&s); err != nil {
		return s, usagef("configuration: %w", err)
	}
	s.Path, err = filepath.Abs(s.Path)
	return s, err
}

// configFiles are read in this order; later ones win.
func configFiles(path string) []string {
	files := []string{}
	if dir, err := os.UserConfigDir(); err == nil && os.Getenv("IPDC_PATH") == "" {
		files = append(files, filepath.Join(dir, "ipdc", "config.yaml"))
	}
	return append(files, filepath.Join(path, "config.yaml"))
}

// defaultPath follows the XDG base directory specification.
func defaultPath() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ipdc")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "ipdc")
}

func tilde(path string) string {
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(path, home+"/") {
		return "~" + path[len(home):]
	}
	return path
}

// maxSocket is the longest socket path that is used; the kernel's limit is 107
// bytes.
const maxSocket = 100

// socket is the path of the node's API socket: in the state directory, or
// under a hashed name in the runtime directory when that path is too long.
func (s settings) socket() string {
	path := filepath.Join(s.Path, "api.sock")
	if len(path) <= maxSocket {
		return path
	}
	sum := sha256.Sum256([]byte(s.Path))
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || len(dir) > 60 {
		dir = fmt.Sprintf("/tmp/ipdc-%d", os.Getuid())
	}
	return filepath.Join(dir, "ipdc-"+hex.EncodeToString(sum[:8])+".sock")
}

// capacity is what jobs may use together.
func (s settings) capacity() (c wire.Capacity, err error) {
	c = wire.Capacity{CPU: jobspec.CPU(runtime.NumCPU()) * 1000}
	total, err := memoryTotal()
	if err != nil {
		return c, err
	}
	free, err := diskFree(s.Path)
	if err != nil {
		return c, err
	}
	c.Memory, c.Disk = total/5*4, free/5*4
	err = errors.Join(
		setting("cpu", s.CPU, &c.CPU), setting("memory", s.Memory, &c.Memory), setting("disk", s.Disk, &c.Disk),
	)
	return c, err
}

// setting reads text into a unit of jobspec unless it is empty.
func setting(name, text string, to interface{ UnmarshalText([]byte) error }) error {
	if text == "" {
		return nil
	}
	if err := to.UnmarshalText([]byte(text)); err != nil {
		return usagef("--%s %q: %w", name, text, err)
	}
	return nil
}

// readToken reads a secret from a file that only its owner may read.
func readToken(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("token file %s may be read by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
