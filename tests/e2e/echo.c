/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers run in tests of tcp and udp endpoints.
 *
 *   echo [PORT]   TCP PORT: every byte back; after the client's end, the end
 *                 TCP PORT+1: a line with its own address, then as above
 *                 TCP PORT+2: a line with 28 or 52 bytes of a PROXY header in hex, then as above
 *                 TCP PORT+3: "bye" and its end at once; then it reads, and prints how many bytes
 *                 came
 *                 TCP PORT+4: a line with its own address, and address and port of the client, then
 *                 as above
 *                 UDP PORT: every datagram back, after its own address and a space; "ping": "pong"
 *                 UDP PORT+1: the same, whole datagrams (with a PROXY header) in hex
 *                 UDP PORT+4: its own address, and address and port of the client
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PLAIN, NAMED, HEADER, FIRST, WHO, LISTEN, DATAGRAM };
enum { AS_IS, IN_HEX, WHO_ONLY };

struct conn {
	int fd;
	int kind;
	int serves; /* of a listener: kind of its connections; of udp: what it answers */
	bool eof;
	size_t taken;
	size_t from, length;
	char data[16384];
};

static char name[64] = "?";
static int epoll;

static void
find_name(void)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		struct sockaddr_in a;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(&a, i->ifa_addr, sizeof(a));
		if (a.sin_addr.s_addr != htonl(INADDR_LOOPBACK))
			inet_ntop(AF_INET, &a.sin_addr, name, sizeof(name));
	}
	freeifaddrs(all);
}

static struct conn *
add(int fd, int kind, int serves)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

	if (!c)
		abort();
	c->fd = fd;
	c->kind = kind;
	c->serves = serves;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
	return c;
}

static void
serve(int port, int type, int kind, int serves)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int on = 1, off = 0, fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 4096) < 0)) {
		perror("bind");
		exit(1);
	}
	add(fd, kind, serves);
}

static void
drop(struct conn *c)
{
	close(c->fd);
	free(c);
}

static size_t
hex(const char *data, size_t length, char *out)
{
	for (size_t i = 0; i < length; i++)
		sprintf(out + 2 * i, "%02x", (unsigned char)data[i]);
	return 2 * length;
}

static void
say(struct conn *c, const char *text, size_t length)
{
	memcpy(c->data + c->from + c->length, text, length);
	c->length += length;
}

/* The whole header is waited for; false: not there yet. */
static bool
show_header(struct conn *c)
{
	char header[64], text[160];
	ssize_t n = recv(c->fd, header, sizeof(header), MSG_PEEK);
	size_t bytes = n >= 16 ? 16 + (size_t)(unsigned char)header[15] : 0;

	if (n <= 0 || !bytes || bytes > sizeof(header) || (size_t)n < bytes)
		return n == 0 || (n < 0 && errno != EAGAIN);
	n = recv(c->fd, header, bytes, 0);
	size_t length = hex(header, (size_t)n, text);
	text[length++] = '\n';
	say(c, text, length);
	c->kind = PLAIN;
	return true;
}

/* Its own half is over. */
static void
swallow(struct conn *c)
{
	ssize_t n = recv(c->fd, c->data, sizeof(c->data), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		c->taken += (size_t)n;
		return;
	}
	printf("%s after %zu bytes\n", n == 0 ? "end" : "reset", c->taken);
	fflush(stdout);
	drop(c);
}

static void
pump(struct conn *c)
{
	struct epoll_event e = {.data.ptr = c};

	if (c->kind == FIRST) {
		swallow(c);
		return;
	}
	if (c->kind == HEADER && !show_header(c))
		return;
	if (!c->eof && c->from + c->length < sizeof(c->data)) {
		ssize_t n = recv(c->fd, c->data + c->from + c->length,
				 sizeof(c->data) - c->from - c->length, 0);

		if (n < 0 && errno != EAGAIN) {
			drop(c);
			return;
		}
		c->eof = n == 0;
		c->length += n > 0 ? (size_t)n : 0;
	}
	if (c->length) {
		ssize_t n = send(c->fd, c->data + c->from, c->length, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN) {
			drop(c);
			return;
		}
		c->from += n > 0 ? (size_t)n : 0;
		c->length -= n > 0 ? (size_t)n : 0;
	}
	if (!c->length)
		c->from = 0;
	if (!c->length && c->eof) {
		drop(c);
		return;
	}
	e.events = (c->eof || c->from + c->length == sizeof(c->data) ? 0u : (unsigned)EPOLLIN) |
		   (c->length ? (unsigned)EPOLLOUT : 0u);
	epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* "OWN CLIENT PORT" */
static size_t
put_who(const struct sockaddr_in6 *from, char *out)
{
	char text[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_V4MAPPED(&from->sin6_addr))
		inet_ntop(AF_INET, from->sin6_addr.s6_addr + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &from->sin6_addr, text, sizeof(text));
	return (size_t)sprintf(out, "%s %s %u", name, text, ntohs(from->sin6_port));
}

static void
take(struct conn *listener)
{
	struct sockaddr_in6 from;
	socklen_t length = sizeof(from);
	int fd = accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK);
	char text[160];

	if (fd < 0)
		return;
	struct conn *c = add(fd, listener->serves, 0);
	if (c->kind == NAMED) {
		say(c, name, strlen(name));
		say(c, "\n", 1);
		pump(c);
	} else if (c->kind == WHO) {
		say(c, text, put_who(&from, text));
		say(c, "\n", 1);
		pump(c);
	} else if (c->kind == FIRST) {
		send(fd, "bye", 3, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
	}
}

static void
answer(const struct conn *c)
{
	static char data[65536], out[140000];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	ssize_t n = recvfrom(c->fd, data, sizeof(data), 0, (struct sockaddr *)&from, &length);
	size_t at;

	if (n < 0)
		return;
	if (n == 4 && memcmp(data, "ping", 4) == 0) {
		memcpy(out, "pong", at = 4);
	} else {
		at = (size_t)sprintf(out, "%s ", name);
		if (c->serves == WHO_ONLY) {
			at = put_who((const struct sockaddr_in6 *)(const void *)&from, out);
		} else if (c->serves == IN_HEX) {
			at += hex(data, (size_t)n, out + at);
		} else {
			memcpy(out + at, data, (size_t)n);
			at += (size_t)n;
		}
	}
	sendto(c->fd, out, at, 0, (struct sockaddr *)&from, length);
}

static void
end(int number)
{
	_exit(128 + number);
}

int
main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 7000;
	struct epoll_event events[64];

	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, end); /* process 1 has no default for it */
	find_name();
	epoll = epoll_create1(0);
	serve(port, SOCK_STREAM, LISTEN, PLAIN);
	serve(port + 1, SOCK_STREAM, LISTEN, NAMED);
	serve(port + 2, SOCK_STREAM, LISTEN, HEADER);
	serve(port + 3, SOCK_STREAM, LISTEN, FIRST);
	serve(port + 4, SOCK_STREAM, LISTEN, WHO);
	serve(port, SOCK_DGRAM, DATAGRAM, AS_IS);
	serve(port + 1, SOCK_DGRAM, DATAGRAM, IN_HEX);
	serve(port + 4, SOCK_DGRAM, DATAGRAM, WHO_ONLY);
	while (true) {
		int n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c->kind == LISTEN)
				take(c);
			else if (c->kind == DATAGRAM)
				answer(c);
			else
				pump(c);
		}
	}
}
