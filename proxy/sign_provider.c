/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The provider "zlayer": key management and signatures for RSA and EC keys whose private halves are
 * in signer's process.
 *
 * A key keeps an ordinary public key of the default provider and passes on every question about
 * sizes, groups and equality to it. It exports its public half only, and refuses to export a
 * private one: otherwise the library would move the key to the default provider before signing.
 *
 * Signing: hash here, ask signer for the rest (it pads: it must not be an oracle), pause. The
 * question and its answer live in a struct sign_wait on the heap; whoever sees the end of it frees
 * it.
 */

#include "proxy/sign_provider.h"

#include <openssl/async.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"

#define HANDLE_PARAM "zlayer-handle"

enum { SIGNATURE_MAX = 1024 };

struct sign_wait {
	void *owner;
	bool done;
	size_t bytes;
	uint8_t signature[SIGNATURE_MAX];
};

struct key {
	EVP_PKEY *public_key;
	const char *type;
	uint64_t handle;
};

struct signing {
	struct key *key;
	const EVP_MD *md;
	int padding;
	int salt_bytes; /* RSA_PSS_SALTLEN_DIGEST, or a number */
};

void *sign_provider_owner;

static sign_ask_fn ask_signer;
static void *ask_arg;

/* ---- keys ---- */

static void *
key_new(const char *type)
{
	struct key *k = mem_zalloc(MEM_PROXY, sizeof(*k));

	if (k)
		k->type = type;
	return k;
}

static void *
key_new_rsa(void *context)
{
	(void)context;
	return key_new("RSA");
}

static void *
key_new_ec(void *context)
{
	(void)context;
	return key_new("EC");
}

static void
key_free(void *data)
{
	struct key *k = data;

	if (k)
		EVP_PKEY_free(k->public_key);
	mem_free(k);
}

static int
key_has(const void *data, int selection)
{
	const struct key *k = data;

	(void)selection;
	return k && k->public_key;
}

static int
key_match(const void *a, const void *b, int selection)
{
	const struct key *x = a, *y = b;

	(void)selection;
	return x->public_key && y->public_key && EVP_PKEY_eq(x->public_key, y->public_key) == 1;
}

static int
key_get_params(void *data, OSSL_PARAM params[])
{
	struct key *k = data;

	return k->public_key && EVP_PKEY_get_params(k->public_key, params);
}

static const OSSL_PARAM *
key_gettable(void *context)
{
	static const OSSL_PARAM table[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context;
	return table;
}

static int
key_import(void *data, int selection, const OSSL_PARAM params[])
{
	struct key *k = data;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, k->type, "provider=default");
	const OSSL_PARAM *handle = OSSL_PARAM_locate_const(params, HANDLE_PARAM);
	union {
		const OSSL_PARAM *in;
		OSSL_PARAM *out;
	} p = {params};
	int ok = ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
		 EVP_PKEY_fromdata(ctx, &k->public_key, EVP_PKEY_PUBLIC_KEY, p.out) == 1;

	(void)selection;
	EVP_PKEY_CTX_free(ctx);
	if (ok && handle)
		ok = OSSL_PARAM_get_uint64(handle, &k->handle);
	return ok;
}

static int
key_export(void *data, int selection, OSSL_CALLBACK *callback, void *arg)
{
	struct key *k = data;
	OSSL_PARAM *params = NULL;
	int ok;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY || !k->public_key)
		return 0;
	if (EVP_PKEY_todata(k->public_key, EVP_PKEY_PUBLIC_KEY, &params) != 1)
		return 0;
	ok = callback(params, arg);
	OSSL_PARAM_free(params);
	return ok;
}

static const OSSL_PARAM *
key_types(int selection)
{
	static const OSSL_PARAM table[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_uint64(HANDLE_PARAM, NULL),
		OSSL_PARAM_END,
	};

	(void)selection;
	return table;
}

static const char *
operation_rsa(int operation)
{
	(void)operation;
	return "RSA";
}

static const char *
operation_ec(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

#define KEY_FUNCTIONS(new_key, operation)                                                      \
	{                                                                                      \
		{OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))(new_key)},                            \
			{OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free},                    \
			{OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has},                      \
			{OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))key_match},                  \
			{OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get_params},        \
			{OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable},     \
			{OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import},                \
			{OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_types},           \
			{OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export},                \
			{OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_types},           \
			{OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))(operation)}, \
		{                                                                              \
			0                                                                      \
		}                                                                              \
	}

