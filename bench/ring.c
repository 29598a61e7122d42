/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring against a SOCK_SEQPACKET socketpair, which is what the processes would use otherwise.
 * Two processes, pinned to two cores; both ways are measured in turns, medians are shown.
 *
 *   rate         64-byte records from one process to the other, none lost: the producer holds back
 *                when the reader is half a log behind (which ours never does in the product)
 *   cpu          CPU time of both processes per record
 *   wakeup       from just before the record is put until a reader that slept has read it: eventfd
 *                and ring, against send and recv
 *   wakeup_awake the same, for a reader that looks for up to 50 us before it sleeps
 *
 * bench-ring [--json] [--rounds N]
 */
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench/bench.h"
#include "ring/ring.h"

enum {
	RECORD = 64,
	LOG_BYTES = 1 << 18, /* stays in the cores' own caches */
	RATE_RECORDS = 8000000,
	RATE_PACKETS = 400000,
	WAKEUPS = 2000,
	ROUNDS = 7,
	ROUNDS_MAX = 99,
	SPIN_NS = 50000,
	BATCH_WAIT = 64, /* records that a reader which is awake lets pile up */
	PAUSES = 40,
};

struct shared {
	uint64_t ready;
	uint64_t read; /* records that the reader has seen */
	uint64_t cpu_ns;
	double latency_us[WAKEUPS];
};

struct channel {
	struct ring_writer *w;
	int event;
	int sockets[2];
	bool awake; /* the reader spins before it sleeps */
};

static struct shared *shared;

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-ring: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
get(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void
put(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void
pause_some(unsigned n)
{
	while (n-- > 0)
#if defined(__x86_64__)
		__builtin_ia32_pause();
#else
		__asm__ volatile("" ::: "memory");
#endif
}

/* While the other side has nothing for us: soon leaves the core, which may be the other's. */
static void
wait_a_little(unsigned *times)
{
	if (++*times % 16 == 0)
		sched_yield();
	else
		pause_some(PAUSES);
}

static void
pin(size_t core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static struct ring_reader *
open_reader(const struct channel *c)
{
	struct ring_reader *r = NULL;
	struct err err = {0};

	if (ring_reader_new(dup(ring_writer_fd(c->w)), &r, &err) < 0) {
		err_print(&err, "bench-ring", stderr);
		exit(1);
	}
	return r;
}

static void
channel_open(struct channel *c)
{
	struct ring_layout layout = {.role = 1, .generation = 1, .log_bytes = LOG_BYTES};
	struct err err = {0};

	if (ring_writer_new(&layout, &c->w, &err) < 0) {
		err_print(&err, "bench-ring", stderr);
		exit(1);
	}
	c->event = eventfd(0, EFD_CLOEXEC);
	must(c->event >= 0, "eventfd");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->sockets) == 0, "socketpair");
	put(&shared->ready, 0);
	put(&shared->read, 0);
}

static void
channel_close(struct channel *c)
{
	ring_writer_free(c->w);
	close(c->event);
	close(c->sockets[0]);
	close(c->sockets[1]);
}

/* Runs the reader as a child on core 1 and the writer here on core 0. Gives CPU ns of both. */
static uint64_t
run_pair(struct channel *c, void (*reader)(struct channel *), void (*writer)(struct channel *),
	 uint64_t *wall_ns_out)
{
	uint64_t cpu, wall;
	int status;
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0) {
		pin(1);
		cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
		reader(c);
		put(&shared->cpu_ns, bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu);
		_exit(0);
	}
	pin(0);
	while (get(&shared->ready) == 0)
		sched_yield();
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
	wall = bench_clock(CLOCK_MONOTONIC);
	writer(c);
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	must(waitpid(pid, &status, 0) == pid && status == 0, "the reader failed");
	*wall_ns_out = bench_clock(CLOCK_MONOTONIC) - wall;
	return cpu + get(&shared->cpu_ns);
}

/* ---- rate ---- */

