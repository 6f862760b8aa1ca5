/* A table as the kernel's module builds one, in plain C without locks: entries
 * from malloc, each in a hash chain and in an LRU list of list_heads. A packet
 * is one --update --seconds 60 --hitcount 4, and one --set where that does not
 * match.
 * usage: ctable HOSTS STAMPS PACKETS; prints nanoseconds a packet and how many matched */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define entry_of(p, member) ((struct entry *)((char *)(p) - offsetof(struct entry, member)))

enum { HZ = 250, INET = 2, NAME_LEN = 200 };

struct list { struct list *next, *prev; };

struct entry {
	struct list chain, lru;
	uint32_t addr[4];
	uint16_t family;
	uint8_t ttl, index;
	uint16_t nstamps;
	unsigned long stamps[];
};

struct table {
	struct table *next, *prev;
	char name[NAME_LEN];
	unsigned int entries;
	struct list lru;
	struct list hash[];
};

enum { CHECK = 1, SET = 2, UPDATE = 4, REMOVE = 8, WITH_TTL = 16 };

struct rule {
	uint32_t seconds, hits;
	uint8_t flags, invert;
	char name[NAME_LEN];
	uint8_t dest;
};

struct packet {
	uint32_t src, dst;
	uint16_t family;
	uint8_t ttl;
};

static const struct rule update = { .flags = UPDATE, .seconds = 60, .hits = 4, .name = "ssh" };
static const struct rule set = { .flags = SET, .name = "ssh" };

static struct table *tables;
static unsigned int limit, ring, hash_size; /* of the module's parameters */
static uint32_t hash_rnd;
static unsigned long jiffies = 1 << 20;

static void list_init(struct list *l) { l->next = l->prev = l; }

static void list_add_tail(struct list *l, struct list *head)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static void list_del(struct list *l)
{
	l->next->prev = l->prev;
	l->prev->next = l->next;
}

static int after(unsigned long a, unsigned long b) { return (long)(b - a) < 0; }

static uint32_t rotate(uint32_t v, int by) { return v << by | v >> (32 - by); }

/* Bob Jenkins's final mix of one word, as the kernel's jhash_1word. */
static unsigned int bucket(uint32_t word)
{
	uint32_t c = hash_rnd + 0xdeadbeef + 4, a = c + word, b = c;

	c ^= b; c -= rotate(b, 14);
	a ^= c; a -= rotate(c, 11);
	b ^= a; b -= rotate(a, 25);
	c ^= b; c -= rotate(b, 16);
	a ^= c; a -= rotate(c, 4);
	b ^= a; b -= rotate(a, 14);
	c ^= b; c -= rotate(b, 24);
	return c & (hash_size - 1);
}

static struct table *find_table(const char *name)
{
	struct table *t = tables;

	while (t && strcmp(t->name, name))
		t = t->next;
	return t;
}

/* noinline: as gcc leaves recent_entry_lookup, whose time depends on it. */
static __attribute__((noinline)) struct entry *lookup(struct table *t, const uint32_t addr[4], uint16_t family, uint8_t ttl)
{
	struct list *head = &t->hash[bucket(addr[0])], *l;

	for (l = head->next; l != head; l = l->next) {
		struct entry *e = entry_of(l, chain);

		if (e->family == family && !memcmp(e->addr, addr, sizeof(e->addr)) &&
		    (ttl == e->ttl || !ttl || !e->ttl))
			return e;
	}
	return NULL;
}

static void drop(struct table *t, struct entry *e)
{
	list_del(&e->chain);
	list_del(&e->lru);
	free(e);
	t->entries--;
}

static void add(struct table *t, const uint32_t addr[4], uint16_t family, uint8_t ttl)
{
	struct entry *e;

	if (t->entries >= limit)
		drop(t, entry_of(t->lru.next, lru));
	if (!(e = malloc(sizeof(*e) + ring * sizeof(e->stamps[0]))))
		abort();
	memcpy(e->addr, addr, sizeof(e->addr));
	e->family = family;
	e->ttl = ttl;
	e->stamps[0] = jiffies;
	e->nstamps = e->index = 1;
	list_add_tail(&e->chain, &t->hash[bucket(addr[0])]);
	list_add_tail(&e->lru, &t->lru);
	t->entries++;
}

static void stamp(struct table *t, struct entry *e)
{
	e->index %= ring;
	e->stamps[e->index++] = jiffies;
	if (e->index > e->nstamps)
		e->nstamps = e->index;
	list_del(&e->lru);
	list_add_tail(&e->lru, &t->lru);
}

/* noipa: the kernel calls a match by way of a pointer, and the compiler knows
 * nothing of the rule. */
static __attribute__((noipa)) int match(const struct rule *r, const struct packet *p)
{
	int matched = r->invert;
	uint32_t addr[4] = { 0 };
	struct table *t;
	struct entry *e;

	addr[0] = r->dest ? p->dst : p->src;
	t = find_table(r->name);
	e = lookup(t, addr, p->family, r->flags & WITH_TTL ? p->ttl : 0);
	if (!e) {
		if (r->flags & SET) {
			add(t, addr, p->family, p->ttl);
			matched = !matched;
		}
		return matched;
	}
	if (r->flags & SET) {
		matched = !matched;
	} else if (r->flags & REMOVE) {
		drop(t, e);
		matched = !matched;
	} else if (r->flags & (CHECK | UPDATE)) {
		unsigned long since = jiffies - r->seconds * HZ;
		unsigned int i, hits = 0;

		for (i = 0; i < e->nstamps; i++) {
			if (r->seconds && after(since, e->stamps[i]))
				continue;
			if (!r->hits || ++hits >= r->hits) {
				matched = !matched;
				break;
			}
		}
	}
	if (r->flags & SET || (r->flags & UPDATE && matched)) {
		stamp(t, e);
		e->ttl = p->ttl;
	}
	return matched;
}

static void make_table(const char *name)
{
	unsigned int i;

	hash_rnd = time(NULL);
	for (hash_size = 1; hash_size <= limit; hash_size <<= 1)
		;
	if (!(tables = calloc(1, sizeof(*tables) + hash_size * sizeof(tables->hash[0]))))
		abort();
	strcpy(tables->name, name);
	list_init(&tables->lru);
	for (i = 0; i < hash_size; i++)
		list_init(&tables->hash[i]);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	uint64_t x = 88172645463325252;
	long packets, matched = 0, i;
	struct packet p = { .family = INET, .ttl = 64 };
	uint32_t hosts;
	double start;

	if (argc != 4) {
		fprintf(stderr, "usage: ctable HOSTS STAMPS PACKETS\n");
		return 2;
	}
	hosts = limit = atoi(argv[1]);
	ring = atoi(argv[2]);
	packets = atol(argv[3]);
	make_table(set.name);
	for (i = 0; i < hosts; i++) {
		p.src = (uint32_t)i * 2654435761;
		match(&set, &p);
	}
	start = now();
	for (i = 0; i < packets; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p.src = (uint32_t)(x % hosts) * 2654435761;
		if (!(i & 1023))
			jiffies++;
		if (match(&update, &p))
			matched++;
		else
			match(&set, &p);
	}
	printf("%.2f %ld\n", (now() - start) / packets, matched);
	return 0;
}
