/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes meet on the ring while a third kills one of them with SIGKILL, again and again, and
 * starts its successor. Neither may ever be given a torn record, row, request or answer (each
 * carries a checksum, rows of one transaction agree); records are delivered or counted as lost; a
 * request stands until it is answered, whatever happens to the answerer; a request that nobody
 * serves ends at its deadline.
 *
 * Arguments: kills (200), then the seed. Kills are aimed by the victim's own progress, not by time.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "base/fd.h"
#include "base/map.h"
#include "base/world.h"
#include "tests/support/prop.h"
#include "tests/support/segment.h"

enum {
	KILLS = 200,
	STEPS_MAX = 400, /* of a victim, before it is killed */
	ROWS = 5,
	SLOTS = 8,
	NOBODY = 9,        /* an index of the consumer's role that does not exist */
	LAST_ANSWERS = 50, /* after the last kill */
};

enum side { PRODUCER, CONSUMER, SIDES };
static const uint16_t roles[SIDES] = {SEGMENT_ROLE, SEGMENT_ASKER};

/* What the processes tell the one that kills; not part of what is tested. */
struct progress {
	uint64_t steps[SIDES];
	uint64_t started;   /* records that the living producer has begun to put */
	uint64_t published; /* that it has surely published */
	uint64_t answered;
	uint64_t expired;
	uint64_t lost;
	uint64_t delivered;
};

struct body {
	uint64_t value;
	uint64_t check;
};

static struct progress *shared;

