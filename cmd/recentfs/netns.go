package main

import (
	"fmt"
	"strings"
)

// parseNetnsRules parses NAME=FILE of --netns-rules into files by name.
func parseNetnsRules(pairs []string) (map[string]string, error) {
	files := make(map[string]string)
	for _, pair := range pairs {
		name, file, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "" || file == "":
			return nil, fmt.Errorf("--netns-rules %s: NAME=FILE is needed, as in --netns-rules dmz=/etc/recentfs/dmz.rules", pair)
		case files[name] != "":
			return nil, fmt.Errorf("--netns-rules %s: there is a file for %s already", pair, name)
		}
		files[name] = file
	}
	return files, nil
}