static const OSSL_DISPATCH rsa_keys[] = KEY_FUNCTIONS(key_new_rsa, operation_rsa);
static const OSSL_DISPATCH ec_keys[] = KEY_FUNCTIONS(key_new_ec, operation_ec);

/* ---- signatures ---- */

static void *
signing_new(void *context, const char *properties)
{
	struct signing *s = mem_zalloc(MEM_PROXY, sizeof(*s));

	(void)context;
	(void)properties;
	if (s) {
		s->padding = RSA_PKCS1_PADDING;
		s->salt_bytes = RSA_PSS_SALTLEN_DIGEST;
	}
	return s;
}

static void
signing_free(void *data)
{
	mem_free(data);
}

static int
read_padding(struct signing *s, const OSSL_PARAM *p)
{
	if (p->data_type == OSSL_PARAM_INTEGER)
		return OSSL_PARAM_get_int(p, &s->padding);
	if (p->data_type != OSSL_PARAM_UTF8_STRING)
		return 0;
	s->padding = strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING
								      : RSA_PKCS1_PADDING;
	return 1;
}

static int
signing_set(void *data, const OSSL_PARAM params[])
{
	struct signing *s = data;
	const OSSL_PARAM *p;

	if (!params)
		return 1;
	p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	if (p && !read_padding(s, p))
		return 0;
	p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
	if (p && p->data_type == OSSL_PARAM_INTEGER && !OSSL_PARAM_get_int(p, &s->salt_bytes))
		return 0;
	return 1;
}

static const OSSL_PARAM *
signing_settable(void *data, void *context)
{
	static const OSSL_PARAM table[] = {
		OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL),
		OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL),
		OSSL_PARAM_END,
	};

	(void)data;
	(void)context;
	return table;
}

static int
signing_init(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
	struct signing *s = data;

	s->key = key;
	s->md = digest ? EVP_get_digestbyname(digest) : NULL;
	return s->key && s->key->public_key && s->md && signing_set(s, params);
}

static bool
put_question(const struct signing *s, const unsigned char *text, size_t length, struct msg_sign *q)
{
	unsigned digest_bytes = 0;

	memset(q, 0, sizeof(*q));
	q->key_handle = s->key->handle;
	if (EVP_MD_get_size(s->md) > (int)sizeof(q->value) ||
	    EVP_Digest(text, length, q->value, &digest_bytes, s->md, NULL) != 1)
		return false;
	q->digest = digest_bytes * 8;
	q->digest_bytes = digest_bytes;
	if (strcmp(s->key->type, "EC") == 0) {
		q->scheme = MSG_SIGN_ECDSA;
	} else if (s->padding == RSA_PKCS1_PSS_PADDING) {
		q->scheme = MSG_SIGN_RSA_PSS;
		q->salt_bytes = s->salt_bytes > 0 ? (uint32_t)s->salt_bytes : digest_bytes;
	} else {
		q->scheme = MSG_SIGN_RSA_PKCS1;
	}
	return true;
}

/* Runs on the handshake's own stack, which sleeps until the answer is there. */
static int
ask_and_wait(const struct msg_sign *q, unsigned char *out, size_t *length, size_t cap)
{
	struct sign_wait *wait;
	int ok = 0;

	if (!ASYNC_get_current_job())
		return 0;
	wait = mem_zalloc(MEM_PROXY, sizeof(*wait));
	if (!wait)
		return 0;
	wait->owner = sign_provider_owner;
	if (ask_signer(ask_arg, q, wait) == 0) {
		while (!wait->done)
			ASYNC_pause_job();
		if (wait->bytes > 0 && wait->bytes <= cap) {
			memcpy(out, wait->signature, wait->bytes);
			*length = wait->bytes;
			ok = 1;
		}
	}
	mem_free(wait);
	return ok;
}

