package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// knob describes one setting. Its value is taken from a flag, then the variable
// IPDC_KEY, then config.yaml in the state directory or the user's configuration
// directory, then the default.
type knob struct {
	key   string
	to    any    // a pointer into settings: see set
	def   string // as a user would write it
	empty string // what an empty value means
	unit  string
	flag  where
	usage string
	why   string // the reason for the default
}

// where says which commands have a flag for a setting.
type where int

const (
	inFile     where = iota // none: the file and the variable are enough
	start                   // node start
	everywhere              // all
)

// help is the text of the flag.
func (k knob) help() string {
	return fmt.Sprintf("%s (%s; default %s)", k.usage, strings.Join(k.variables(), ", "), tilde(cmp.Or(k.def, k.empty)))
}

// loader finds the values of settings.
type loader struct {
	v     *viper.Viper
	flags map[string]*pflag.Flag // by key
}

func newLoader() *loader {
	l := &loader{v: viper.New(), flags: map[string]*pflag.Flag{}}
	for _, k := range new(settings).table() {
		if k.def != "" {
			l.v.SetDefault(k.key, k.def)
		}
		_ = l.v.BindEnv(append([]string{k.key}, k.variables()...)...) // fails without a key only
	}
	return l
}

// addFlags adds the flags of some settings to a command.
func (l *loader) addFlags(f *pflag.FlagSet, w where) {
	for _, k := range new(settings).table() {
		if k.flag != w {
			continue
		}
		if _, list := k.to.(*[]string); list {
			f.StringSlice(k.key, nil, k.help())
		} else {
			f.String(k.key, "", k.help())
		}
		l.flags[k.key] = f.Lookup(k.key)
		_ = l.v.BindPFlag(k.key, l.flags[k.key]) // fails for a missing flag only
	}
}

// variables are the environment variables of a setting, the first that is set
// wins.
func (k knob) variables() []string {
	own := "IPDC_" + strings.ToUpper(strings.ReplaceAll(k.key, "-", "_"))
	if k.key == "docker" {
		return []string{own, "DOCKER_HOST"}
	}
	return []string{own}
}

// load reads the files and takes every setting. A key that is no setting is
// refused with the nearest one.
func (l *loader) load() (s settings, err error) {
	files := map[string]string{} // key -> file
	if dir, err := os.UserConfigDir(); err == nil && os.Getenv("IPDC_PATH") == "" {
		if err := l.merge(filepath.Join(dir, "ipdc", configName), files); err != nil {
			return s, err
		}
	}
	path := l.v.GetString("path")
	if path == "" {
		return s, errors.New("no state directory: set HOME, XDG_STATE_HOME or IPDC_PATH")
	}
	own := filepath.Join(path, configName)
	if err := l.merge(own, files); errors.Is(err, fs.ErrPermission) {
		return s, fmt.Errorf("%w\nhint: this is another user's node: sudo IPDC_PATH=%s ipdc ...; or, without IPDC_PATH and --path, --api with --token-file", err, path)
	} else if err != nil {
		return s, err
	}
	if files["path"] == own {
		return s, usagef("%s: path: a file in the state directory cannot name another one; use --path or IPDC_PATH", own)
	}
	s.origins = map[string]string{}
	for _, k := range s.table() {
		s.origins[k.key] = l.origin(k, files)
		if err := k.take(l.v.Get(k.key)); err != nil {
			return s, usagef("%s (%s): %w", k.key, s.origins[k.key], err)
		}
	}
	s.Path, err = filepath.Abs(s.Path)
	return s, err
}

const configName = "config.yaml"

// merge reads a file of settings; one that is missing is empty.
func (l *loader) merge(file string, origins map[string]string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(b, &values); err != nil {
		return usagef("%s: %w", file, err)
	}
	for key, value := range values {
		if _, err := new(settings).knob(key); err != nil {
			return usagef("%s: %w", file, err)
		}
		if value == nil {
			delete(values, key)
			continue
		}
		origins[key] = file
	}
	return l.v.MergeConfigMap(values)
}

