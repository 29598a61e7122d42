/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners on loopback with ports that the kernel picks. */
#include "node/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/folder.h"

enum { WORKERS = 3 };

static struct instance inst;
static struct listeners l;
static struct config config;

static int
set_up(void **state)
{
	char folder[] = "/tmp/zlayer-listen-XXXXXX";

	(void)state;
	memset(&config, 0, sizeof(config));
	memset(&inst, 0, sizeof(inst));
	assert_non_null(mkdtemp(folder));
	text_copy(inst.run_path, sizeof(inst.run_path), folder);
	text_copy(inst.name, sizeof(inst.name), "test");
	listeners_init(&l, &inst, WORKERS);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	listeners_fini(&l);
	assert_false(folder_holds(AT_FDCWD, inst.run_path));
	return rmdir(inst.run_path);
}

static void
want(const char *http)
{
	config.listen.http_count = 1;
	assert_true(addr_parse(http, &config.listen.http[0]));
	listeners_plan(&l, &config);
}

static struct listener *
named(const char *name)
{
	for (size_t i = 0; i < l.count; i++)
		if (text_equal(l.items[i].name, name))
			return &l.items[i];
	return NULL;
}

struct seen {
	unsigned count, last;
};

static void
see(void *arg, const char *name, int fd, bool last)
{
	struct seen *seen = arg;

	assert_non_null(name);
	assert_true(fd >= 0);
	seen->count++;
	seen->last += last;
}

static void
test_group(void **state)
{
	struct seen seen = {0};

	(void)state;
	want("127.0.0.1:0");
	assert_true(listeners_open(&l));
	assert_true(listeners_all_up(&l));
	assert_int_not_equal(named("http")->addr.port, 0);
	for (unsigned w = 0; w < WORKERS; w++)
		listeners_each(&l, ROLE_PROXY, w, true, see, &seen);
	assert_int_equal(seen.count, WORKERS);
	assert_int_equal(seen.last, WORKERS);
	listeners_settle(&l);
	listeners_each(&l, ROLE_PROXY, 0, true, see, &seen);
	assert_int_equal(seen.count, WORKERS);
	/* The admin socket is api's. */
	listeners_each(&l, ROLE_API, 0, false, see, &seen);
	assert_int_equal(seen.count, WORKERS + 1);
}

