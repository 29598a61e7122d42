/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For `init.wait_tcp` and `init.wait_http`. Linked into a static program, so the C library's
 * resolver is of no use; what it would do is done here over UDP with wire/dns_stub.c. Everything is
 * read again at each try: names come and go. Of an HTTP answer only the status line is looked at
 * (RFC 9112 4). Not done: TLS.
 */
#include "runtime/monitor/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "wire/dns_stub.h"

enum { LOOK_UP_MS = 2000, CONNECT_MS = 3000, ANSWER_MS = 5000, FILE_BYTES = 65536 };

static char file_text[FILE_BYTES];

static size_t
read_file(const char *path)
{
	size_t used = 0;
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	while (fd >= 0 && used < sizeof(file_text)) {
		ssize_t n = read(fd, file_text + used, sizeof(file_text) - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

static bool
ready(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, ms) == 1;
}

/* ---- names ---- */

static enum dns_stub_status
ask(const struct addr *server, const char *name, enum dns_stub_type type,
    struct dns_stub_addrs *out)
{
	uint8_t query[DNS_STUB_QUERY_BYTES], answer[DNS_STUB_ANSWER_BYTES];
	struct sockaddr_storage to;
	uint16_t id = 0;
	socklen_t length = addr_to_sockaddr(server, &to);

	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return DNS_STUB_FAILED;
	size_t bytes = dns_stub_query(id, name, type, query);
	defer_close int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bytes == 0)
		return DNS_STUB_NO_NAME;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, length) < 0 ||
	    send(fd, query, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		return DNS_STUB_FAILED;
	/* Strangers' answers are passed over, a few at most. */
	for (int i = 0; i < 8 && ready(fd, POLLIN, LOOK_UP_MS); i++) {
		ssize_t n = recv(fd, answer, sizeof(answer), 0);
		if (n < 0)
			return DNS_STUB_FAILED;
		enum dns_stub_status status =
			dns_stub_answer(answer, (size_t)n, id, name, type, out);
		if (status != DNS_STUB_FOREIGN)
			return status;
	}
	return DNS_STUB_FAILED;
}

/* True when some server knew whether there is such a name. */
static bool
ask_all(const struct dns_stub_conf *conf, const char *name, struct dns_stub_addrs *out)
{
	for (size_t i = 0; i < conf->servers_count; i++) {
		enum dns_stub_status four = ask(&conf->servers[i], name, DNS_STUB_A, out);
		enum dns_stub_status six =
			four == DNS_STUB_OK ? ask(&conf->servers[i], name, DNS_STUB_AAAA, out)
					    : four;

		if (four != DNS_STUB_FAILED || six != DNS_STUB_FAILED)
			return true;
	}
	return false;
}

static bool
look_up(const char *host, struct dns_stub_addrs *out, char why[REACH_WHY])
{
	static struct dns_stub_conf conf;
	char name[DNS_STUB_NAME_BYTES];
	bool known = false;

	out->count = 0;
	if (addr_parse_ip(host, &out->items[0])) {
		out->count = 1;
		return true;
	}
	dns_stub_hosts(file_text, read_file("/etc/hosts"), host, out);
	if (out->count > 0)
		return true;
	dns_stub_conf(file_text, read_file("/etc/resolv.conf"), &conf);
	for (size_t i = 0;
	     out->count == 0 && dns_stub_candidate(&conf, host, i, name, sizeof(name)); i++)
		known |= ask_all(&conf, name, out);
	if (out->count > 0)
		return true;
	text_format(why, REACH_WHY,
		    known ? "there is no name %.100s" : "no name server answers for %.100s", host);
	return false;
}

/* ---- connections ---- */

static int
open_connection(const struct addr *to, char why[REACH_WHY])
{
	struct sockaddr_storage name;
	socklen_t length = addr_to_sockaddr(to, &name), size = sizeof(int);
	int code = 0;
	int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		code = errno;
	else if (connect(fd, (struct sockaddr *)&name, length) < 0)
		code = errno;
	if (fd >= 0 && code == EINPROGRESS) {
		if (!ready(fd, POLLOUT, CONNECT_MS))
			code = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
			code = errno;
	}
	if (code == 0)
		return fd;
	text_format(why, REACH_WHY, "%s",
		    code == ECONNREFUSED ? "connection refused"
		    : code == ETIMEDOUT  ? "no answer"
					 : strerror(code));
	fd_close(&fd);
	return -1;
}

static int
connect_to(const struct plan_step *step, char why[REACH_WHY])
{
	struct dns_stub_addrs addrs;

	if (!look_up(step->host, &addrs, why))
		return -1;
	for (size_t i = 0; i < addrs.count; i++) {
		addrs.items[i].port = step->port;
		int fd = open_connection(&addrs.items[i], why);

		if (fd >= 0)
			return fd;
	}
	return -1;
}

unsigned
reach_status(const char *text, size_t bytes)
{
	unsigned status = 0;

	if (bytes < 13 || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ')
		return 0;
	for (size_t i = 9; i < 12; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		status = status * 10 + (unsigned)(text[i] - '0');
	}
	return text[12] == ' ' || text[12] == '\r' || text[12] == '\n' ? status : 0;
}

static bool
ask_http(int fd, const struct plan_step *step, char why[REACH_WHY])
{
	char text[4096];
	size_t used = 0;
	bool six = strchr(step->host, ':') != NULL;

	text_format(text, sizeof(text),
		    "GET %.2048s HTTP/1.1\r\nHost: %s%.256s%s:%u\r\nUser-Agent: zlayer\r\n"
		    "Accept: */*\r\nConnection: close\r\n\r\n",
		    step->path, six ? "[" : "", step->host, six ? "]" : "", step->port);
	size_t bytes = strlen(text);
	if (send(fd, text, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) {
		text_format(why, REACH_WHY, "the request could not be sent");
		return false;
	}
	while (used < 13 && ready(fd, POLLIN, ANSWER_MS)) {
		ssize_t n = recv(fd, text + used, sizeof(text) - used, 0);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	unsigned status = reach_status(text, used);
	if (status == step->expect_status)
		return true;
	if (status)
		text_format(why, REACH_WHY, "GET %.100s answers %u, not %u", step->path, status,
			    step->expect_status);
	else
		text_format(why, REACH_WHY, "GET %.100s: no HTTP answer", step->path);
	return false;
}

bool
reach_try(const struct plan_step *step, char why[REACH_WHY])
{
	char problem[REACH_WHY] = "";
	defer_close int fd = connect_to(step, problem);
	bool good = fd >= 0 && (step->kind == PLAN_STEP_TCP || ask_http(fd, step, problem));

	if (!good)
		text_format(why, REACH_WHY, "%.60s:%u: %.120s", step->host, step->port, problem);
	return good;
}
