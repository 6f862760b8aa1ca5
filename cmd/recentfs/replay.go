package main

import (
	"errors"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/cmd/recentfs/internal/replay"
)

func replayCommand() *cobra.Command {
	var params paramFlags
	var file string
	var asJSON bool
	var number uint16
	cmd := &cobra.Command{
		Use:   "replay CAPTURE",
		Short: "Put a capture file's packets through rules",
		Long: `replay puts the packets of a capture file (pcap or pcapng) through the rules, on
the file's own clock, and prints how many packets each rule and chain decided,
then the tables as the last packet left them. It needs no root and touches
nothing. Packets go to the chain of the lowest queue, or of --queue. CAPTURE may
be -, for standard input.`,
		Example: "  recentfs replay -r /etc/recentfs/rules attack.pcap\n  recentfs replay --json -r rules attack.pcapng\n  tcpdump -r attack.pcap -w - port 22 | recentfs replay -r rules -",
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "-" && args[0] == "-" {
				return errors.New("--rules - and CAPTURE - are both standard input: name a file for one of them")
			}
			p, err := params.params()
			if err != nil {
				return err
			}
			return asRunError(func(cmd *cobra.Command, args []string) error {
				rules, err := daemon.ReadRules(file, "--rules", p, warnBy(cmd))
				if err != nil {
					return err
				}
				queue := &number
				if !cmd.Flags().Changed("queue") {
					queue = nil
				}
				r, err := replay.New(rules, p, queue)
				if err != nil {
					return err
				}
				return r.Run(args[0], asJSON, cmd.OutOrStdout())
			})(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&file, "rules", "r", "", "`FILE` of rules, - for standard input (default: the built-in example)")
	cmd.Flags().Uint16Var(&number, "queue", 0, "the queue `N` that the packets come by (default: the lowest that has a chain)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