static void
ring_rate_read(struct channel *c)
{
	struct ring_reader *r = open_reader(c);
	struct ring_record record;
	uint64_t count = 0, before = 0;
	unsigned waits = 0;

	put(&shared->ready, 1);
	while (count < RATE_RECORDS) {
		while (ring_log_next(r, &record) == RING_OK) {
			must(record.lost == 0 && record.bytes == RECORD, "a record is lost");
			count++;
			if ((count & 4095) == 0)
				put(&shared->read, count);
		}
		put(&shared->read, count);
		if (count - before < BATCH_WAIT)
			wait_a_little(&waits);
		else
			waits = 0;
		before = count;
	}
	ring_reader_free(r);
}

static void
ring_rate_write(struct channel *c)
{
	const uint64_t most = LOG_BYTES / 2 / (RECORD + 16);
	uint64_t record[RECORD / 8] = {0};
	unsigned waits;

	for (uint64_t n = 0; n < RATE_RECORDS; n++) {
		record[0] = n;
		ring_log_put(c->w, 1, 1, record, sizeof(record));
		if ((n & 1023) == 1023) {
			ring_log_publish(c->w);
			for (waits = 0; n + 1 - get(&shared->read) > most;)
				wait_a_little(&waits);
		}
	}
	ring_log_publish(c->w);
}

static void
socket_rate_read(struct channel *c)
{
	char record[RECORD];

	put(&shared->ready, 1);
	for (uint64_t n = 0; n < RATE_PACKETS; n++)
		must(recv(c->sockets[1], record, sizeof(record), 0) == RECORD, "recv");
}

static void
socket_rate_write(struct channel *c)
{
	uint64_t record[RECORD / 8] = {0};

	for (uint64_t n = 0; n < RATE_PACKETS; n++) {
		record[0] = n;
		must(send(c->sockets[0], record, sizeof(record), 0) == RECORD, "send");
	}
}

/* ---- wake-up: the record carries the time at which it was put ---- */

static void
note(uint64_t n, uint64_t sent_ns)
{
	shared->latency_us[n] = (double)(bench_clock(CLOCK_MONOTONIC) - sent_ns) / 1000;
	put(&shared->read, n + 1);
}

/* The next record, looked for until then. */
static bool
look_until(struct ring_reader *r, struct ring_record *record, uint64_t until_ns)
{
	do {
		if (ring_log_next(r, record) == RING_OK)
			return true;
	} while (bench_clock(CLOCK_MONOTONIC) < until_ns);
	return false;
}

static void
ring_wakeup_read(struct channel *c)
{
	struct ring_reader *r = open_reader(c);
	struct ring_record record;
	uint64_t sent, wakes;

	put(&shared->ready, 1);
	for (uint64_t n = 0; n < WAKEUPS;) {
		if (look_until(r, &record, c->awake ? bench_clock(CLOCK_MONOTONIC) + SPIN_NS : 0)) {
			memcpy(&sent, record.data, sizeof(sent));
			note(n++, sent);
		} else {
			must(read(c->event, &wakes, sizeof(wakes)) == sizeof(wakes), "read");
		}
	}
	ring_reader_free(r);
}

/* Long enough for the reader to sleep, or short enough for it to be awake still. */
static void
wait_before(const struct channel *c, uint64_t n)
{
	uint64_t until;

	while (get(&shared->read) < n)
		pause_some(4);
	until = bench_clock(CLOCK_MONOTONIC) + (c->awake ? 20000 : 200000);
	while (bench_clock(CLOCK_MONOTONIC) < until)
		pause_some(4);
}

static void
ring_wakeup_write(struct channel *c)
{
	uint64_t record[RECORD / 8] = {0};
	const uint64_t one = 1;

	for (uint64_t n = 0; n < WAKEUPS; n++) {
		wait_before(c, n);
		record[0] = bench_clock(CLOCK_MONOTONIC);
		ring_log_put(c->w, 1, 1, record, sizeof(record));
		ring_log_publish(c->w);
		must(write(c->event, &one, sizeof(one)) == sizeof(one), "write");
	}
}

