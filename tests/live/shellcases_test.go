package live

import "strings"

// scripts runs lines in the directory and compares what they print.
func scripts(uid uint32, lines ...string) func(*fileTrial) {
	return func(tr *fileTrial) {
		for _, line := range lines {
			tr.sh(uid, line)
		}
	}
}

// some adds addresses of one length.
const some = "for i in 10 11 12 13 14 15 16 17 18 19; do echo +10.0.0.$i > foo; done; echo $?"

// masked hides the addresses of lines: the kernel lists them in its hash's order.
func masked(commands ...string) []string {
	lines := []string{some}
	for _, c := range commands {
		lines = append(lines, "{ "+c+"; } 2>&1 | sed 's/[0-9]/9/g'")
	}
	return lines
}

// python runs a Python program, which prints the name of an error.
func python(body string) string {
	lines := strings.Split(strings.Trim(body, "\n"), "\n")
	return "python3 -c '\nimport os, re\ntry:\n  " + strings.Join(lines, "\n  ") + "\nexcept Exception as e:\n  print(type(e).__name__, getattr(e, \"strerror\", \"\"))\n'"
}

// mounting runs a script in a mount namespace of its own. DIR is the directory.
func mounting(script string) func(*fileTrial) {
	return func(tr *fileTrial) {
		tr.note = append(tr.note, tr.shell(0, "DIR="+tr.dir+" exec unshare -m sh -c '"+script+"' 2>&1"))
	}
}

// usersTry has users read, write, open and give away a table of a mode, whosever it is.
// Each does so also as root of a user namespace, and as nobody in one.
func usersTry(mode string) string {
	return `for owner in 0:0 1000:0 0:1000 1000:1000; do
		for user in "0 --clear-groups" "1000 --clear-groups" "2000 --groups 1000" "3000 --clear-groups"; do
			for inside in "" "unshare -Ur" "unshare -U"; do
				chown $owner foo; chmod ` + mode + ` foo
				echo $owner, $user, $inside: $(setpriv --regid 3000 --reuid $user $inside sh -c '
					for what in "cat foo >/dev/null" "echo +1.2.3.4 > foo" "echo / >> foo" "chmod 666 foo" "chgrp 3000 foo" "chown 1000 foo"; do
						eval "$what"; echo $?
					done' 2>/dev/null) $(stat -c "%a %u %g" foo)
			done
		done
	done`
}

const seeksToEnd = "it seeks to the end, which procfs refuses"

