/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bad line: frames that come in at one interface leave by the other one, later, or twice, or
 * never. For kernels without netem, and for what netem does not do: a cut in one direction, changed
 * at once.
 *
 *     impair A B SOCKET        A is the side "a", B the side "b"
 *
 * SOCKET is a UNIX datagram socket that it makes; who asks binds one of its own and is answered:
 *
 *     set a delay_us=150000 jitter_us=20000 loss_ppm=10000 duplicate_ppm=0 reorder_ppm=0 rate_bps=0
 * cut=0 set both cut=1           what is not named stays; "a" is what comes in at A and leaves by B
 *     clear                    a perfect line again
 *     show                     counters of both sides
 *
 * "ready" is written to standard output once frames are forwarded. It ends with its parent, or when
 * an interface is gone.
 *
 * Frames stay in order unless reorder_ppm says otherwise: with jitter a frame leaves no earlier
 * than the one before it, as on a real line (what reorders overtakes all that wait). rate_bps is in
 * bits per second; what would wait longer than QUEUE_FRAMES allow is lost. A frame may be one of
 * the kernel's large ones (64 KiB before segmentation): those are lost and delayed as one, with
 * their unfinished checksums carried along (PACKET_VNET_HDR). Randomness is a fixed sequence
 * (SEED): a run can be repeated as far as its traffic can.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	FRAME_MAX = 66 << 10, /* a super-packet and its headers */
	QUEUE_FRAMES = 4096,  /* of one side */
	QUEUE_BYTES = 32 << 20,
	TURN_FRAMES = 64, /* taken from one side before the other one has its turn */
	MILLION = 1000000,
	SEED = 0x5eed,
};

static const uint64_t second_ns = 1000000000;

struct frame {
	struct frame *next;
	uint64_t leaves_ns;
	size_t bytes;
	uint8_t data[];
};

struct line {
	uint64_t delay_us, jitter_us, rate_bps;
	uint64_t loss_ppm, duplicate_ppm, reorder_ppm;
	uint64_t cut;
};

struct side {
	const char *name;
	int in, out; /* packet sockets */
	struct line line;
	struct frame *first, *last;
	size_t queued, queued_bytes;
	uint64_t free_ns; /* when the line has sent what it was given */
	uint64_t came, left, lost, full, doubled, overtook, failed;
};

static uint64_t random_state = SEED;

