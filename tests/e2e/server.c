/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program in the containers of end-to-end tests: a plain HTTP/1.1 server, a thread per
 * connection, static, with its behaviour chosen by path and by the command line.
 *
 *   server -s NUMBER:ERRNO ...   makes these system calls without arguments, prints what came
 *   server [-p PORT] [-a ADDRESS] [-d DELAY_MS before listening] [-x EXIT_AFTER_MS:STATUS]
 *   server -u UID   is that user and group from then on, as a program of many images makes itself
 *   server -b FOLDER   writes the time (CLOCK_REALTIME, ns) into a file of its own there, each 20
 * ms server -k      makes a system call that its own seccomp filter ends it for
 *
 *   /health        200, or what /set-health/NNN said last (a file: /tmp/health)
 *   /status/NNN    that status
 *   /echo          the request's head as the body
 *   /bytes/N       N bytes
 *   /upload        reads the body, answers its length and a checksum
 *   /slow/MS       answers after MS milliseconds
 *   /stream/N/MS   N lines, one each MS milliseconds, chunked
 *   /interim/N     N answers 103, then one
 *   /who           host name
 *   /close         closes without an answer
 *   /exit/N        ends the process with status N
 *   /print/N       writes N lines of 1 KiB to standard output
 *   /burn/MS       uses so much processor time
 *   /memory/N      takes N MiB and keeps it
 *   /ws            WebSocket echo (RFC 6455)
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 65536 };

struct conn {
	int fd;
	char buf[HEAD_MAX];
	size_t length; /* bytes in buf */
	size_t head;   /* of the current request, with the empty line */
};

static void
burn_ms(long ms)
{
	struct timespec t;
	int64_t end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	end = t.tv_sec * 1000000000LL + t.tv_nsec + ms * 1000000LL;
	while (t.tv_sec * 1000000000LL + t.tv_nsec < end)
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
}

static void
wait_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

static bool
put(int fd, const void *data, size_t n)
{
	const char *at = data;

	while (n > 0) {
		ssize_t w = write(fd, at, n);
		if (w <= 0)
			return false;
		at += w;
		n -= (size_t)w;
	}
	return true;
}

static bool
more(struct conn *c)
{
	if (c->length == sizeof(c->buf) - 1)
		return false;
	ssize_t n = read(c->fd, c->buf + c->length, sizeof(c->buf) - 1 - c->length);
	if (n <= 0)
		return false;
	c->length += (size_t)n;
	c->buf[c->length] = 0;
	return true;
}

static bool
read_head(struct conn *c)
{
	c->buf[c->length] = 0;
	for (;;) {
		char *end = memmem(c->buf, c->length, "\r\n\r\n", 4);
		if (end) {
			c->head = (size_t)(end - c->buf) + 4;
			return true;
		}
		if (!more(c))
			return false;
	}
}

static void
consume(struct conn *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->length - n);
	c->length -= n;
	c->buf[c->length] = 0;
}

static bool
field(const struct conn *c, const char *name, char *out, size_t cap)
{
	size_t n = strlen(name);

	for (const char *line = c->buf; line && line < c->buf + c->head;) {
		const char *end = memmem(line, (size_t)(c->buf + c->head - line), "\r\n", 2);
		if (!end)
			return false;
		if ((size_t)(end - line) > n && strncasecmp(line, name, n) == 0 && line[n] == ':') {
			const char *v = line + n + 1;
			while (*v == ' ')
				v++;
			size_t length = (size_t)(end - v) < cap ? (size_t)(end - v) : cap - 1;
			memcpy(out, v, length);
			out[length] = 0;
			return true;
		}
		line = end + 2;
	}
	return false;
}

static bool
answer(int fd, int status, const char *body, size_t n)
{
	char head[256];
	int h = snprintf(head, sizeof(head),
			 "HTTP/1.1 %d X\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n",
			 status, n);

	return put(fd, head, (size_t)h) && put(fd, body, n);
}

static bool
answer_text(int fd, int status, const char *text)
{
	return answer(fd, status, text, strlen(text));
}

static bool
send_bytes(int fd, uint64_t n)
{
	static char block[65536];
	char head[128];
	int h = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\ncontent-length: %llu\r\n\r\n",
			 (unsigned long long)n);

	memset(block, 'z', sizeof(block));
	if (!put(fd, head, (size_t)h))
		return false;
	for (; n > 0; n -= n < sizeof(block) ? n : sizeof(block)) {
		if (!put(fd, block, n < sizeof(block) ? n : sizeof(block)))
			return false;
	}
	return true;
}