var shellCases = []fileCase{
	{name: "redirections", do: scripts(0,
		"echo +1.2.3.4 > foo; echo $?", "echo +1.2.3.5 >> foo; echo $?", "echo -1.2.3.4 >> foo; echo $?",
		"echo +1.2.3.6 >| foo; echo $?", "echo +1.2.3.7 1<>foo; echo $?", "printf +1.2.3.8 > foo; echo $?",
		"set -C; echo +1.2.3.9 > foo; echo $?", ": > foo; echo $?", "cat /dev/null > foo; echo $?",
		"echo 1.2.3.4 > foo; echo $?", "echo > foo; echo $?", "echo +1.2.3.4 > new; echo $?", "echo +1.2.3.4 > foo/new; echo $?",
		"{ echo +1.2.4.1; echo +1.2.4.2; } > foo; echo $?", "{ echo +1.2.5.1; echo +1.2.5.2; } >> foo; echo $?",
		"{ echo /; echo +1.2.6.1; echo +1.2.6.2; } > foo; echo $?", "printf '+1.2.7.1\\n+1.2.7.2\\n' > foo; echo $?",
		"exec 3>foo 4>&3; echo +1.2.8.1 >&3; echo +1.2.8.2 >&4; exec 3>&-; echo +1.2.8.3 >&4; echo $?",
		"echo +2001:db8::1 > foo; echo +::ffff:1.2.3.4 > foo; echo -2001:0db8::0001 > foo; echo $?")},
	{name: "users and the roots of their namespaces", do: scripts(0, usersTry("600"), usersTry("640"), usersTry("604"), usersTry("620"))},
	{name: "tee", do: scripts(0, "echo +1.2.3.4 | tee foo; echo $?", "echo +1.2.3.5 | tee foo bar; echo $?",
		"echo nonsense | tee foo; echo $?", "echo / | tee foo bar >/dev/null; echo $?", "echo +1.2.3.6 | tee new; echo $?")},
	{name: "tee -a", do: scripts(0, "echo +1.2.3.4 | tee -a foo; echo $?"),
		differs: seeksToEnd},
	{name: "dd writes", do: scripts(0, "echo +1.2.3.4 | dd of=foo status=noxfer; echo $?", "echo +1.2.3.5 | dd of=foo bs=1 status=noxfer; echo $?",
		"echo +1.2.3.6 | dd of=foo bs=9 conv=notrunc status=none; echo $?", "printf '+1.2.3.7\\n+1.2.3.8\\n' | dd of=foo bs=9 status=none; echo $?",
		"echo +1.2.3.8 | dd of=foo bs=64K conv=nocreat status=none; echo $?", "echo +1.2.3.8 | dd of=foo bs=512 conv=sync status=none; echo $?",
		"echo +1.2.3.9 | dd of=foo conv=fsync status=none; echo $?", "echo +1.2.3.9 | dd of=foo seek=1 bs=1 status=none; echo $?",
		"echo +1.2.3.10 | dd of=foo oflag=direct status=none; echo $?", "echo +1.2.3.11 | dd of=new conv=excl status=none; echo $?",
		"dd if=/dev/zero of=foo bs=1M count=1 status=none; echo $?", "yes +1.2.3.12 | dd of=foo bs=9 count=3 status=none; echo $?")},
	{name: "dd appends", do: scripts(0, "echo +1.2.3.4 | dd of=foo oflag=append conv=notrunc status=none; echo $?",
		"echo +1.2.3.5 | dd of=foo oflag=append conv=notrunc status=none; echo $?")},
	{name: "dd reads", do: scripts(0, append([]string{some}, masked(
		"dd if=foo bs=1 status=none", "dd if=foo bs=7 status=none", "dd if=foo bs=64 count=3 status=none", "dd if=foo status=none",
		"dd if=foo bs=64K status=none", "dd if=foo bs=10 skip=5 count=2 status=none", "dd if=foo ibs=3 obs=512 status=none",
		"dd if=foo iflag=nonblock status=none", "dd if=foo bs=700 iflag=fullblock status=none")...)...)},
	{name: "whole readers", do: scripts(0, masked("cat foo", "cat < foo", "cat foo foo", "cat - < foo", "cat -A foo", "cat -n foo", "tac foo", "nl foo",
		"sort foo", "rev foo", "od -c foo", "grep -c src foo", "grep -o 'last_seen: [0-9]*' foo", "grep -q 10.0.0.15 foo && echo yes", "cut -d' ' -f5 foo",
		"tr a-z A-Z < foo", "wc foo", "wc -l foo", "wc -c < foo", "wc -l < foo", "cksum < foo | wc -l", "cp foo $TMPDIR/c; wc -c < $TMPDIR/c; rm $TMPDIR/c",
		"cat foo > $TMPDIR/c; wc -c < $TMPDIR/c; rm $TMPDIR/c", "diff foo foo && echo same", "cmp foo foo && echo same", "xargs -n1 echo < foo", "install -m 600 foo $TMPDIR/c; wc -c < $TMPDIR/c; rm -f $TMPDIR/c")...)},
	{name: "parts", do: scripts(0, masked("head -n1 foo", "head -n3 foo", "head -c10 foo", "head -c 100 foo", "head -n -2 foo", "tail -n1 foo", "tail -n 3 foo",
		"tail -c 10 foo", "tail -n +3 foo", "tail -c +10 foo", "sed -n 1p foo", "sed -n '$p' foo", "sed -n '2,4p' foo", "sed q foo", "{ head -n1; wc -l; } < foo",
		"{ read a; echo $a; read b; echo $b; cat; } < foo", "while read a b c d e f; do echo $e; done < foo")...)},
	{name: "a flush after each line that is read", do: scripts(0, some, "n=0; while read -r line; do n=$((n+1)); echo / > foo; done < foo; echo $n lines",
		some, "bash -c 'n=0; while read -r line; do n=$((n+1)); echo / > foo; done < foo; echo $n lines'")},
	{name: "tail -f", do: scripts(0, "echo +10.0.0.10 > foo; true & wait $!; tail -f --pid=$! foo 2>/dev/null; echo $?"),
		differs: "tail takes FUSE for a network's file system and asks for the size, which stays 0. In procfs it asks for inotify, and prints the table twice at its start"},
	{name: "awk", do: scripts(0, masked("awk '{ print $1, $3, $5 }' foo", "awk -F'[= ]' '{ print $2 }' foo", "awk 'END { print NR }' foo",
		"awk '{ n += NF } END { print n }' < foo", "awk 'BEGIN { while ((getline line < \"foo\") > 0) n++; print n; close(\"foo\"); print \"+10.0.0.20\" > \"foo\" }'")...)},
	{name: "awk appends", do: scripts(0, "awk 'BEGIN { print \"+10.0.0.21\" >> \"foo\" }'; echo $?"), differs: seeksToEnd},
	{name: "perl", do: scripts(0, masked("perl -ne 'print if /10.0.0.1\\d/' foo", "perl -e 'open F, \"<foo\"; @l = <F>; print scalar @l'",
		"perl -e 'open F, \">foo\" or die $!; print F \"+10.0.0.30\\n\"; close F or print $!'",
		"perl -e 'open F, \"+<foo\" or die $!; $l = <F>; print F \"+10.0.0.32\\n\"; close F or print $!'",
		"perl -e 'open F, \"+<foo\"; syswrite F, \"+10.0.0.33\"; print sysseek(F, 0, 0); print syswrite(F, \"/\"), -s \"foo\"'",
		"perl -pi -e 's/a/b/' foo; echo $?")...)},
	{name: "perl appends", do: scripts(0, "perl -e 'open F, \">>foo\" or die $!; print F \"+10.0.0.31\\n\"; close F or print $!; print tell(F)'")},
	{name: "python", do: scripts(0, some,
		python(`print(len(open("foo").read()), len(open("foo").readlines()), len(open("foo", "rb").read()))`),
		python(`print(sum(1 for l in open("foo") if l.startswith("src=10.0.0.1")))`),
		python(`open("foo", "w").write("+10.0.0.20\n")`), python("f = open(\"foo\", \"w\")\nf.write(\"+10.0.0.21\\n\")\nf.flush()\nf.write(\"+10.0.0.22\\n\")\nf.flush()"),
		python(`open("foo", "x")`), python(`open("new", "w")`), python(`open("foo", "wb", 0).write(b"/")`),
		python("f = open(\"foo\", \"rb+\", 0)\nprint(f.write(b\"+10.0.0.23\"), f.tell())\nf.seek(0)\nprint(f.write(b\"+10.0.0.24\"), len(f.read()))"),
		python(`print(os.path.exists("foo"), os.path.getsize("foo"), sorted(os.listdir(".")), os.access("foo", os.W_OK))`),
		python("import pathlib\npathlib.Path(\"foo\").write_text(\"-10.0.0.10\\n\")\nprint(len(pathlib.Path(\"foo\").read_text()))"))},
	{name: "python updates", do: scripts(0, python(`open("foo", "r+").write("+10.0.0.20\n")`), python(`print(len(open("foo", "r+").read()))`))},
	{name: "python appends", do: scripts(0, python(`open("foo", "a").write("+10.0.0.20\n")`), python(`open("foo", "ab", 0).write(b"+10.0.0.22")`)),
		differs: seeksToEnd},
	{name: "busybox", do: scripts(0, masked(some, "busybox cat foo", "busybox cat < foo", "busybox cp foo $TMPDIR/b; wc -l < $TMPDIR/b", "busybox tail -n 2 foo", "busybox wc foo",
		"busybox grep -c src foo", "busybox sed -n 2p foo", "busybox sh -c 'echo +10.0.0.30 > foo; echo +10.0.0.30 >> foo'")...)},
	{name: "python copies", do: scripts(0, some, python("import shutil\nshutil.copyfile(\"foo\", os.environ[\"TMPDIR\"] + \"/c\")\nprint(os.path.getsize(os.environ[\"TMPDIR\"] + \"/c\"))"))},
	{name: "editing in place", do: scripts(0, "sed -i s/a/b/ foo 2>/dev/null; echo $?", "mv foo bar; echo $?", "rm -f foo; echo $?", "rm -rf . 2>/dev/null; echo $?", "mkdir new; echo $?", "ln foo new; echo $?",
		"ln -s foo new; echo $?", "touch new; echo $?", "mknod new p; echo $?", "rmdir foo; echo $?", "cp /etc/hostname new; echo $?", "cp -r . $TMPDIR/all && ls $TMPDIR/all; rm -r $TMPDIR/all")},
	{name: "copies into a table", do: scripts(0, "echo +1.2.3.4 > $TMPDIR/a; cat $TMPDIR/a > foo; echo $?", "cp $TMPDIR/a foo; echo $?", "cp --sparse=never $TMPDIR/a foo; echo $?", "cat foo > bar; echo $?", "cp foo bar; echo $?",
		"cp --reflink=always foo bar; echo $?", "mv $TMPDIR/a foo; echo $?", "rm -f $TMPDIR/a", "truncate -s 0 foo; echo $?", "truncate -s 100 foo; echo $?", "fallocate -l 10 foo; echo $?", "cat foo >> foo; echo $?")},
	{name: "tests and listings", do: scripts(0, some, "for t in e f d s r w x L p S b c u g k O G N; do test -$t foo; echo $t $?; done", "test -e new; echo $?", "test -d .; echo $?", "[ -s foo ] || echo empty",
		"stat -c '%a %A %b %B %f %F %g %G %h %n %s %t %T %u %U' foo .", "ls", "ls -a", "ls -f | sort", "ls -1U | sort", "ls -l | cut -c-32", "ls -ld . | cut -c-20", "ls -n foo | cut -c-25", "ls -s", "ls -F", "ls new; echo $?",
		"find . | sort", "find . -type f -empty | sort", "find . -perm 644 -user root | sort", "find . -size 0 | sort", "find . -name 'f*' -newermt '1 hour ago'", "find . -mmin -60 -type f | wc -l", "echo *", "echo f*", "file -b foo 2>/dev/null || echo none",
		"du foo", "du -s", "readlink foo; echo $?", "tree 2>/dev/null | head -1; cd foo; echo $?", "chmod 600 foo; ls -l foo | cut -c-10; chmod +x,g=u foo; ls -l foo | cut -c-10", "chown 7:8 foo; stat -c '%u %g' foo; chgrp 0 foo; stat -c '%u %g' foo")},
	{name: "tests as another user", do: scripts(1000, "for t in e r w x O; do test -$t foo; echo $t $?; done", "cat foo; echo $?", "echo / > foo; echo $?", "ls -l foo | cut -c-32", "chmod 666 foo; echo $?", "touch foo; echo $?", "sed -i s/a/b/ foo 2>/dev/null; echo $?", "rm -f foo; echo $?", "tee foo < /dev/null; echo $?")},
	{name: "new names as another user", do: scripts(1000, "echo +1.2.3.4 > new; echo $?", "mkdir new; echo $?"),
		differs: "EACCES instead of ENOENT: with FUSE the kernel checks the directory's permissions first"},
	{name: "block size", do: scripts(0, "stat -c %o foo"), differs: "larger by choice: each read is a round trip"},
	{name: "many writes of a loop", do: scripts(0, "i=0; while [ $i -lt 150 ]; do echo +10.1.0.$i > foo; i=$((i+1)); done; wc -l < foo",
		"i=100; while [ $i -lt 150 ]; do echo -10.1.0.$i > foo; i=$((i+1)); done; wc -l < foo")},
	{name: "cached size", do: scripts(0, "cat foo; stat --cached=always -c %s foo | sed 's/[1-9][0-9]*/some/'; stat -c %s foo; stat --cached=always -c %s foo"),
		differs: "the kernel believes in a size since the file was opened, so that sendfile fails. Only a stat without AT_STATX_DONT_SYNC asks us"},
	{name: "largest file size", do: scripts(0, "(ulimit -f 0; echo +1.2.3.4 > foo); echo $?", "prlimit --fsize=9 sh -c 'echo +1.2.3.44 > foo'; echo $?",
		"cat foo > /dev/null; prlimit --fsize=4096 sh -c 'echo +1.2.3.5 >> foo'; echo $?"),
		differs: "the kernel applies RLIMIT_FSIZE to the position and the length before it asks FUSE. To append, it begins at the size that it believes in"},
	{name: "a mount of a table elsewhere", do: mounting("touch $TMPDIR/b; mount --bind $DIR/foo $TMPDIR/b; echo +10.0.0.10 > $TMPDIR/b; wc -l < $TMPDIR/b; " +
		"mount -o remount,bind,ro $TMPDIR/b; (echo / > $TMPDIR/b) 2>/dev/null; echo $?; umount $TMPDIR/b; rm $TMPDIR/b")},
	{name: "a mount on a table's name", do: mounting("echo +10.0.0.10 > $DIR/foo; mount --bind /dev/null $DIR/foo; wc -l < $DIR/foo; umount $DIR/foo; wc -l < $DIR/foo"),
		differs: "in /proc/net each lookup finds a new file, on which nothing is mounted"},
}
