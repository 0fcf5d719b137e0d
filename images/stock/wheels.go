package stock

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/images"
)

// The places of what pip is given, in the root. Nothing of /tmp gets into an
// image.
const (
	wheelList   = "/tmp/wheels.txt"
	authorities = "/tmp/authorities.pem"
)

// installWheels has pip put wheels, and nothing but what their hashes allow,
// where Debian's python3 looks.
const installWheels = `set -- /usr/share/python-wheels/pip-*.whl; python3 "$1/pip" install ` +
	`--quiet --no-input --no-cache-dir --disable-pip-version-check --root-user-action ignore --no-compile ` +
	`--no-deps --only-binary :all: --require-hashes --target /usr/local/lib/python3.11/dist-packages -r ` + wheelList

// hostFiles are variables that name files of the host, which pip would miss in
// the root.
var hostFiles = []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// wheels returns mmdebstrap's arguments that install the recipe's wheels, and
// the environment that it needs for them: the host's own, with pip's settings
// replaced. What is uploaded stands in dir.
func wheels(cfg Config, r images.Recipe, dir string) (args, env []string, err error) {
	if r.Wheels == "" {
		return nil, os.Environ(), nil
	}
	env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "PIP_") || slices.Contains(hostFiles, name)
	})
	list := filepath.Join(dir, "wheels.txt")
	if err := os.WriteFile(list, r.WheelList(), 0o644); err != nil {
		return nil, nil, err
	}
	upload := func(from, to string) {
		args = append(args, "--customize-hook=upload "+quote(from)+" "+to)
	}
	upload(list, wheelList)
	env = append(env, "PIP_CONFIG_FILE=/dev/null")
	if cfg.Index != "" {
		env = append(env, "PIP_INDEX_URL="+cfg.Index)
	}
	if cfg.CAFile != "" {
		if _, err := os.Stat(cfg.CAFile); err != nil {
			return nil, nil, fmt.Errorf("certificate authorities for the package index: %w", err)
		}
		upload(cfg.CAFile, authorities)
		env = append(env, "PIP_CERT="+authorities)
	}
	return append(args, `--customize-hook=chroot "$1" sh -ec `+quote(installWheels)), env, nil
}
