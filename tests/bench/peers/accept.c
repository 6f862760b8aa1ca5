/* The obvious accept-all program of libnetfilter_queue's documentation: one
 * recv(2) and one verdict a packet.
 * usage: accept QUEUE QUEUE_LENGTH RECEIVE_BUFFER */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <linux/netfilter.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

static int packet(struct nfq_q_handle *queue, struct nfgenmsg *msg, struct nfq_data *data, void *unused)
{
	struct nfqnl_msg_packet_hdr *head = nfq_get_msg_packet_hdr(data);

	(void)msg;
	(void)unused;
	return nfq_set_verdict(queue, head ? ntohl(head->packet_id) : 0, NF_ACCEPT, 0, NULL);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	static char buf[65536] __attribute__((aligned));
	struct nfq_handle *h;
	struct nfq_q_handle *queue;
	int fd, room;

	if (argc != 4) {
		fprintf(stderr, "usage: accept QUEUE QUEUE_LENGTH RECEIVE_BUFFER\n");
		return 2;
	}
	if (!(h = nfq_open()))
		fail("nfq_open");
	if (!(queue = nfq_create_queue(h, atoi(argv[1]), packet, NULL)))
		fail("nfq_create_queue");
	if (nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0)
		fail("nfq_set_mode");
	if (nfq_set_queue_maxlen(queue, atoi(argv[2])) < 0)
		fail("nfq_set_queue_maxlen");
	fd = nfq_fd(h);
	room = atoi(argv[3]);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		fail("SO_RCVBUFFORCE");
	puts("ready");
	fflush(stdout);
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n >= 0)
			nfq_handle_packet(h, buf, n);
		else if (errno != ENOBUFS && errno != EINTR)
			fail("recv");
	}
}
