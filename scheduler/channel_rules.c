/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a peer is gets judged during the handshake, so that a stranger learns nothing more than our
 * certificate, and once more after it, for what the owner is told.
 */
#include "scheduler/channel_inside.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/world.h"

static const char protocol[] = "zlayer/1";

static bool
judge_member(const struct identity_authority *a, int64_t ahead_s, const void *der, size_t bytes,
	     struct identity *who, enum channel_standing *standing)
{
	int64_t now_s = world_wall_ns() / 1000000000;
	enum identity_verdict verdict = identity_judge(a, der, bytes, now_s, who);

	/* A machine whose own clock is wrong does not cut itself off by that. */
	if (verdict == IDENTITY_OUT_OF_TIME && ahead_s)
		verdict = identity_judge(a, der, bytes, now_s + ahead_s, who);
	*standing = verdict == IDENTITY_GOOD ? CHANNEL_MEMBER : CHANNEL_LAPSED;
	return verdict == IDENTITY_GOOD || verdict == IDENTITY_OUT_OF_TIME;
}

/* The authority comes with the chain, and is known by its digest. */
static bool
judge_by_cluster(const uint8_t *cluster, const void *leaf, size_t leaf_bytes, struct cursor *rest,
		 struct identity *who, enum channel_standing *standing)
{
	struct identity_authority a;
	struct err err = {0};
	size_t bytes;
	const void *der = cursor_blob(rest, IDENTITY_CERTIFICATE_MAX, &bytes);

	if (!der || identity_authority_of(&a, der, bytes, cluster, &err) < 0)
		return false;
	bool good = judge_member(&a, 0, leaf, leaf_bytes, who, standing);
	identity_authority_fini(&a);
	return good;
}

bool
channel_judge(const struct channel_rules *rules, bool strangers, const void *chain,
	      size_t chain_bytes, struct identity *who, enum channel_standing *standing)
{
	struct cursor c;
	size_t bytes;

	cursor_init(&c, chain, chain_bytes);
	const void *der = cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, &bytes);
	if (!der)
		return false;
	if (!rules->authority)
		return judge_by_cluster(rules->cluster, der, bytes, &c, who, standing);
	if (judge_member(rules->authority, rules->ahead_s, der, bytes, who, standing))
		return true;
	*standing = CHANNEL_STRANGER;
	return strangers && identity_is_alone(der, bytes, who);
}

static bool
judge_client(void *arg, const void *chain, size_t bytes)
{
	const struct channel_rules *rules = arg;
	enum channel_standing standing;
	struct identity who;

	return channel_judge(rules, rules->strangers, chain, bytes, &who, &standing);
}

static bool
judge_server(void *arg, const void *chain, size_t bytes)
{
	enum channel_standing standing;
	struct identity who;

	return channel_judge(arg, false, chain, bytes, &who, &standing);
}

static struct tls_context *
choose(void *arg, const char *host)
{
	const struct channel_rules *rules = arg;

	(void)host;
	return rules->context;
}

static int
set_tls(struct channel_rules *rules, const void *chain, size_t bytes, struct evp_pkey_st *key,
	struct err *err)
{
	const struct tls_server_config server = {.select = choose,
						 .select_arg = rules,
						 .tls13_only = true,
						 .judge = judge_client,
						 .judge_arg = rules,
						 .protocol = protocol};
	const struct tls_client_config client = {.chain = chain,
						 .chain_bytes = bytes,
						 .key = key,
						 .judge = judge_server,
						 .judge_arg = rules,
						 .protocol = protocol};

	if (tls_server_new(&server, &rules->server, err) < 0 ||
	    tls_context_new(rules->server, chain, bytes, key, &rules->context, err) < 0)
		return -1;
	return tls_client_new(&client, &rules->client, err);
}

int
channel_rules_new(const struct channel_rules_config *config, struct channel_rules **out,
		  struct err *err)
{
	struct channel_rules *rules = mem_zalloc(MEM_SCHEDULER, sizeof(*rules));
	struct evp_pkey_st *key = identity_keys_pkey(config->keys);
	int rc = -1;

	assert(config->authority || config->cluster);
	if (rules && key) {
		rules->refs = 1;
		rules->authority = config->authority;
		rules->strangers = config->strangers;
		if (config->cluster)
			memcpy(rules->cluster, config->cluster, IDENTITY_CLUSTER);
		rc = set_tls(rules, config->chain, config->chain_bytes, key, err);
	} else {
		err_set(err, ERR_NO_MEMORY, "cannot set connections between nodes up");
	}
	EVP_PKEY_free(key);
	if (rc < 0)
		channel_rules_unref(rules);
	else
		*out = rules;
	return rc;
}

void
channel_rules_clock(struct channel_rules *rules, int64_t ahead_s)
{
	rules->ahead_s = ahead_s;
}

void
channel_rules_ref(struct channel_rules *rules)
{
	rules->refs++;
}

void
channel_rules_unref(struct channel_rules *rules)
{
	if (!rules || --rules->refs > 0)
		return;
	tls_client_free(rules->client);
	tls_context_unref(rules->context);
	tls_server_free(rules->server);
	mem_free(rules);
}