static void
add(uint64_t *sum, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*sum = *sum * 31 + (unsigned char)data[i];
}

/* Takes n bytes of body from the buffer and the socket. */
static bool
take(struct conn *c, uint64_t n, uint64_t *sum)
{
	while (n > 0) {
		if (c->length == 0 && !more(c))
			return false;
		size_t now = c->length < n ? c->length : (size_t)n;
		add(sum, c->buf, now);
		consume(c, now);
		n -= now;
	}
	return true;
}

static bool
take_line(struct conn *c, char *out, size_t cap)
{
	char *end;

	while (!(end = memmem(c->buf, c->length, "\r\n", 2))) {
		if (!more(c))
			return false;
	}
	snprintf(out, cap, "%.*s", (int)(end - c->buf), c->buf);
	consume(c, (size_t)(end - c->buf) + 2);
	return true;
}

static bool
take_body(struct conn *c, uint64_t *bytes, uint64_t *sum)
{
	char value[64], line[128];

	*bytes = 0;
	if (field(c, "transfer-encoding", value, sizeof(value))) {
		consume(c, c->head);
		for (;;) {
			if (!take_line(c, line, sizeof(line)))
				return false;
			uint64_t n = strtoull(line, NULL, 16);
			if (n == 0)
				break;
			if (!take(c, n, sum) || !take_line(c, line, sizeof(line)))
				return false;
			*bytes += n;
		}
		while (take_line(c, line, sizeof(line)) && line[0])
			;
		return true;
	}
	*bytes = field(c, "content-length", value, sizeof(value)) ? strtoull(value, NULL, 10) : 0;
	consume(c, c->head);
	return take(c, *bytes, sum);
}

/* ---- WebSocket ---- */

static uint32_t
rol(uint32_t v, int n)
{
	return v << n | v >> (32 - n);
}

static void
sha1(const unsigned char *data, size_t n, unsigned char out[20])
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	unsigned char m[128] = {0};
	size_t blocks = (n + 9 + 63) / 64;

	memcpy(m, data, n);
	m[n] = 0x80;
	for (int i = 0; i < 8; i++)
		m[blocks * 64 - 1 - (size_t)i] = (unsigned char)((uint64_t)n * 8 >> (8 * i));
	for (size_t b = 0; b < blocks; b++) {
		uint32_t w[80], a = h[0], bb = h[1], c = h[2], d = h[3], e = h[4];
		for (size_t i = 0; i < 16; i++) {
			const unsigned char *p = m + b * 64 + i * 4;
			w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
			       p[3];
		}
		for (int i = 16; i < 80; i++)
			w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
		for (int i = 0; i < 80; i++) {
			uint32_t f = i < 20   ? (bb & c) | (~bb & d)
				     : i < 40 ? bb ^ c ^ d
				     : i < 60 ? (bb & c) | (bb & d) | (c & d)
					      : bb ^ c ^ d;
			uint32_t k = i < 20   ? 0x5a827999
				     : i < 40 ? 0x6ed9eba1
				     : i < 60 ? 0x8f1bbcdc
					      : 0xca62c1d6;
			uint32_t t = rol(a, 5) + f + e + k + w[i];
			e = d, d = c, c = rol(bb, 30), bb = a, a = t;
		}
		h[0] += a, h[1] += bb, h[2] += c, h[3] += d, h[4] += e;
	}
	for (int i = 0; i < 20; i++)
		out[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void
base64(const unsigned char *in, size_t n, char *out)
{
	static const char t[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? in[i + 2] : 0);
		*out++ = t[v >> 18];
		*out++ = t[v >> 12 & 63];
		*out++ = i + 1 < n ? t[v >> 6 & 63] : '=';
		*out++ = i + 2 < n ? t[v & 63] : '=';
	}
	*out = 0;
}

static bool
need(struct conn *c, size_t n)
{
	while (c->length < n) {
		if (!more(c))
			return false;
	}
	return true;
}

