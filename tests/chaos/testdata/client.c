/* A client of the mount, in its directory, that does what programs in Go cannot:
 *   client signals MILLISECONDS CALL  calls, while SIGUSR1 comes every millisecond
 *   client unfilled CALL              calls with memory that nobody fills (userfaultfd)
 *   client mapped FILE CALL           calls with memory that is a file's
 *   client full                       moves a table into a pipe that nobody reads
 *   client watches N                  N inotify instances on all that is here
 * It prints "ready" when it has begun. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static char *memory; /* the buffer of every call */
static const char *table = "open";

static void ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

static int opened(int flags)
{
	int fd = open(table, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR)
		fd = open(table, flags | O_CLOEXEC);
	if (fd < 0)
		err(1, "open %s", table);
	return fd;
}

/* ring reads or writes by io_uring, in a thread of the kernel. */
static int ring(int op, int fd)
{
	static struct io_uring_params p;
	static char *sq, *cq;
	static struct io_uring_sqe *e;
	static int r = -1;
	if (r < 0) {
		r = syscall(__NR_io_uring_setup, 1, &p);
		if (r < 0)
			err(1, "io_uring_setup");
		sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQ_RING);
		cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_CQ_RING);
		e = mmap(0, sizeof *e, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQES);
		if (sq == MAP_FAILED || cq == MAP_FAILED || e == MAP_FAILED)
			err(1, "mmap a ring");
	}
	memset(e, 0, sizeof *e);
	e->opcode = op;
	e->flags = IOSQE_ASYNC;
	e->fd = fd;
	e->addr = (unsigned long)memory;
	e->len = op == IORING_OP_WRITE ? 10 : PAGE;
	unsigned *tail = (unsigned *)(sq + p.sq_off.tail), *head = (unsigned *)(cq + p.cq_off.head);
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE); /* the only entry is number 0 */
	unsigned *done = (unsigned *)(cq + p.cq_off.tail);
	int n = syscall(__NR_io_uring_enter, r, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	/* A signal ends the wait, but not the call: without this, thousands come together. */
	while (*head == __atomic_load_n(done, __ATOMIC_ACQUIRE)) {
		n = syscall(__NR_io_uring_enter, r, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		if (n < 0 && errno != EINTR)
			return n;
	}
	struct io_uring_cqe *c = (struct io_uring_cqe *)(cq + p.cq_off.cqes) + (*head & (p.cq_entries - 1));
	n = c->res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	if (n < 0)
		errno = -n;
	return n < 0 ? -1 : n;
}

static int one(const char *call, int rd, int wr, int dir)
{
	if (!strcmp(call, "open")) {
		int fd = open(table, O_RDWR);
		return fd < 0 ? fd : close(fd);
	}
	if (!strcmp(call, "read"))
		return pread(rd, memory, PAGE, 0);
	if (!strcmp(call, "readv"))
		return preadv(rd, &(struct iovec){memory, PAGE}, 1, 0);
	if (!strcmp(call, "write"))
		return pwrite(wr, memory, 10, 0);
	if (!strcmp(call, "stat"))
		return stat(table, (struct stat *)memory);
	if (!strcmp(call, "getdents"))
		return lseek(dir, 0, SEEK_SET) < 0 ? -1 : syscall(SYS_getdents64, dir, memory, PAGE);
	if (!strcmp(call, "readlink"))
		return readlink("self", memory, PAGE);
	if (!strcmp(call, "lseek"))
		return lseek(rd, 0, SEEK_END);
	if (!strcmp(call, "truncate"))
		return truncate(table, 0);
	if (!strcmp(call, "chmod"))
		return chmod(table, 0666);
	if (!strcmp(call, "chown"))
		return chown(table, -1, -1);
	if (!strcmp(call, "getxattr"))
		return getxattr(table, "user.a", memory, PAGE);
	if (!strcmp(call, "setxattr"))
		return setxattr(table, "user.a", "b", 1, 0);
	if (!strcmp(call, "fsync"))
		return fsync(wr);
	if (!strcmp(call, "flock"))
		return flock(rd, LOCK_EX) < 0 ? -1 : flock(rd, LOCK_UN);
	if (!strcmp(call, "poll"))
		return poll(&(struct pollfd){rd, POLLIN}, 1, 0);
	if (!strcmp(call, "statfs"))
		return statfs(".", (struct statfs *)memory);
	if (!strcmp(call, "access"))
		return access(table, R_OK);
	if (!strcmp(call, "create"))
		return open("new", O_CREAT | O_WRONLY, 0600);
	if (!strcmp(call, "uring read"))
		return ring(IORING_OP_READ, rd);
	if (!strcmp(call, "uring write"))
		return ring(IORING_OP_WRITE, wr);
	errx(1, "no call %s", call);
}

static volatile sig_atomic_t caught;

static void catch(int s)
{
	(void)s;
	caught++;
}

static void signals(long ms, const char *call)
{
	struct sigaction a = {.sa_handler = catch}; /* without SA_RESTART */
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec every = {{0, 1000000}, {0, 1000000}};
	struct timespec now, begin;
	timer_t timer;
	int rd = opened(O_RDONLY), wr = opened(O_WRONLY), dir = open(".", O_RDONLY | O_DIRECTORY);
	long done = 0, interrupted = 0;
	strcpy(memory, "+192.0.2.7");
	if (sigaction(SIGUSR1, &a, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &e, &timer) < 0 || timer_settime(timer, 0, &every, NULL) < 0)
		err(1, "a timer");
	ready();
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		if (one(call, rd, wr, dir) < 0) {
			if (errno == EIO || errno == ENOTCONN || errno == ECONNABORTED || errno == ESTALE || errno == EFAULT)
				err(1, "%s", call);
			interrupted += errno == EINTR;
		}
		done++;
		if (!strcmp(call, "write"))
			strcpy(memory, "+192.0.2.7");
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
	printf("%ld calls, %d signals, %ld broken off\n", done, caught, interrupted);
}

static void use(const char *call)
{
	int rd = opened(O_RDONLY), wr = opened(O_WRONLY), dir = open(".", O_RDONLY | O_DIRECTORY);
	ready();
	int n = one(call, rd, wr, dir);
	if (n < 0)
		err(1, "%s", call);
	printf("%s: %d\n", call, n);
}

static void *page(int fd)
{
	void *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void unfilled(const char *call)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		err(1, "userfaultfd");
	memory = page(-1);
	struct uffdio_register all = {{(unsigned long)memory, PAGE}, UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(fd, UFFDIO_REGISTER, &all) < 0)
		err(1, "UFFDIO_REGISTER");
	use(call);
}

static void full(void)
{
	int pipes[2], rd = opened(O_RDONLY);
	if (pipe2(pipes, O_NONBLOCK) < 0)
		err(1, "pipe");
	while (write(pipes[1], memory, PAGE) > 0)
		;
	fcntl(pipes[1], F_SETFL, 0);
	ready();
	printf("%zd\n", splice(rd, NULL, pipes[1], NULL, PAGE, 0));
}

static void watches(int n)
{
	char *names[] = {".", "w", "seen", "open"};
	for (int i = 0; i < n; i++) {
		int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		if (fd < 0)
			err(1, "inotify_init");
		for (int j = 0; j < 4; j++)
			if (inotify_add_watch(fd, names[j], IN_ALL_EVENTS) < 0)
				err(1, "inotify_add_watch %s", names[j]);
	}
	ready();
	pause();
}

int main(int argc, char **argv)
{
	memory = page(-1);
	if (argc == 4 && !strcmp(argv[1], "signals"))
		signals(atol(argv[2]), argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "unfilled"))
		unfilled(argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "mapped")) {
		int fd = open(argv[2], O_RDWR | O_CLOEXEC);
		if (fd < 0)
			err(1, "open %s", argv[2]);
		memory = page(fd);
		use(argv[3]);
	} else if (argc == 2 && !strcmp(argv[1], "full"))
		full();
	else if (argc == 3 && !strcmp(argv[1], "watches"))
		watches(atoi(argv[2]));
	else
		errx(2, "what is %s?", argv[1]);
	return 0;
}
