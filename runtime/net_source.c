/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transaction of nf_tables (nfnetlink's batches): the table is made, so that it can be
 * removed, removed, and made again with one chain and one rule. In words of nft(8):
 *
 *   table inet zlayer_sources { chain check { type filter hook prerouting priority raw;
 *           meta iifgroup NET_SOURCE_GROUP fib saddr . iif oif 0 drop; } }
 *
 * Numbers of nf_tables are in network order.
 */
#include "runtime/net_source.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "runtime/net.h"

#define TABLE "zlayer_sources"
#define CHAIN "check"

enum { BATCH_BYTES = 2048, RAW_PRIORITY = -300 };

struct batch {
	size_t used;
	size_t message; /* where the last one begins */
	uint32_t sequence;
	_Alignas(8) uint8_t bytes[BATCH_BYTES];
};

/* ---- writing ---- */

static void *
extend(struct batch *b, size_t bytes)
{
	uint8_t *at = b->bytes + b->used;
	assert(bytes <= sizeof(b->bytes) - b->used);
	b->used += NLMSG_ALIGN(bytes);
	return at;
}

static struct nlmsghdr *
head_of(struct batch *b)
{
	return (struct nlmsghdr *)(void *)(b->bytes + b->message);
}

static void
begin(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	b->message = b->used;
	struct nlmsghdr *h = extend(b, sizeof(*h));
	struct nfgenmsg *m = extend(b, sizeof(*m));
	*h = (struct nlmsghdr){
		.nlmsg_type = type,
		.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
		.nlmsg_seq = ++b->sequence,
	};
	*m = (struct nfgenmsg){
		.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
}

static void
begin_nft(struct batch *b, uint16_t what, uint16_t flags)
{
	begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, NFPROTO_INET, 0);
}

static void
end(struct batch *b)
{
	head_of(b)->nlmsg_len = (uint32_t)(b->used - b->message);
}

static void
put(struct batch *b, uint16_t type, const void *data, size_t bytes)
{
	struct nlattr *a = extend(b, sizeof(struct nlattr) + bytes);
	a->nla_type = type;
	a->nla_len = (uint16_t)(sizeof(struct nlattr) + bytes);
	memcpy(a + 1, data, bytes);
}

static void
put_text(struct batch *b, uint16_t type, const char *text)
{
	put(b, type, text, strlen(text) + 1);
}

static void
put_u32(struct batch *b, uint16_t type, uint32_t value)
{
	uint32_t be = htonl(value);
	put(b, type, &be, sizeof(be));
}

static size_t
nest(struct batch *b, uint16_t type)
{
	size_t at = b->used;
	struct nlattr *a = extend(b, sizeof(struct nlattr));
	a->nla_type = type | NLA_F_NESTED;
	return at;
}

static void
close_nest(struct batch *b, size_t at)
{
	((struct nlattr *)(void *)(b->bytes + at))->nla_len = (uint16_t)(b->used - at);
}

/* ---- the rule ---- */

struct expression {
	size_t element, data;
};

static struct expression
open_expression(struct batch *b, const char *name)
{
	struct expression e = {.element = nest(b, NFTA_LIST_ELEM)};
	put_text(b, NFTA_EXPR_NAME, name);
	e.data = nest(b, NFTA_EXPR_DATA);
	return e;
}

static void
close_expression(struct batch *b, struct expression e)
{
	close_nest(b, e.data);
	close_nest(b, e.element);
}

/* What the register holds must be these bytes, or the rule ends. */
static void
put_equal(struct batch *b, const void *value, size_t bytes)
{
	struct expression e = open_expression(b, "cmp");
	put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	put_u32(b, NFTA_CMP_OP, NFT_CMP_EQ);
	size_t data = nest(b, NFTA_CMP_DATA);
	put(b, NFTA_DATA_VALUE, value, bytes);
	close_nest(b, data);
	close_expression(b, e);
}

static void
put_group(struct batch *b)
{
	const uint32_t group = NET_SOURCE_GROUP; /* of this host: so is what the kernel loads */
	struct expression e = open_expression(b, "meta");
	put_u32(b, NFTA_META_DREG, NFT_REG_1);
	put_u32(b, NFTA_META_KEY, NFT_META_IIFGROUP);
	close_expression(b, e);
	put_equal(b, &group, sizeof(group));
}

static void
put_no_way_back(struct batch *b)
{
	const uint32_t none = 0;
	struct expression e = open_expression(b, "fib");
	put_u32(b, NFTA_FIB_DREG, NFT_REG_1);
	put_u32(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_OIF);
	put_u32(b, NFTA_FIB_FLAGS, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF);
	close_expression(b, e);
	put_equal(b, &none, sizeof(none));
}

static void
put_drop(struct batch *b)
{
	struct expression e = open_expression(b, "immediate");
	put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t data = nest(b, NFTA_IMMEDIATE_DATA);
	size_t verdict = nest(b, NFTA_DATA_VERDICT);
	put_u32(b, NFTA_VERDICT_CODE, NF_DROP);
	close_nest(b, verdict);
	close_nest(b, data);
	close_expression(b, e);
}

/* ---- the transaction ---- */

static void
put_table(struct batch *b, uint16_t what, uint16_t flags)
{
	begin_nft(b, what, flags);
	put_text(b, NFTA_TABLE_NAME, TABLE);
	end(b);
}

static void
put_chain(struct batch *b)
{
	begin_nft(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	put_text(b, NFTA_CHAIN_TABLE, TABLE);
	put_text(b, NFTA_CHAIN_NAME, CHAIN);
	size_t hook = nest(b, NFTA_CHAIN_HOOK);
	put_u32(b, NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
	put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)RAW_PRIORITY);
	close_nest(b, hook);
	put_text(b, NFTA_CHAIN_TYPE, "filter");
	end(b);
}

static void
put_rule(struct batch *b)
{
	begin_nft(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
	put_text(b, NFTA_RULE_TABLE, TABLE);
	put_text(b, NFTA_RULE_CHAIN, CHAIN);
	size_t list = nest(b, NFTA_RULE_EXPRESSIONS);
	put_group(b);
	put_no_way_back(b);
	put_drop(b);
	close_nest(b, list);
	end(b);
}

/* Gives the number of the message whose answer ends the conversation. */
static uint32_t
fill(struct batch *b, bool on)
{
	begin(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end(b);
	put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_table(b, NFT_MSG_DELTABLE, on ? 0 : NLM_F_ACK);
	if (on) {
		put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
		put_chain(b);
		put_rule(b);
	}
	uint32_t last = b->sequence;
	begin(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end(b);
	return last;
}

/* 0, or the errno of the first message that was refused. */
static int
await(int sock, uint32_t last)
{
	_Alignas(8) char bytes[8192];
	for (;;) {
		ssize_t n = recv(sock, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		size_t left = (size_t)n;
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)bytes;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			struct nlmsgerr e;
			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(e)))
				continue;
			memcpy(&e, NLMSG_DATA(h), sizeof(e));
			if (e.error != 0)
				return -e.error;
			if (h->nlmsg_seq == last)
				return 0;
		}
	}
}

int
net_source_check(int fabric, bool on, struct err *err)
{
	struct batch b = {0};
	uint32_t last = fill(&b, on);
	defer_close int sock = net_socket(fabric, NETLINK_NETFILTER, err);
	if (sock < 0)
		return err_where(err, "nf_tables");
	int code = send(sock, b.bytes, b.used, 0) == (ssize_t)b.used ? await(sock, last) : errno;
	if (code == 0)
		return 0;
	err_sys(err, code, "cannot let the kernel check what containers send");
	return err_fix(err,
		       "load the kernel's modules nf_tables and nft_fib_inet, or let BPF do it "
		       "(dataplane.mode)");
}