static void
socket_wakeup_read(struct channel *c)
{
	uint64_t record[RECORD / 8];
	uint64_t until;
	ssize_t got;

	put(&shared->ready, 1);
	for (uint64_t n = 0; n < WAKEUPS; n++) {
		until = c->awake ? bench_clock(CLOCK_MONOTONIC) + SPIN_NS : 0;
		do
			got = recv(c->sockets[1], record, sizeof(record),
				   c->awake ? MSG_DONTWAIT : 0);
		while (got < 0 && bench_clock(CLOCK_MONOTONIC) < until);
		if (got < 0)
			got = recv(c->sockets[1], record, sizeof(record), 0);
		must(got == RECORD, "recv");
		note(n, record[0]);
	}
}

static void
socket_wakeup_write(struct channel *c)
{
	uint64_t record[RECORD / 8] = {0};

	for (uint64_t n = 0; n < WAKEUPS; n++) {
		wait_before(c, n);
		record[0] = bench_clock(CLOCK_MONOTONIC);
		must(send(c->sockets[0], record, sizeof(record), 0) == RECORD, "send");
	}
}

/* ---- rounds ---- */

static struct {
	double rate[2][ROUNDS_MAX];
	double cpu[2][ROUNDS_MAX];
	double p50[2][2][ROUNDS_MAX]; /* [awake][peer] */
	double p99[2][2][ROUNDS_MAX];
} results;

static void
round_rate(size_t round, bool peer)
{
	uint64_t count = peer ? RATE_PACKETS : RATE_RECORDS;
	struct channel c = {0};
	uint64_t wall, cpu;

	channel_open(&c);
	cpu = peer ? run_pair(&c, socket_rate_read, socket_rate_write, &wall)
		   : run_pair(&c, ring_rate_read, ring_rate_write, &wall);
	channel_close(&c);
	results.rate[peer][round] = (double)count * 1000 / (double)wall;
	results.cpu[peer][round] = (double)cpu / (double)count;
}

static void
round_wakeup(size_t round, bool awake, bool peer)
{
	struct channel c = {.awake = awake};
	uint64_t wall;

	channel_open(&c);
	if (peer)
		run_pair(&c, socket_wakeup_read, socket_wakeup_write, &wall);
	else
		run_pair(&c, ring_wakeup_read, ring_wakeup_write, &wall);
	channel_close(&c);
	results.p50[awake][peer][round] = bench_quantile(shared->latency_us, WAKEUPS, 0.5);
	results.p99[awake][peer][round] = bench_quantile(shared->latency_us, WAKEUPS, 0.99);
}

static void
print_row(bool json, const char *name, const char *unit, double (*values)[ROUNDS_MAX],
	  size_t rounds, bool higher_is_better)
{
	struct bench_row row = {
		.bench = "ring",
		.row = name,
		.unit = unit,
		.ours = bench_quantile(values[0], rounds, 0.5),
		.peer_name = "socketpair",
		.peer = bench_quantile(values[1], rounds, 0.5),
		.higher_is_better = higher_is_better,
	};

	bench_print(json, &row);
}

int
main(int argc, char **argv)
{
	size_t rounds = ROUNDS;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
			rounds = strtoul(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: bench-ring [--json] [--rounds N]\n");
			return 2;
		}
	}
	rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	must(shared != MAP_FAILED, "mmap");
	for (size_t round = 0; round < rounds; round++)
		for (unsigned peer = 0; peer < 2; peer++) {
			round_rate(round, peer != 0);
			round_wakeup(round, false, peer != 0);
			round_wakeup(round, true, peer != 0);
		}
	print_row(json, "rate", "Mrecords/s", results.rate, rounds, true);
	print_row(json, "cpu", "ns/record", results.cpu, rounds, false);
	print_row(json, "wakeup", "us p50", results.p50[0], rounds, false);
	print_row(json, "wakeup_p99", "us p99", results.p99[0], rounds, false);
	print_row(json, "wakeup_awake", "us p50", results.p50[1], rounds, false);
	print_row(json, "wakeup_awake_p99", "us p99", results.p99[1], rounds, false);
	return 0;
}