/* splitmix64 */
static uint64_t
random_next(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool
chance(uint64_t ppm)
{
	return ppm > 0 && random_next() % MILLION < ppm;
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

static void
fail(const char *what)
{
	fprintf(stderr, "impair: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- interfaces ---- */

/* Before any frame is counted: between socket() and bind() it would get those of all interfaces. */
static int
open_interface(const char *name)
{
	const int on = 1, room = 8 << 20;
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq all = {.mr_type = PACKET_MR_PROMISC};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	at.sll_ifindex = all.mr_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || at.sll_ifindex == 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0)
		fail(name);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return fd;
}

/* ---- the line ---- */

static void
queue_at(struct side *s, struct frame *f, bool ahead)
{
	struct frame **at = &s->first;

	if (!ahead && s->last && s->last->leaves_ns > f->leaves_ns)
		f->leaves_ns = s->last->leaves_ns;
	if (!ahead && s->last)
		at = &s->last->next;
	else
		while (*at && (*at)->leaves_ns <= f->leaves_ns)
			at = &(*at)->next;
	f->next = *at;
	*at = f;
	if (!f->next)
		s->last = f;
	s->queued++;
	s->queued_bytes += f->bytes;
}

static void
enqueue(struct side *s, const uint8_t *data, size_t bytes, uint64_t now)
{
	const struct line *l = &s->line;
	bool ahead = chance(l->reorder_ppm);
	uint64_t wait_ns = ahead ? 0 : l->delay_us * 1000;

	if (s->queued >= QUEUE_FRAMES || s->queued_bytes + bytes > QUEUE_BYTES) {
		s->full++;
		return;
	}
	struct frame *f = malloc(sizeof(*f) + bytes);
	if (!f)
		fail("no memory");
	if (!ahead && l->jitter_us > 0)
		wait_ns += random_next() % (l->jitter_us * 1000);
	if (l->rate_bps > 0) {
		uint64_t from = s->free_ns > now ? s->free_ns : now;

		s->free_ns = from + bytes * 8 * second_ns / l->rate_bps;
		wait_ns += s->free_ns - now;
	}
	s->overtook += ahead;
	f->leaves_ns = now + wait_ns;
	f->bytes = bytes;
	memcpy(f->data, data, bytes);
	queue_at(s, f, ahead);
}

static void
take(struct side *s)
{
	static uint8_t bytes[FRAME_MAX];

	for (int i = 0; i < TURN_FRAMES; i++) {
		ssize_t n = recv(s->in, bytes, sizeof(bytes), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			if (errno == ENETDOWN) /* down for a while, or for ever */
				return;
			fail(s->name);
		}
		uint64_t now = now_ns();
		s->came++;
		if (s->line.cut || chance(s->line.loss_ppm)) {
			s->lost++;
			continue;
		}
		enqueue(s, bytes, (size_t)n, now);
		if (chance(s->line.duplicate_ppm)) {
			s->doubled++;
			enqueue(s, bytes, (size_t)n, now);
		}
	}
}

/* What waits when the line is cut is on its way already, as on a real one. */
static void
send_due(struct side *s)
{
	uint64_t now = now_ns();

	while (s->first && s->first->leaves_ns <= now) {
		struct frame *f = s->first;
		ssize_t n = send(s->out, f->data, f->bytes, 0);

		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			f->leaves_ns = now + MILLION; /* in a millisecond */
			return;
		}
		*(n < 0 ? &s->failed : &s->left) += 1;
		s->first = f->next;
		if (!s->first)
			s->last = NULL;
		s->queued--;
		s->queued_bytes -= f->bytes;
		free(f);
	}
}

static void
set_timer(int fd, const struct side *sides)
{
	uint64_t at = UINT64_MAX;

	for (int i = 0; i < 2; i++)
		if (sides[i].first && sides[i].first->leaves_ns < at)
			at = sides[i].first->leaves_ns;
	const struct itimerspec when = {
		.it_value = {at == UINT64_MAX ? 0 : (time_t)(at / second_ns),
			     at == UINT64_MAX ? 0 : (long)(at % second_ns)},
	};
	if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		fail("timer");
}

/* ---- what is asked ---- */

static bool
set_one(struct line *l, const char *word)
{
	const struct {
		const char *key;
		uint64_t *value, max;
	} keys[] = {
		{"delay_us", &l->delay_us, 60 * MILLION},
		{"jitter_us", &l->jitter_us, 60 * MILLION},
		{"loss_ppm", &l->loss_ppm, MILLION},
		{"duplicate_ppm", &l->duplicate_ppm, MILLION},
		{"reorder_ppm", &l->reorder_ppm, MILLION},
		{"rate_bps", &l->rate_bps, UINT32_MAX},
		{"cut", &l->cut, 1},
	};
	const char *equal = strchr(word, '=');
	char *end = NULL;

	if (!equal || equal[1] < '0' || equal[1] > '9')
		return false;
	errno = 0;
	unsigned long long value = strtoull(equal + 1, &end, 10);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t n = strlen(keys[i].key);

		if (n != (size_t)(equal - word) || memcmp(keys[i].key, word, n) != 0)
			continue;
		if (errno || *end || value > keys[i].max)
			return false;
		*keys[i].value = value;
		return true;
	}
	return false;
}

/* All of it, or nothing. */
static bool
set(struct side *sides, char *words)
{
	char *rest = NULL;
	const char *which = strtok_r(words, " \n", &rest);
	struct line lines[2] = {sides[0].line, sides[1].line};
	bool both = which && strcmp(which, "both") == 0;
	const char *word;

	if (!which || (!both && strcmp(which, "a") != 0 && strcmp(which, "b") != 0))
		return false;
	while ((word = strtok_r(NULL, " \n", &rest)))
		for (int i = 0; i < 2; i++)
			if ((both || *which == "ab"[i]) && !set_one(&lines[i], word))
				return false;
	sides[0].line = lines[0];
	sides[1].line = lines[1];
	return true;
}

static int
show(const struct side *sides, char *out, size_t max)
{
	int n = 0;

	for (int i = 0; i < 2; i++) {
		const struct side *s = &sides[i];

		n += snprintf(
			out + n, max - (size_t)n,
			"%c came=%llu left=%llu lost=%llu full=%llu doubled=%llu overtook=%llu "
			"failed=%llu queued=%zu\n",
			"ab"[i], (unsigned long long)s -> came, (unsigned long long)s -> left,
			(unsigned long long)s -> lost, (unsigned long long)s -> full,
			(unsigned long long)s -> doubled, (unsigned long long)s -> overtook,
			(unsigned long long)s -> failed, s -> queued);
	}
	return n;
}

static void
answer(int fd, struct side *sides)
{
	struct sockaddr_un from;
	socklen_t length = sizeof(from);
	char words[1024], out[1024] = "ok\n";
	ssize_t n = recvfrom(fd, words, sizeof(words) - 1, MSG_DONTWAIT, (struct sockaddr *)&from,
			     &length);

	if (n < 0)
		return;
	words[n] = '\0';
	if (strncmp(words, "set ", 4) == 0) {
		if (!set(sides, words + 4))
			strcpy(out, "error: set a|b|both KEY=NUMBER ...\n");
	} else if (strcmp(words, "clear") == 0) {
		sides[0].line = sides[1].line = (struct line){0};
	} else if (strcmp(words, "show") == 0) {
		(void)show(sides, out, sizeof(out));
	} else {
		strcpy(out, "error: set, clear or show\n");
	}
	(void)sendto(fd, out, strlen(out), MSG_DONTWAIT, (struct sockaddr *)&from, length);
}

static int
open_control(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
		fail(path);
	}
	strcpy(at.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		fail(path);
	return fd;
}

static bool
gone(const char *name)
{
	return if_nametoindex(name) == 0;
}

int
main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: impair A B SOCKET\n");
		return 2;
	}
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("prctl");
	int a = open_interface(argv[1]), b = open_interface(argv[2]);
	struct side sides[2] = {{.name = argv[1], .in = a, .out = b},
				{.name = argv[2], .in = b, .out = a}};
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int control = open_control(argv[3]);
	struct pollfd fds[] = {
		{a, POLLIN, 0}, {b, POLLIN, 0}, {timer, POLLIN, 0}, {control, POLLIN, 0}};

	if (timer < 0)
		fail("timer");
	if (puts("ready") == EOF || fflush(stdout) == EOF)
		fail("standard output");
	for (;;) {
		uint64_t count;

		int events = poll(fds, 4, 1000);

		if (events < 0 && errno != EINTR)
			fail("poll");
		if (events == 0 && (gone(argv[1]) || gone(argv[2])))
			return 0;
		if (fds[3].revents)
			answer(control, sides);
		(void)!read(timer, &count, sizeof(count));
		for (int i = 0; i < 2; i++) {
			int error;
			socklen_t length = sizeof(error);

			if (fds[i].revents & POLLERR) /* the interface is down: taken off */
				(void)getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &error, &length);
			take(&sides[i]);
		}
		for (int i = 0; i < 2; i++)
			send_due(&sides[i]);
		set_timer(timer, sides);
	}
}