static int
signing_sign(void *data, unsigned char *out, size_t *length, size_t cap, const unsigned char *text,
	     size_t text_length)
{
	struct signing *s = data;
	struct msg_sign q;

	if (!out) {
		*length = (size_t)EVP_PKEY_get_size(s->key->public_key);
		return 1;
	}
	return put_question(s, text, text_length, &q) && ask_and_wait(&q, out, length, cap);
}

static const OSSL_DISPATCH signatures[] = {
	{OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))signing_new},
	{OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))signing_free},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))signing_init},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))signing_sign},
	{OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))signing_set},
	{OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))signing_settable},
	{0},
};

/* ---- the provider ---- */

static const OSSL_ALGORITHM *
provider_query(void *context, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM keys[] = {
		{"RSA:rsaEncryption", "provider=zlayer", rsa_keys, NULL},
		{"EC:id-ecPublicKey", "provider=zlayer", ec_keys, NULL},
		{0},
	};
	static const OSSL_ALGORITHM signs[] = {
		{"RSA:rsaEncryption", "provider=zlayer", signatures, NULL},
		{"ECDSA", "provider=zlayer", signatures, NULL},
		{0},
	};

	(void)context;
	*no_cache = 0;
	if (operation == OSSL_OP_KEYMGMT)
		return keys;
	return operation == OSSL_OP_SIGNATURE ? signs : NULL;
}

static int
provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
	      void **context)
{
	static const OSSL_DISPATCH functions[] = {
		{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))provider_query},
		{0},
	};
	static int nothing;

	(void)handle;
	(void)in;
	*out = functions;
	*context = &nothing;
	return 1;
}

int
sign_provider_init(sign_ask_fn ask, void *arg, struct err *err)
{
	ask_signer = ask;
	ask_arg = arg;
	if (OSSL_PROVIDER_add_builtin(NULL, "zlayer", provider_init) == 1 &&
	    OSSL_PROVIDER_load(NULL, "default") && OSSL_PROVIDER_load(NULL, "zlayer") &&
	    EVP_set_default_properties(NULL, "?provider=default") == 1)
		return 0;
	ERR_clear_error();
	return err_set(err, ERR_INTERNAL, "cannot set the signing provider up");
}

static OSSL_PARAM *
handle_param(uint64_t handle)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;

	if (bld && OSSL_PARAM_BLD_push_uint64(bld, HANDLE_PARAM, handle))
		params = OSSL_PARAM_BLD_to_param(bld);
	OSSL_PARAM_BLD_free(bld);
	return params;
}

static EVP_PKEY *
make_key(EVP_PKEY *public_key, uint64_t handle)
{
	const char *type = EVP_PKEY_is_a(public_key, "EC")    ? "EC"
			   : EVP_PKEY_is_a(public_key, "RSA") ? "RSA"
							      : NULL;
	EVP_PKEY_CTX *ctx = type ? EVP_PKEY_CTX_new_from_name(NULL, type, "provider=zlayer") : NULL;
	OSSL_PARAM *half = NULL, *ours = handle_param(handle), *all = NULL;
	EVP_PKEY *key = NULL;

	if (ctx && ours && EVP_PKEY_todata(public_key, EVP_PKEY_PUBLIC_KEY, &half) == 1)
		all = OSSL_PARAM_merge(half, ours); /* borrows from both */
	if (all && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, all);
	OSSL_PARAM_free(all);
	OSSL_PARAM_free(half);
	OSSL_PARAM_free(ours);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

int
sign_provider_key(const void *certificate, size_t bytes, uint64_t handle, struct evp_pkey_st **out,
		  struct err *err)
{
	const unsigned char *der = certificate;
	X509 *x = bytes <= INT32_MAX ? d2i_X509(NULL, &der, (long)bytes) : NULL;
	EVP_PKEY *public_key = x ? X509_get0_pubkey(x) : NULL;

	*out = public_key ? make_key(public_key, handle) : NULL;
	X509_free(x);
	ERR_clear_error();
	if (*out)
		return 0;
	return err_set(err, ERR_INVALID, "cannot use a certificate's public key");
}

void *
sign_provider_answer(struct sign_wait *wait, const void *signature, size_t bytes)
{
	if (bytes > 0 && bytes <= sizeof(wait->signature)) {
		memcpy(wait->signature, signature, bytes);
		wait->bytes = bytes;
	}
	wait->done = true;
	return wait->owner;
}
