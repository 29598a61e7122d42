/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules, in words:
 *
 *   out    what containers send to the world leaves with the machine's own address
 *   pass   into the fabric goes only what answers (established, related); nothing comes out of it
 *          with another source than a container's; and a link that forwards only because of us
 *          forwards only for containers, so that the machine does not become a router by accident
 *
 * A verdict "accept" ends only our chain: a firewall of the machine with a chain of its own still
 * has its say, and one that drops what is forwarded cuts containers off from the world.
 *
 * The program gets its rules from a memory file, has one capability, a user of its own, and sees of
 * the file system only programs and libraries.
 */
#include "node/uplink_nft.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "node/filter.h"
#include "node/program.h"
#include "node/uplink_mark.h"

enum { RUN_S = 20, SAID_BYTES = 400 };

void
uplink_nft_name(const char *instance, char out[UPLINK_NFT_NAME_BYTES])
{
	text_format(out, UPLINK_NFT_NAME_BYTES, "zlayer-%s", instance);
}

/* ---- rules ---- */

static void
rule_of_mark(void *arg, const char *word)
{
	struct buf *out = arg;

	if (text_starts(word, "4:") && !uplink_mark_routes4())
		buf_printf(out, "\t\tmeta nfproto ipv4 iifname \"%s\" oifname != \"zl-*\" drop\n",
			   word + 2);
	else if (text_starts(word, "6:") && !uplink_mark_routes6())
		buf_printf(out, "\t\tmeta nfproto ipv6 iifname \"%s\" oifname != \"zl-*\" drop\n",
			   word + 2);
	else if (strcmp(word, "all6") == 0)
		buf_puts(out,
			 "\t\tmeta nfproto ipv6 iifname != \"zl-*\" oifname != \"zl-*\" drop\n");
}

void
uplink_nft_rules(const struct uplink_wanted *wanted, const char *const *aliases, size_t count,
		 struct buf *out)
{
	char table[UPLINK_NFT_NAME_BYTES], link[IFNAMSIZ], v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	uplink_nft_name(wanted->instance, table);
	uplink_name(wanted->instance, link);
	addr_put_prefix(&wanted->v4, v4, sizeof(v4));
	addr_put_prefix(&wanted->v6, v6, sizeof(v6));
	buf_printf(out, "table inet %s\ndelete table inet %s\ntable inet %s {\n", table, table,
		   table);
	buf_printf(out,
		   "\tchain out {\n"
		   "\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
		   "\t\tip saddr %s oifname != \"zl-*\" masquerade\n"
		   "\t\tip6 saddr %s oifname != \"zl-*\" masquerade\n"
		   "\t}\n",
		   v4, v6);
	buf_printf(out,
		   "\tchain pass {\n"
		   "\t\ttype filter hook forward priority filter; policy accept;\n"
		   "\t\toifname \"%s\" ct state established,related accept\n"
		   "\t\toifname \"%s\" drop\n"
		   "\t\tiifname \"%s\" ip saddr != %s drop\n"
		   "\t\tiifname \"%s\" ip6 saddr != %s drop\n",
		   link, link, link, v4, link, v6);
	for (size_t i = 0; i < count; i++)
		uplink_mark_each(aliases[i], rule_of_mark, out);
	buf_puts(out, "\t}\n}\n");
}

/* ---- the program ---- */

static const char *
find_program(void)
{
	static const char *const paths[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft",
					    "/usr/bin/nft"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	return NULL;
}

static int
confine(uid_t uid, struct err *err)
{
	static struct sock_filter filter[FILTER_INSTRUCTIONS_MAX];
	struct sandbox s = {.set_ids = true,
			    .uid = uid,
			    .gid = uid,
			    .keep_caps = UINT64_C(1) << CAP_NET_ADMIN,
			    .ambient = true,
			    .landlock = true,
			    .filter = filter};
	int landlock;

	if (filter_compile(FILTER_HOST, filter, &s.filter_count, err) < 0)
		return -1;
	program_see_libraries(&s);
	return sandbox_enter(&s, &landlock, err);
}

static _Noreturn void
become_nft(const char *program, int rules, int said, uid_t uid)
{
	static char name[] = "nft", flag[] = "-f", dash[] = "-";
	char *argv[] = {name, flag, dash, NULL};
	char *envp[] = {NULL};
	struct err err = {0};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	alarm(RUN_S);
	if (dup2(rules, STDIN_FILENO) < 0 || dup2(said, STDOUT_FILENO) < 0 ||
	    dup2(said, STDERR_FILENO) < 0)
		_exit(127);
	if (confine(uid, &err) < 0)
		dprintf(STDERR_FILENO, "%s: %s\n", err.what, err.whys ? err.why[0] : "");
	else if (execve(program, argv, envp) < 0)
		dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static void
hear(int fd, char *out, size_t cap)
{
	size_t have = 0;
	char rest[256];

	for (;;) {
		bool full = have + 1 >= cap;
		ssize_t n =
			full ? read(fd, rest, sizeof(rest)) : read(fd, out + have, cap - 1 - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (!full)
			have += (size_t)n;
	}
	out[have] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

int
uplink_nft_run(const char *rules, size_t bytes, uid_t uid, struct err *err)
{
	const char *program = find_program();
	char said[SAID_BYTES];
	int status = 0, ends[2];

	if (!program) {
		err_set(err, ERR_NOT_FOUND, "the nft program is not there");
		return err_fix(err, "install the package nftables");
	}
	defer_close int text = fd_memfd_sealed("nft", rules, bytes);
	if (text < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot run the nft program");
	defer_close int ours = ends[0], theirs = ends[1];
	/* Not fork(3): libuv would close what it takes for its own descriptors. */
	pid_t pid = _Fork();
	if (pid == 0)
		become_nft(program, text, theirs, uid);
	if (pid < 0)
		return err_sys(err, errno, "cannot run the nft program");
	fd_close(&theirs);
	hear(ours, said, sizeof(said));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (status == 0)
		return 0;
	err_set(err, ERR_SYSTEM, "the nft program failed");
	return err_why(err, "%s",
		       said[0]             ? said
		       : WIFEXITED(status) ? "it gave no reason"
					   : "it was ended by a signal");
}

/* ---- the kernel's answer ---- */

bool
uplink_nft_there(const char *instance)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg gen;
		struct nlattr attr;
		char name[UPLINK_NFT_NAME_BYTES];
	} ask = {0};
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;
	struct timeval limit = {.tv_sec = 5};
	defer_close int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	uplink_nft_name(instance, ask.name);
	ask.attr.nla_type = NFTA_TABLE_NAME;
	ask.attr.nla_len = (uint16_t)(sizeof(ask.attr) + strlen(ask.name) + 1);
	ask.gen.nfgen_family = NFPROTO_INET;
	ask.head.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	ask.head.nlmsg_flags = NLM_F_REQUEST;
	ask.head.nlmsg_len =
		(uint32_t)(offsetof(__typeof__(ask), attr) + ((ask.attr.nla_len + 3U) & ~3U));
	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    send(sock, &ask, ask.head.nlmsg_len, 0) < 0)
		return false;
	ssize_t n = recv(sock, &answer, sizeof(answer), 0);
	return n >= (ssize_t)sizeof(answer.head) && answer.head.nlmsg_type != NLMSG_ERROR;
}
