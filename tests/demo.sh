#!/usr/bin/env bash
# Shows recentfs at work on a machine of its own making: a server and a client,
# two network namespaces joined by a cable, and nothing of it stays.
# usage: demo.sh PROGRAM
set -eu
recentfs=$(readlink -f "$1")
dir=$(mktemp -d)
server=recentfs-server-$$ client=recentfs-client-$$
pids=()

clean_up() {
	trap '' INT TERM
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null
		timeout 5 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
		wait "$pid" 2>/dev/null
	done
	ip netns del $server 2>/dev/null
	ip netns del $client 2>/dev/null
	rm -rf "$dir"
}
trap 'status=$?; set +e; clean_up; exit $status' EXIT
trap 'exit 130' INT TERM

# Not `ip netns exec`: it would hide the mount from us.
on() { nsenter --net=/run/netns/$1 -- "${@:2}"; }
# Starts a process in the background, itself and no shell around it.
start() { nsenter --net=/run/netns/$1 -- "${@:2}" >> "$dir/log" 2>&1 & pids+=($!); }
# Some releases of nc say on standard error that they connected.
connects() { on $client nc -z -w 1 192.0.2.1 22 2>/dev/null; }
bold='' normal=''
if [ -t 1 ]; then bold=$'\033[1m' normal=$'\033[0m'; fi
say() { printf '\n%s\n' "$bold$*$normal"; }
show() { printf '  # %s\n' "$*"; }

say "A server, 192.0.2.1, and a client, 192.0.2.7."
ip netns add $server
ip netns add $client
on $server ip link add eth0 type veth peer name eth0 netns $client
on $server ip address add 192.0.2.1/24 dev eth0
on $client ip address add 192.0.2.7/24 dev eth0
on $server ip link set eth0 up
on $client ip link set eth0 up
start $server nc -lk 192.0.2.1 22
until connects; do kill -0 "${pids[0]}"; done

say "The rules: four new ssh connections a minute, and the fifth is dropped."
cat > "$dir/rules" <<'RULES'
*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name SSH -j DROP
-A QUEUE0 -p tcp --dport 22 -m recent --set --name SSH
COMMIT
RULES
sed 's/^/  /' "$dir/rules"

say "On the server, recentfs starts, and one line of iptables feeds it."
show recentfs run --rules rules --mountpoint xt_recent
start $server "$recentfs" run --rules "$dir/rules" --mountpoint "$dir/xt_recent" --control "$dir/control.sock"
until grep -qw ready "$dir/log"; do
	kill -0 "${pids[1]}" 2>/dev/null || { cat "$dir/log"; exit 1; }
	sleep 0.05
done
line='iptables -t mangle -A INPUT -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0 --queue-bypass'
show $line
on $server $line

say "The client connects five times."
for n in 1 2 3 4 5; do
	if connects; then answer=connected; else answer="no answer"; fi
	printf '  connection %d: %s\n' $n "$answer"
	case $n in 5) want="no answer" ;; *) want=connected ;; esac
	[ "$answer" = "$want" ] || { echo "  this one should have been $want:"; cat "$dir/log"; exit 1; }
done

say "The table is a file, as under /proc/net/xt_recent."
show cat xt_recent/SSH
sed 's/^/  /' "$dir/xt_recent/SSH"

say "The same for people."
show recentfs show SSH
"$recentfs" show SSH --mountpoint "$dir/xt_recent" | sed 's/^/  /'

say "Forgive the client, and it may come again."
show 'echo -192.0.2.7 > xt_recent/SSH'
echo -192.0.2.7 > "$dir/xt_recent/SSH"
connects
echo "  connection 6: connected"
