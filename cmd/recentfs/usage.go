package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkUsage makes a command and those below it refuse what their Use does not
// name, in the words of their Use.
func checkUsage(cmd *cobra.Command) {
	cmd.Args = checkArguments
	if cmd.HasSubCommands() {
		cmd.Args = refuseUnknownCommand
	}
	for _, sub := range cmd.Commands() {
		checkUsage(sub)
	}
}

// checkArguments counts the arguments against the words of Use: [WORD] may be left
// out, WORD... may be repeated.
func checkArguments(cmd *cobra.Command, args []string) error {
	if err := refuseEmptyFlags(cmd); err != nil {
		return err
	}
	_, use, _ := strings.Cut(cmd.Use, " ")
	if _, after, ok := strings.Cut(use, "-- "); ok {
		use = after // before it are flags
	}
	words := strings.Fields(use)
	if len(words) == 0 && len(args) > 0 {
		if cmd.Flags().Lookup("rules") != nil {
			return fmt.Errorf("takes no arguments, but %q was given: a file of rules needs --rules before it", args[0])
		}
		return fmt.Errorf("takes no arguments, but %q was given", args[0])
	}
	optional := false
	for i, word := range words {
		optional = optional || strings.HasPrefix(word, "[")
		if i == len(args) && !optional {
			return fmt.Errorf("%s is missing: recentfs %s", strings.TrimSuffix(word, "..."), cmd.Use)
		}
	}
	if len(args) > len(words) && !strings.Contains(use, "...") {
		return fmt.Errorf("%q is one argument too many: recentfs %s", args[len(words)], cmd.Use)
	}
	return nil
}

// refuseUnknownCommand is for a command that has others below it and takes nothing
// else.
func refuseUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// The shells of completion are all alike.
	if likely := suggest(cmd, args[0]); likely != "" && !cmd.HasParent() {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], likely)
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("unknown command %q: it is one of %s", args[0], strings.Join(names, ", "))
}

// suggest returns the commands below cmd that somebody may have meant by name.
func suggest(cmd *cobra.Command, name string) string {
	cmd.SuggestionsMinimumDistance = 2
	return strings.Join(cmd.SuggestionsFor(name), " or ")
}

// refuseEmptyFlags refuses --flag "", which is most often a variable that is not
// set: we would run the example instead of the rules that somebody named.
func refuseEmptyFlags(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = fmt.Errorf("--%s is empty: give it a value or leave it out", f.Name)
		}
	})
	return err
}

// explainFlagError says what is wrong with a flag in words of the command line
// instead of those of Go's parsers.
func explainFlagError(cmd *cobra.Command, err error) error {
	unknown, invalid := new(pflag.NotExistError), new(pflag.InvalidValueError)
	switch {
	case errors.As(err, &unknown):
		if likely := suggestFlag(cmd, unknown.GetSpecifiedName()); likely != "" {
			return fmt.Errorf("%w: did you mean %s?", err, likely)
		}
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return fmt.Errorf("--%s %q: %s is needed", f.Name, invalid.GetValue(), valueOf(f, invalid.Unwrap()))
	}
	return err
}

// valueOf says what a flag wants, given the error of a value that it refused.
func valueOf(f *pflag.Flag, err error) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "uint16":
		return "a number from 0 to 65535"
	case "size":
		return "a size such as 4M, 512K or 4096"
	case "int":
		return "a number of 1 or more"
	case "duration":
		return "a time such as 10m, 1h30m or 7d"
	}
	if choice := strings.Split(f.Value.Type(), "|"); len(choice) > 1 {
		return "one of " + strings.Join(choice, ", ")
	}
	if number := new(strconv.NumError); errors.As(err, &number) {
		return "another number (" + number.Err.Error() + ")"
	}
	return "another value (" + err.Error() + ")"
}

// suggestFlag returns the flags that somebody may have meant by name. cobra knows
// which commands are alike, so the flags become commands for it.
func suggestFlag(cmd *cobra.Command, name string) string {
	var flags cobra.Command
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: "--" + f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return suggest(&flags, "--"+name)
}