// knob finds a setting by its key.
func (s *settings) knob(key string) (knob, error) {
	list := s.table()
	if i := slices.IndexFunc(list, func(k knob) bool { return k.key == key }); i >= 0 {
		return list[i], nil
	}
	for _, f := range fixed() {
		switch {
		case f.Name == key && f.Origin == originFixed:
			return knob{}, fmt.Errorf("%s is no setting, it is %s on every node: %s", key, f.Value, f.Reason)
		case f.Name == key:
			return knob{}, fmt.Errorf("%s is no setting, each job says it, or has %s", key, f.Value)
		}
	}
	near := &cobra.Command{SuggestionsMinimumDistance: 3}
	for _, k := range list {
		near.AddCommand(&cobra.Command{Use: k.key, Run: func(*cobra.Command, []string) {}})
	}
	if found := near.SuggestionsFor(key); len(found) > 0 {
		return knob{}, fmt.Errorf("there is no setting %q; did you mean %s?", key, strings.Join(found, " or "))
	}
	return knob{}, fmt.Errorf("there is no setting %q; `ipdc config show` lists all", key)
}

// origin says where the value of a setting is from, in viper's own order.
func (l *loader) origin(k knob, files map[string]string) string {
	if f := l.flags[k.key]; f != nil && f.Changed {
		return originFlag + k.key
	}
	for _, name := range k.variables() {
		if os.Getenv(name) != "" {
			return "env " + name
		}
	}
	if file := files[k.key]; file != "" {
		return "file " + file
	}
	return "default"
}

const originFlag = "flag --"

// take parses a value as viper has it and stores it.
func (k knob) take(value any) error {
	if to, list := k.to.(*[]string); list {
		if value == nil {
			value = k.def
		}
		*to = words(value)
		return nil
	}
	t := cmp.Or(text(value), k.def)
	if t == "" {
		reflect.ValueOf(k.to).Elem().SetZero()
		return nil
	}
	if err := k.parse(t); err != nil {
		return err
	}
	n := reflect.ValueOf(k.to).Elem()
	if n.CanInt() && n.Type() != reflect.TypeFor[slog.Level]() && n.Int() <= 0 || n.CanFloat() && !(n.Float() > 0) {
		return fmt.Errorf("%q: want more than nothing", t)
	}
	return nil
}

func (k knob) parse(t string) (err error) {
	switch to := k.to.(type) {
	case *string:
		*to = t
	case *bool:
		*to, err = strconv.ParseBool(t)
	case *float64:
		*to, err = strconv.ParseFloat(t, 64)
	case *int:
		*to, err = strconv.Atoi(t)
	case *slog.Level:
		err = to.UnmarshalText([]byte(t))
	case encoding.TextUnmarshaler:
		return to.UnmarshalText([]byte(t))
	default:
		return fmt.Errorf("no way to read a %T", k.to)
	}
	if err != nil {
		return fmt.Errorf("%q: want %s", t, k.unit)
	}
	return nil
}

// words is a list, which a variable holds with commas.
func words(value any) []string {
	var list []string
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			list = append(list, text(e))
		}
	case []string:
		list = v
	default:
		list = strings.Split(text(value), ",")
	}
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
}

func text(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// show is the value as a user would write it, or what its absence means.
func (k knob) show() string {
	t := k.value()
	if t == "" {
		return "(" + k.empty + ")"
	}
	return t
}

func (k knob) value() string {
	switch to := k.to.(type) {
	case *[]string:
		return strings.Join(*to, ",")
	case *slog.Level:
		return strings.ToLower(to.String())
	}
	v := reflect.ValueOf(k.to).Elem()
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// logFormat is the form of a log line.
type logFormat string

func (f *logFormat) UnmarshalText(b []byte) error {
	if s := string(b); s != "text" && s != "json" {
		return fmt.Errorf("%q: want text or json", s)
	}
	*f = logFormat(b)
	return nil
}