/* One frame in, the same payload out, unmasked. */
static bool
echo_frame(struct conn *c)
{
	if (!need(c, 2))
		return false;
	unsigned char *p = (unsigned char *)c->buf;
	size_t n = p[1] & 0x7f, at = 2;
	if (n == 126) {
		if (!need(c, 4))
			return false;
		n = (size_t)p[2] << 8 | p[3];
		at = 4;
	} else if (n == 127) {
		return false;
	}
	if (!need(c, at + 4 + n))
		return false;
	for (size_t i = 0; i < n; i++)
		p[at + 4 + i] ^= p[at + i % 4];
	unsigned char head[4] = {p[0], (unsigned char)(n < 126 ? n : 126), (unsigned char)(n >> 8),
				 (unsigned char)n};
	if ((p[0] & 0x0f) == 9)
		head[0] = 0x8a;
	bool ok = put(c->fd, head, n < 126 ? 2 : 4) && put(c->fd, p + at + 4, n);
	bool closing = (p[0] & 0x0f) == 8;
	consume(c, at + 4 + n);
	return ok && !closing;
}

static void
websocket(struct conn *c)
{
	char key[64], text[128], accept[64], head[256];
	unsigned char digest[20];

	if (!field(c, "sec-websocket-key", key, sizeof(key))) {
		answer_text(c->fd, 400, "no key\n");
		return;
	}
	int n = snprintf(text, sizeof(text), "%.40s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	sha1((unsigned char *)text, (size_t)n, digest);
	base64(digest, 20, accept);
	n = snprintf(head, sizeof(head),
		     "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: "
		     "Upgrade\r\nsec-websocket-accept: %s\r\n\r\n",
		     accept);
	consume(c, c->head);
	if (!put(c->fd, head, (size_t)n))
		return;
	while (echo_frame(c))
		;
}

/* ---- requests ---- */

static int
health(void)
{
	FILE *f = fopen("/tmp/health", "r");
	int status = 200;

	if (f) {
		if (fscanf(f, "%d", &status) != 1)
			status = 200;
		fclose(f);
	}
	return status;
}

static bool
set_health(int fd, const char *status)
{
	FILE *f = fopen("/tmp/health", "w");

	if (!f)
		return answer_text(fd, 500, "cannot\n");
	fprintf(f, "%d\n", atoi(status));
	fclose(f);
	return answer_text(fd, 200, "set\n");
}

static bool
stream(int fd, const char *args)
{
	char *end;
	long lines = strtol(args, &end, 10), ms = *end ? strtol(end + 1, NULL, 10) : 0;

	if (!put(fd, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 47))
		return false;
	for (long i = 0; i < lines; i++) {
		char line[64], chunk[80];
		int n = snprintf(line, sizeof(line), "line %ld\n", i);
		int k = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n", n, line);
		if (!put(fd, chunk, (size_t)k))
			return false;
		wait_ms(ms);
	}
	return put(fd, "0\r\n\r\n", 5);
}

static bool
interim(int fd, long count)
{
	static const char hint[] = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
	char *all = malloc((size_t)count * sizeof(hint) + 1);
	size_t n = 0;

	if (!all)
		return false;
	for (; count > 0; count--, n += sizeof(hint) - 1)
		memcpy(all + n, hint, sizeof(hint) - 1);
	bool ok = put(fd, all, n) && answer_text(fd, 200, "after\n");
	free(all);
	return ok;
}

static bool
serve_one(struct conn *c)
{
	char path[1024] = "", copy[HEAD_MAX], name[128];
	uint64_t bytes, sum = 0;

	if (sscanf(c->buf, "%*s %1023s", path) != 1)
		return false;
	path[strcspn(path, "?")] = 0;
	if (strcmp(path, "/ws") == 0) {
		websocket(c);
		return false;
	}
	size_t head = c->head;
	memcpy(copy, c->buf, head);
	bool head_only = strncmp(copy, "HEAD ", 5) == 0;
	if (!take_body(c, &bytes, &sum))
		return false;
	if (head_only)
		return put(c->fd, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 38);
	if (strcmp(path, "/health") == 0)
		return answer_text(c->fd, health(), "health\n");
	if (strncmp(path, "/set-health/", 12) == 0)
		return set_health(c->fd, path + 12);
	if (strncmp(path, "/status/", 8) == 0)
		return answer_text(c->fd, atoi(path + 8), "status\n");
	if (strcmp(path, "/echo") == 0)
		return answer(c->fd, 200, copy, head);
	if (strncmp(path, "/bytes/", 7) == 0)
		return send_bytes(c->fd, strtoull(path + 7, NULL, 10));
	if (strcmp(path, "/upload") == 0) {
		int n = snprintf(name, sizeof(name), "%llu %llx\n", (unsigned long long)bytes,
				 (unsigned long long)sum);
		return answer(c->fd, 200, name, (size_t)n);
	}
	if (strncmp(path, "/slow/", 6) == 0) {
		wait_ms(atol(path + 6));
		return answer_text(c->fd, 200, "slow\n");
	}
	if (strncmp(path, "/stream/", 8) == 0)
		return stream(c->fd, path + 8);
	if (strncmp(path, "/interim/", 9) == 0)
		return interim(c->fd, atol(path + 9));
	if (strcmp(path, "/close") == 0)
		return false;
	if (strncmp(path, "/exit/", 6) == 0)
		_exit(atoi(path + 6));
	if (strncmp(path, "/print/", 7) == 0) {
		for (long n = atol(path + 7); n > 0; n--)
			printf("%01023ld\n", n);
		fflush(stdout);
		return answer_text(c->fd, 200, "printed\n");
	}
	if (strncmp(path, "/burn/", 6) == 0) {
		burn_ms(atol(path + 6));
		return answer_text(c->fd, 200, "burnt\n");
	}
	if (strncmp(path, "/memory/", 8) == 0) {
		size_t n = strtoull(path + 8, NULL, 10) << 20;
		volatile char *p = malloc(n);
		for (size_t i = 0; p && i < n; i += 4096)
			p[i] = 1;
		return answer_text(c->fd, 200, p ? "taken\n" : "none\n");
	}
	if (strcmp(path, "/who") == 0 || strcmp(path, "/") == 0) {
		gethostname(name, sizeof(name));
		return answer_text(c->fd, 200, name);
	}
	return answer_text(c->fd, 404, "not found\n");
}

static void *
beat(void *arg)
{
	char path[512];
	unsigned long long name = 0;

	syscall(SYS_getrandom, &name, sizeof(name), 0);
	snprintf(path, sizeof(path), "%s/%016llx", (const char *)arg, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
	for (;;) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		dprintf(fd, "%lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
		wait_ms(20);
	}
	return NULL;
}

static void *
serve(void *arg)
{
	struct conn *c = arg;

	while (read_head(c) && serve_one(c))
		;
	close(c->fd);
	free(c);
	return NULL;
}

static void
leave(int sig)
{
	(void)sig;
	_exit(0);
}

static void *
end_later(void *arg)
{
	char *status;
	long ms = strtol(arg, &status, 10);

	wait_ms(ms);
	fprintf(stderr, "ending as told\n");
	_exit(*status ? atoi(status + 1) : 1);
}

/* All arguments -1: what a filter lets through fails by itself. */
static int
try_calls(char **numbers)
{
	for (; *numbers; numbers++) {
		long number = strtol(*numbers, NULL, 10);
		errno = 0;
		long got = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
		printf("%ld:%d\n", number, got < 0 ? errno : 0);
	}
	return 0;
}

/* What a profile that kills does to a program it was not made for. */
static void
break_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		perror("seccomp");
	(void)syscall(SYS_getppid);
}

static void
become(unsigned id)
{
	if (setgid(id) < 0 || setuid(id) < 0)
		exit(3);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
	pthread_t thread;
	int opt, one = 1;

	if (argc > 2 && strcmp(argv[1], "-s") == 0)
		return try_calls(argv + 2);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, leave); /* as process 1 it would not be ended by default */
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt(argc, argv, "p:a:d:x:u:b:k")) != -1) {
		if (opt == 'p')
			a.sin_port = htons((uint16_t)atoi(optarg));
		else if (opt == 'a')
			inet_pton(AF_INET, optarg, &a.sin_addr);
		else if (opt == 'd')
			wait_ms(atol(optarg));
		else if (opt == 'x')
			pthread_create(&thread, NULL, end_later, optarg);
		else if (opt == 'u')
			become((unsigned)atoi(optarg));
		else if (opt == 'b')
			pthread_create(&thread, NULL, beat, optarg);
		else if (opt == 'k')
			break_filter();
		else
			return 2;
	}
	int s = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 1024) < 0) {
		perror("listen");
		return 1;
	}
	printf("ready on port %d\n", ntohs(a.sin_port));
	for (;;) {
		int fd = accept(s, NULL, NULL);
		struct conn *c = fd >= 0 ? calloc(1, sizeof(*c)) : NULL;
		pthread_attr_t attr;

		if (!c)
			continue;
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 512 * 1024);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		if (pthread_create(&thread, &attr, serve, c) != 0) {
			close(fd);
			free(c);
		}
	}
}
