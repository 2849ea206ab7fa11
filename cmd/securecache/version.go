package main

import (
	"crypto/fips140"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  takes(),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.show(v, func(w io.Writer) error {
				rows := [][]string{{"securecache", v.Version}}
				if v.Commit != "" {
					rows = append(rows, []string{"commit", v.Commit})
				}
				rows = append(rows, []string{"go", v.Go}, []string{"platform", v.Platform}, []string{"fips 140", v.FIPS})
				return lines(w, rows...)
			})
		},
	}
}

type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	FIPS     string `json:"fips140"` // off, on or only
}

// readVersion says what the build recorded: the module's version where it was
// installed by one, the commit where it was built from a working copy.
func readVersion() version {
	v := version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, FIPS: "off"}
	switch {
	case fips140.Enforced():
		v.FIPS = "only"
	case fips140.Enabled():
		v.FIPS = "on"
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if build.Main.Version != "" {
		v.Version = build.Main.Version
	}
	for _, s := range build.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value + v.Commit
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Commit += " (modified)"
		}
	}
	return v
}