static uint64_t
get(uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void
put(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static uint64_t
checksum(const void *data, size_t bytes)
{
	static const uint64_t key[2] = {11, 13};

	return map_siphash(key, data, bytes);
}

/* ---- what both sides do ---- */

struct process {
	struct ring_writer *w;
	struct ring_reader *peer; /* NULL until its first segment came */
	int leash;
};

static struct ring_layout
layout_of(enum side side, uint32_t generation)
{
	struct ring_layout layout = segment_layout(generation);

	layout.role = roles[side];
	layout.answers[0].role = roles[1 - side];
	return layout;
}

/* True when the other side has a new segment: *fd_out is its descriptor. */
static bool
new_peer(struct process *p, int *fd_out)
{
	size_t count = 0;
	char byte;
	ssize_t n = fd_recv(p->leash, &byte, 1, fd_out, 1, &count);

	if (n == 0)
		_exit(0);
	prop_check(n == 1 || errno == EAGAIN || errno == EINTR);
	return n == 1 && count == 1;
}

static void
start(struct process *p, enum side side, uint32_t generation, int leash)
{
	struct ring_layout layout = layout_of(side, generation);
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p->leash = leash;
	p->w = segment_writer_of(&layout);
	fd = ring_writer_fd(p->w);
	prop_check(fd_send(leash, "s", 1, &fd, 1) == 1);
	prop_check(fd_nonblock(leash, true) == 0);
}

/* ---- the producer: records, rows, requests ---- */

struct asked {
	uint64_t id; /* 0: none */
	uint64_t value;
	uint64_t deadline;
	bool served;
};

static void
put_record(struct process *p, uint64_t n)
{
	uint64_t data[40] = {0};
	size_t words = 2 + n * 7919 % 38;

	data[0] = n;
	for (size_t i = 2; i < words; i++)
		data[i] = n * i;
	data[1] = checksum(&data[2], (words - 2) * 8) ^ n;
	put(&shared->started, n + 1);
	ring_log_put(p->w, 1, 1, data, words * 8);
	if (n % 8 == 7) {
		ring_log_publish(p->w);
		put(&shared->published, n + 1);
	}
}

/* All rows say the same, and one of them comes and goes. */
static void
change_rows(struct process *p, uint64_t n)
{
	struct segment_row row = segment_row(n);

	ring_table_begin(p->w, SEGMENT_TABLE);
	for (uint64_t key = 1; key <= ROWS; key++)
		prop_check(ring_table_set(p->w, SEGMENT_TABLE, key, &row, NULL) == RING_OK);
	if (n % 3 == 0)
		ring_table_remove(p->w, SEGMENT_TABLE, 1 + n % ROWS);
	ring_table_commit(p->w, SEGMENT_TABLE);
}

static void
ask(struct process *p, struct asked *asked, uint64_t n)
{
	struct body body = {.value = n, .check = checksum(&n, sizeof(n))};

	asked->served = n % 16 != 0;
	asked->value = n;
	asked->deadline = asked->served ? UINT64_MAX : world_mono_ns() + 1000000;
	prop_check(ring_ask(p->w, roles[CONSUMER], asked->served ? SEGMENT_INDEX : NOBODY, 1,
			    asked->deadline, &body, sizeof(body), &asked->id) == RING_OK);
}

static void
take_answer(struct process *p, struct asked *asked)
{
	static struct ring_answer answer;
	struct body body;
	enum ring_status status;

	if (asked->deadline <= world_mono_ns()) {
		ring_ask_release(p->w, asked->id);
		asked->id = 0;
		put(&shared->expired, shared->expired + 1);
		return;
	}
	if (p->peer == NULL)
		return;
	status = ring_answer_get(p->peer, SEGMENT_ROLE, SEGMENT_INDEX, asked->id, &answer);
	prop_check(status == RING_OK || status == RING_EMPTY || status == RING_AGAIN);
	if (status != RING_OK)
		return;
	memcpy(&body, answer.body, sizeof(body));
	prop_check(asked->served && answer.bytes == sizeof(body));
	prop_check(body.value == asked->value + 1);
	prop_check(body.check == checksum(&body.value, 8));
	ring_ask_release(p->w, asked->id);
	asked->id = 0;
	put(&shared->answered, shared->answered + 1);
}

static void
produce(uint32_t generation, int leash)
{
	struct asked asked[SLOTS] = {0};
	struct process p = {0};
	int fd;

	start(&p, PRODUCER, generation, leash);
	for (uint64_t n = 0;; n++) {
		struct asked *slot = &asked[n % SLOTS];

		put_record(&p, n);
		if (n % 4 == 0)
			change_rows(&p, n);
		if (slot->id == 0)
			ask(&p, slot, n);
		else
			take_answer(&p, slot);
		if (new_peer(&p, &fd)) {
			ring_reader_free(p.peer);
			p.peer = segment_reader_of(fd);
			close(fd);
		}
		put(&shared->steps[PRODUCER], n + 1);
	}
}

/* ---- the consumer ---- */

static void
check_record(const struct ring_record *record)
{
	uint64_t data[40];
	size_t words = record->bytes / 8;

	prop_check(record->bytes % 8 == 0 && words >= 2 && words <= 40);
	memcpy(data, record->data, record->bytes);
	prop_check(data[0] == record->sequence);
	prop_check(data[1] == (checksum(&data[2], (words - 2) * 8) ^ data[0]));
}

/* Gives the sequence number after the last record that was delivered. */
static uint64_t
drain(struct ring_reader *r, uint64_t expected)
{
	struct ring_record record;
	enum ring_status status;

	while ((status = ring_log_next(r, &record)) == RING_OK) {
		check_record(&record);
		prop_check(record.sequence == expected + record.lost);
		expected = record.sequence + 1;
		put(&shared->lost, shared->lost + record.lost);
		put(&shared->delivered, shared->delivered + 1);
	}
	prop_check(status == RING_EMPTY);
	return expected;
}

static bool
check_row(void *arg, uint64_t key, const void *row)
{
	const struct segment_row *given = row;
	uint64_t *first = arg;

	prop_check(key >= 1 && key <= ROWS && segment_row_holds(given));
	if (*first == UINT64_MAX)
		*first = given->value;
	prop_check(given->value == *first);
	return true;
}

static void
look_at_rows(struct ring_reader *r)
{
	uint64_t first = UINT64_MAX;
	enum ring_status status =
		ring_table_sync(r, SEGMENT_TABLE, sizeof(struct segment_row), NULL, NULL);

	prop_check(status == RING_OK || status == RING_EMPTY || status == RING_AGAIN);
	ring_table_each(r, SEGMENT_TABLE, check_row, &first);
}

static void
answer_requests(struct process *p)
{
	static struct ring_request request;
	struct body body;

	while (ring_request_next(p->peer, roles[CONSUMER], SEGMENT_INDEX, 1, &request) == RING_OK) {
		prop_check(request.bytes == sizeof(body) && request.op == 1);
		memcpy(&body, request.body, sizeof(body));
		prop_check(body.check == checksum(&body.value, 8));
		body.value++;
		body.check = checksum(&body.value, 8);
		prop_check(ring_answer(p->w, request.role, request.index, request.id, 0, &body,
				       sizeof(body)) == RING_OK);
	}
}

static void
consume(uint32_t generation, int leash)
{
	struct process p = {0};
	uint64_t expected = 0;
	int fd;

	start(&p, CONSUMER, generation, leash);
	for (uint64_t n = 0;; n++) {
		if (new_peer(&p, &fd)) {
			if (p.peer != NULL)
				drain(p.peer, expected);
			ring_reader_free(p.peer);
			p.peer = segment_reader_of(fd);
			close(fd);
			expected = 0;
		}
		if (p.peer != NULL) {
			expected = drain(p.peer, expected);
			look_at_rows(p.peer);
			answer_requests(&p);
		}
		put(&shared->steps[CONSUMER], n + 1);
	}
}

/* ---- the one that kills ---- */

struct child {
	pid_t pid;
	int leash;
	int segment;
	uint32_t generation;
};

static void
spawn(struct child children[SIDES], enum side side)
{
	struct child *c = &children[side];
	size_t count = 0;
	int ends[2];
	char byte;

	prop_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	put(&shared->steps[side], 0);
	if (side == PRODUCER) {
		put(&shared->started, 0);
		put(&shared->published, 0);
	}
	c->generation++;
	c->pid = fork();
	prop_check(c->pid >= 0);
	if (c->pid == 0) {
		close(ends[0]);
		close(children[1 - side].leash);
		side == PRODUCER ? produce(c->generation, ends[1])
				 : consume(c->generation, ends[1]);
		_exit(1);
	}
	close(ends[1]);
	c->leash = ends[0];
	prop_check(fd_recv(c->leash, &byte, 1, &c->segment, 1, &count) == 1 && count == 1);
}

static void
introduce(const struct child *to, const struct child *about)
{
	prop_check(fd_send(to->leash, "p", 1, &about->segment, 1) == 1);
}

/* A child that found something wrong has aborted: that ends the test. */
static void
check_alive(const struct child *c)
{
	int status;

	prop_check(waitpid(c->pid, &status, WNOHANG) == 0);
}

/* What a reader that comes after the producer's death finds: all that was surely published. */
static void
count_after_death(int segment)
{
	struct ring_reader *r = segment_reader_of(segment);
	struct ring_record record;
	uint64_t lost = 0, delivered = 0, next = 0;

	while (ring_log_next(r, &record) == RING_OK) {
		check_record(&record);
		lost += record.lost;
		delivered++;
		next = record.sequence + 1;
	}
	prop_check(lost + delivered == next);
	prop_check(next >= get(&shared->published) && next <= get(&shared->started));
	ring_reader_free(r);
}

static void
kill_and_restart(struct child children[SIDES], enum side side)
{
	struct child *c = &children[side];
	int status;

	check_alive(&children[PRODUCER]);
	check_alive(&children[CONSUMER]);
	prop_check(kill(c->pid, SIGKILL) == 0);
	prop_check(waitpid(c->pid, &status, 0) == c->pid);
	prop_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (side == PRODUCER)
		count_after_death(c->segment);
	close(c->leash);
	close(c->segment);
	spawn(children, side);
	introduce(&children[1 - side], c);
	introduce(c, &children[1 - side]);
}

static void
wait_for(const struct child children[SIDES], uint64_t *word, uint64_t value)
{
	while (get(word) < value) {
		sched_yield();
		check_alive(&children[PRODUCER]);
		check_alive(&children[CONSUMER]);
	}
}

int
main(int argc, char **argv)
{
	uint64_t kills = argc > 1 ? strtoull(argv[1], NULL, 0) : KILLS;
	struct child children[SIDES] = {0};
	struct prop p;

	prop_init(&p, argc - 1, argv + 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	prop_check(shared != MAP_FAILED);
	children[PRODUCER].leash = children[CONSUMER].leash = -1;
	spawn(children, PRODUCER);
	spawn(children, CONSUMER);
	introduce(&children[PRODUCER], &children[CONSUMER]);
	introduce(&children[CONSUMER], &children[PRODUCER]);
	for (uint64_t n = 0; n < kills; n++) {
		enum side side = prop_below(&p, 2) == 0 ? PRODUCER : CONSUMER;
		uint64_t steps = prop_below(&p, STEPS_MAX);

		wait_for(children, &shared->steps[side], get(&shared->steps[side]) + steps);
		kill_and_restart(children, side);
	}
	wait_for(children, &shared->answered, get(&shared->answered) + LAST_ANSWERS);
	wait_for(children, &shared->expired, get(&shared->expired) + 1);
	printf("%llu kills, %llu records delivered, %llu lost, %llu requests answered, %llu "
	       "expired\n",
	       (unsigned long long)kills, (unsigned long long)shared->delivered,
	       (unsigned long long)shared->lost, (unsigned long long)shared->answered,
	       (unsigned long long)shared->expired);
	for (int i = 0; i < SIDES; i++) {
		kill(children[i].pid, SIGKILL);
		waitpid(children[i].pid, NULL, 0);
	}
	return 0;
}
