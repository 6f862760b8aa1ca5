package main

import "github.com/spf13/cobra"

// repairHelp makes cobra's own commands, help and completion, refuse a command
// that does not exist, which they would take for none at all.
func repairHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Use = "help [COMMAND...]"
			cmd.RunE = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				if len(rest) > 0 {
					return about.Args(about, rest)
				}
				about.InitDefaultHelpFlag()
				return about.Help()
			}
		case "completion":
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}
