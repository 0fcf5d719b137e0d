package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ipdc/ipdc/internal/durable"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// settingView is one row of config show.
type settingView struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Origin  string `json:"origin"` // default, "flag --x", "env X", "file PATH", or see originFixed
	Default string `json:"default"`
	Unit    string `json:"unit"`
	Means   string `json:"means"`
	Reason  string `json:"reason"` // of the default
}

func (a *app) configCmd() *cobra.Command {
	return group("config", "Show and change the settings", a.configShowCmd(), a.configGetCmd(), a.configSetCmd(), a.configUnsetCmd())
}

func (a *app) configShowCmd() *cobra.Command {
	var withOrigin bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show every setting with the reason for its default",
		Long: "Show prints every setting: flags win over IPDC_* variables, those over config.yaml\n" +
			"in the state directory, that over ipdc/config.yaml in the user's configuration\n" +
			"directory (which is not read where IPDC_PATH is set), and that over the default. A\n" +
			"node reads its settings when it starts. The last rows are no settings: bounds that\n" +
			"are the same everywhere, and what a job has that does not say.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			var list []settingView
			rows := [][]string{{"SETTING", "VALUE"}}
			if withOrigin {
				rows[0] = append(rows[0], "ORIGIN")
			}
			rows[0] = append(rows[0], "UNIT", "REASON FOR THE DEFAULT")
			for _, k := range a.set.table() {
				list = append(list, a.view(k))
			}
			list = append(list, fixed()...)
			for _, s := range list {
				row, def := []string{s.Name, s.Value}, s.Default
				if withOrigin {
					row = append(row, s.Origin)
				}
				if s.Origin == originFixed || s.Origin == originSpec {
					def = s.Origin
				}
				rows = append(rows, append(row, s.Unit, def+": "+s.Reason))
			}
			return a.print(list, "", func(w io.Writer) error { return table(w, rows) })
		},
	}
	cmd.Flags().BoolVar(&withOrigin, "origin", false, "say where each value is from: flag, env, file or default")
	return cmd
}

func (a *app) configGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get SETTING", Short: "Print the value of a setting", Args: usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeSetting,
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.set.knob(args[0])
			if err != nil {
				return usageError{err}
			}
			return a.print(a.view(k), k.value(), func(w io.Writer) error {
				_, err := fmt.Fprintln(w, visible(k.value()))
				return err
			})
		},
	}
}

func (a *app) view(k knob) settingView {
	s := settingView{k.key, k.show(), a.set.origins[k.key], k.def, k.unit, k.usage, k.why}
	if s.Default == "" {
		s.Default = "(" + k.empty + ")"
	}
	return s
}

func (a *app) configSetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "set SETTING VALUE...", Short: "Write a setting to config.yaml in the state directory",
		Args: usageArgs(cobra.MinimumNArgs(2)), ValidArgsFunction: a.completeSetting,
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.set.knob(args[0])
			if err != nil {
				return usageError{err}
			}
			_, list := k.to.(*[]string)
			switch {
			case k.key == "path":
				return usagef("path: a file in the state directory cannot name another one; use --path or IPDC_PATH")
			case len(args) > 2 && !list:
				return usagef("%s has one value", k.key)
			}
			var value any = args[1]
			if list {
				value = args[1:]
			}
			if err := k.take(value); err != nil {
				return usagef("%s: %w", k.key, err)
			}
			return a.changeConfig(k, value)
		},
	}
}

func (a *app) configUnsetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unset SETTING", Short: "Take a setting out of config.yaml in the state directory",
		Args: usageArgs(cobra.ExactArgs(1)), ValidArgsFunction: a.completeSetting,
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.set.knob(args[0])
			if err != nil {
				return usageError{err}
			}
			if err := k.take(nil); err != nil {
				return err
			}
			return a.changeConfig(k, nil)
		},
	}
}

func (a *app) completeSetting(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		for _, k := range new(settings).table() {
			names = append(names, k.key+"\t"+k.usage)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// changeConfig sets a key of config.yaml, or removes it when value is nil.
// Comments and the order of keys stay.
func (a *app) changeConfig(k knob, value any) error {
	file := filepath.Join(a.set.Path, configName)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return usagef("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	if err := setKey(doc.Content[0], k.key, value); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if b, err = yaml.Marshal(&doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := writeConfig(file, b); err != nil {
		return err
	}
	a.say("wrote %s; a node heeds it from its next start on", file)
	for _, name := range k.variables() {
		if os.Getenv(name) != "" {
			a.say("note: %s is set here and wins over the file", name)
		}
	}
	a.set.origins[k.key] = "default"
	if value != nil {
		a.set.origins[k.key] = "file " + file
	}
	return a.print(a.view(k), k.key, nothing)
}

// setKey changes one key of a YAML mapping.
func setKey(m *yaml.Node, key string, value any) error {
	if n, err := strconv.Atoi(fmt.Sprint(value)); err == nil && strconv.Itoa(n) == value {
		value = n // written without quotes
	}
	node := &yaml.Node{}
	if err := node.Encode(value); err != nil {
		return err
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != key {
			continue
		}
		if value == nil {
			m.Content = append(m.Content[:i], m.Content[i+2:]...)
		} else {
			m.Content[i+1] = node
		}
		return nil
	}
	if value != nil {
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, node)
	}
	return nil
}

func writeConfig(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	if err := durable.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