static void
test_taken_port_is_named_and_others_serve(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int one = 1, taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[64], who[64];

	(void)state;
	/* Willing to share: we are not. */
	setsockopt(taken, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(taken, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(taken, 1), 0);
	assert_int_equal(getsockname(taken, (struct sockaddr *)&at, &length), 0);
	text_format(text, sizeof(text), "127.0.0.1:%u", ntohs(at.sin_port));
	want(text);
	assert_true(listeners_open(&l));
	assert_false(named("http")->up);
	assert_true(named("admin")->up);
	assert_int_equal(named("http")->reason.code, EADDRINUSE);
	assert_non_null(strstr(named("http")->reason.what, text));
	text_format(who, sizeof(who), "(pid %d)", (int)getpid());
	assert_non_null(strstr(named("http")->reason.why[1], who));
	/* The same again is no news; once it is free it comes up. */
	assert_false(listeners_open(&l));
	close(taken);
	assert_true(listeners_open(&l));
	assert_true(listeners_all_up(&l));
}

/* Only in a cluster; any address is any address of both families; what is not wanted goes. */
static void
test_sealed(void **state)
{
	int type = 0;
	socklen_t length = sizeof(type);

	(void)state;
	config.listen.overlay.on = true;
	assert_true(addr_parse("127.0.0.1:0", &config.listen.overlay.addr));
	want("127.0.0.1:0");
	assert_null(named("overlay"));
	l.sealed = true;
	listeners_plan(&l, &config);
	assert_true(listeners_open(&l));
	const struct listener *udp = listeners_named(&l, "overlay");
	assert_true(udp && udp->up && !udp->inside && udp->sockets == 1 && udp->addr.port != 0);
	assert_int_equal(udp->role, ROLE_OVERLAY);
	assert_int_equal(getsockopt(udp->fds[0], SOL_SOCKET, SO_TYPE, &type, &length), 0);
	assert_int_equal(type, SOCK_DGRAM);
	/* Over an upgrade: the same socket. */
	struct listeners next;
	struct addr at = udp->addr;
	config.listen.overlay.addr = at;
	listeners_init(&next, &inst, WORKERS);
	next.sealed = true;
	listeners_plan(&next, &config);
	listeners_adopt(&next, ROLE_NODE, "overlay", dup(udp->fds[0]));
	(void)listeners_open(&next);
	assert_true(listeners_named(&next, "overlay")->up); /* nobody else could have it */
	assert_true(addr_equal(&listeners_named(&next, "overlay")->addr, &at));
	listeners_fini(&next);
	assert_true(addr_parse("0.0.0.0:0", &config.listen.overlay.addr));
	listeners_plan(&l, &config);
	size_t count = 0;
	for (size_t i = 0; i < l.count; i++)
		count += text_equal(l.items[i].name, "overlay");
	defer_close int v6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(count, v6 >= 0 ? 2 : 1);
	config.listen.overlay.on = false;
	listeners_plan(&l, &config);
	assert_null(named("overlay"));
}

static void
test_plan_keeps_what_stays(void **state)
{
	(void)state;
	want("127.0.0.1:0");
	assert_true(listeners_open(&l));
	int before = named("http")->fds[0];
	listeners_plan(&l, &config);
	assert_int_equal(named("http")->fds[0], before);
	config.listen.http_count = 0;
	listeners_plan(&l, &config);
	assert_null(named("http"));
	assert_int_equal(fcntl(before, F_GETFD), -1);
	assert_non_null(named("admin"));
}

static void
test_adopted_sockets_serve(void **state)
{
	struct listeners next;

	(void)state;
	want("127.0.0.1:0");
	assert_true(listeners_open(&l));
	config.listen.http[0] = named("http")->addr;
	listeners_init(&next, &inst, WORKERS);
	listeners_plan(&next, &config);
	for (unsigned w = 0; w < WORKERS; w++)
		listeners_adopt(&next, ROLE_PROXY, "http", dup(named("http")->fds[w]));
	listeners_adopt(&next, ROLE_PROXY, "https", dup(named("http")->fds[0]));
	assert_true(listeners_open(&next));
	assert_true(listeners_all_up(&next));
	for (size_t i = 0; i < next.count; i++)
		assert_int_equal(addr_equal(&next.items[i].addr, &next.items[i].want), 1);
	listeners_fini(&next);
}

/* What a proxy hands over is its own word. */
static void
test_not_every_socket_is_adopted(void **state)
{
	struct listeners next;

	(void)state;
	want("127.0.0.1:0");
	assert_true(listeners_open(&l));
	config.listen.http[0] = named("http")->addr;
	listeners_init(&next, &inst, WORKERS);
	listeners_plan(&next, &config);
	listeners_adopt(&next, ROLE_PROXY, "admin", dup(named("admin")->fds[0]));
	int deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	listeners_adopt(&next, ROLE_PROXY, "http", deaf);
	assert_int_equal(fcntl(deaf, F_GETFD), -1);
	listeners_adopt(&next, ROLE_PROXY, "http", open("/dev/null", O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < next.count; i++)
		assert_int_equal(next.items[i].fds[0], -1);
	listeners_adopt(&next, ROLE_NODE, "admin", dup(named("admin")->fds[0]));
	size_t admins = 0;
	for (size_t i = 0; i < next.count; i++)
		admins += next.items[i].fds[0] >= 0;
	assert_int_equal(admins, 1);
	listeners_fini(&next);
}

static void
count_gone(void *arg, const char *name, const struct addr *addr)
{
	unsigned *gone = arg;

	assert_true(text_equal(name, "tcp") || text_equal(name, "udp"));
	assert_true(addr->port != 0);
	(*gone)++;
}

/* A port that nobody else has now. */
static uint16_t
free_port(void)
{
	uint16_t port;

	want("127.0.0.1:0");
	assert_true(listeners_open(&l));
	port = named("http")->addr.port;
	config.listen.http_count = 0;
	listeners_plan(&l, &config);
	return port;
}

static void
test_ports_of_endpoints(void **state)
{
	struct listeners_port ports[2] = {{.port = free_port()}};
	struct listeners next;
	unsigned gone = 0;

	(void)state;
	ports[1] = (struct listeners_port){.port = ports[0].port, .udp = true};
	want("127.0.0.1:0");
	/* The same address twice is one. */
	config.listen.https_count = 1;
	assert_true(addr_parse("127.0.0.1:0", &config.listen.https[0]));
	listeners_plan(&l, &config);
	listeners_streams(&l, &config, ports, 2, count_gone, &gone);
	listeners_streams(&l, &config, ports, 2, count_gone, &gone);
	assert_int_equal(gone, 0);
	assert_true(listeners_open(&l));
	assert_true(listeners_all_up(&l));
	assert_int_equal(l.count, 5);
	assert_int_equal(named("tcp")->addr.port, ports[0].port);
	for (unsigned w = 0; w < WORKERS; w++)
		assert_true(named("tcp")->fds[w] >= 0 && named("udp")->fds[w] >= 0);
	/* A plan of the configuration leaves them; so does a node that does not know them yet. */
	listeners_plan(&l, &config);
	assert_int_equal(l.count, 5);
	listeners_init(&next, &inst, WORKERS);
	listeners_adopt(&next, ROLE_PROXY, "udp", dup(named("udp")->fds[1]));
	listeners_adopt(&next, ROLE_PROXY, "tcp", dup(named("tcp")->fds[1]));
	listeners_adopt(&next, ROLE_PROXY, "udp", dup(named("tcp")->fds[1]));
	assert_int_equal(next.count, 2);
	assert_true(listeners_open(&next));
	assert_true(listeners_all_up(&next));
	listeners_streams(&next, &config, ports + 1, 1, count_gone, &gone);
	assert_int_equal(gone, 1);
	assert_int_equal(next.count, 1);
	listeners_fini(&next);
	listeners_streams(&l, &config, ports, 0, count_gone, &gone);
	assert_int_equal(gone, 3);
	assert_int_equal(l.count, 3);
}

/* Whatever the scheduler says. */
static void
test_own_ports_are_not_given_away(void **state)
{
	struct listeners_port ports[4] = {{.port = 81}, {.port = 82}, {.port = 83, .udp = true}};

	(void)state;
	want("127.0.0.1:81");
	config.listen.api.on = config.listen.vxlan.on = true;
	assert_true(addr_parse("127.0.0.1:82", &config.listen.api.addr));
	assert_true(addr_parse("0.0.0.0:83", &config.listen.vxlan.addr));
	listeners_streams(&l, &config, ports, 3, NULL, NULL);
	assert_null(named("tcp"));
	assert_null(named("udp"));
	/* The other protocol is free. */
	ports[0].udp = true;
	listeners_streams(&l, &config, ports, 3, NULL, NULL);
	assert_null(named("tcp"));
	assert_int_equal(named("udp")->want.port, 81);
	listeners_streams(&l, &config, ports, 0, NULL, NULL);
}

/* Somebody else has it: said with the owner, and tried again. */
static void
test_port_that_is_taken(void **state)
{
	struct listeners_port port = {.udp = true};
	struct sockaddr_storage ss;
	struct addr at;
	socklen_t length = sizeof(ss);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(addr_parse("127.0.0.1:0", &at));
	length = addr_to_sockaddr(&at, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, length), 0);
	length = sizeof(ss);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&ss, length, &at));
	port.port = at.port;
	want("127.0.0.1:0");
	listeners_streams(&l, &config, &port, 1, NULL, NULL);
	assert_true(listeners_open(&l));
	assert_false(listeners_all_up(&l));
	assert_true(named("http")->up);
	assert_int_equal(named("udp")->reason.code, EADDRINUSE);
	assert_non_null(strstr(named("udp")->reason.why[1], "test_node"));
	fd_close(&fd);
	assert_true(listeners_open(&l));
	assert_true(listeners_all_up(&l));
}

static void
test_admin_is_private(void **state)
{
	char path[INSTANCE_PATH + 16];
	struct stat sb;

	(void)state;
	want("127.0.0.1:0");
	listeners_open(&l);
	text_format(path, sizeof(path), "%s/zlayer.sock", inst.run_path);
	assert_int_equal(stat(path, &sb), 0);
	assert_true(S_ISSOCK(sb.st_mode));
	assert_int_equal(sb.st_mode & 0007, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_group, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_taken_port_is_named_and_others_serve, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_plan_keeps_what_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sealed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_every_socket_is_adopted, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_adopted_sockets_serve, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ports_of_endpoints, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_ports_are_not_given_away, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_port_that_is_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_admin_is_private, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
