/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random answers: what is written, compressed and cut, is read back as the same records in the same
 * order, and a record that did not fit left no trace.
 */
#include <string.h>
#include "tests/support/prop.h"
#include "wire/dns.h"

enum { ROUNDS = 5000, RECORDS_MAX = 40 };

struct wrote {
	struct dns_name owner, target;
	uint16_t type;
	uint32_t ttl;
	uint8_t data[300];
	size_t bytes;
};

/* Of few labels, so that ends of names are often the same; now and then a long one. */
static struct dns_name
random_name(struct prop *p)
{
	static const char *const labels[] = {"a", "B", "web", "shop", "Zlayer", "internal", "x-1"};
	struct dns_name name;
	char text[300] = "";
	size_t count = prop_below(p, 6);

	for (size_t i = 0; i < count; i++) {
		if (text[0])
			strcat(text, ".");
		if (prop_below(p, 12) == 0)
			strcat(text, "long-long-long-long-long-long-long-long-long");
		else
			strcat(text, labels[prop_below(p, sizeof(labels) / sizeof(labels[0]))]);
	}
	prop_check(dns_name_parse(text, &name));
	return name;
}

static bool
write_one(struct prop *p, struct dns_write *w, enum dns_section section, struct wrote *r)
{
	r->owner = random_name(p);
	r->target = random_name(p);
	r->ttl = (uint32_t)prop_u64(p);
	switch (prop_below(p, 4)) {
	case 0:
		r->type = DNS_TYPE_PTR;
		return dns_write_name(w, section, &r->owner, r->type, r->ttl, &r->target);
	case 1:
		r->type = DNS_TYPE_SRV;
		return dns_write_srv(w, section, &r->owner, r->ttl, 1, 2, 3, &r->target);
	case 2:
		r->type = DNS_TYPE_SOA;
		return dns_write_soa(w, section, &r->owner, r->ttl, &r->target, &r->owner, 1, 2);
	default:
		r->type = DNS_TYPE_TXT;
		r->bytes = prop_below(p, sizeof(r->data));
		prop_bytes(p, r->data, r->bytes);
		return dns_write_record(w, section, &r->owner, r->type, r->ttl, r->data, r->bytes);
	}
}

static void
compare(const struct dns_walk *walk, const struct dns_record *got, const uint8_t *m,
	const struct wrote *want)
{
	struct dns_name target;

	prop_check(dns_name_equal(&got->name, &want->owner));
	prop_check(got->type == want->type && got->ttl == want->ttl && got->class == DNS_CLASS_IN);
	if (want->type == DNS_TYPE_TXT)
		prop_check(got->data_bytes == want->bytes &&
			   memcmp(m + got->data_at, want->data, want->bytes) == 0);
	if (want->type == DNS_TYPE_PTR || want->type == DNS_TYPE_SRV)
		prop_check(dns_walk_name(walk, got, want->type == DNS_TYPE_SRV ? 6 : 0, &target) &&
			   dns_name_equal(&target, &want->target));
}

static void
one_round(struct prop *p)
{
	static struct wrote wrote[RECORDS_MAX];
	static uint8_t m[8192];
	struct dns_query q = {.id = (uint16_t)prop_u64(p), .edns = prop_below(p, 2)};
	size_t cap = DNS_UDP_BYTES + prop_below(p, sizeof(m) - DNS_UDP_BYTES), count = 0;
	enum dns_section section = DNS_ANSWER;
	bool missed = false;
	struct dns_write w;
	struct dns_walk walk;
	struct dns_record r;
	struct dns_question question;
	uint16_t flags;

	q.question.name = random_name(p);
	q.question.type = DNS_TYPE_A;
	q.question.class = DNS_CLASS_IN;
	dns_write_begin(&w, m, cap);
	dns_write_question(&w, &q);
	for (size_t i = prop_below(p, RECORDS_MAX); i > 0; i--) {
		if (section < DNS_ADDITIONAL && prop_below(p, 8) == 0)
			section++;
		if (write_one(p, &w, section, &wrote[count]))
			count++;
		else
			missed = true;
	}
	prop_check(w.cut == missed);
	size_t n = dns_write_end(&w, &q, 0, DNS_NOERROR);
	prop_check(n <= cap && dns_read_answer(m, n, q.id, &q.question, &flags));
	prop_check(dns_walk_begin(&walk, m, n, &question));
	for (size_t i = 0; i < count; i++) {
		prop_check(dns_walk_next(&walk, &r));
		compare(&walk, &r, m, &wrote[i]);
	}
	prop_check(dns_walk_next(&walk, &r) == q.edns && (!q.edns || r.type == DNS_TYPE_OPT));
	prop_check(dns_walk_done(&walk));
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (int i = 0; i < ROUNDS; i++)
		one_round(&p);
	return 0;
}
