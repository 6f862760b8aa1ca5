package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// fromEnvironment has a command take flags that it was not given from the environment:
// --queue-length is RECENTFS_QUEUE_LENGTH. A flag that can be repeated has words there.
// So one file sets them for the service and its helper.
func fromEnvironment(cmd *cobra.Command) *cobra.Command {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			value := os.Getenv(variable(f.Name))
			if err != nil || f.Changed || value == "" || notInEnvironment[f.Name] {
				return
			}
			values := []string{value}
			if f.Value.Type() == "stringArray" {
				values = strings.Fields(value)
			}
			for _, v := range values {
				if err = cmd.Flags().Set(f.Name, v); err != nil {
					err = fmt.Errorf("%s: %w", variable(f.Name), err)
					return
				}
			}
		})
		return err
	}
	return cmd
}

// notInEnvironment are flags for the command line alone: --keep and --takeover are not
// for the process that --keep starts, which has the same environment.
var notInEnvironment = map[string]bool{"help": true, "keep": true, "takeover": true}

func variable(flag string) string {
	return "RECENTFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
