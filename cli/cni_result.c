/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to a container engine: CNI specification 1.1.0, section 5 (result types). A result of
 * before 1.0.0 names the family of each address; one from 1.1.0 on has the device's MTU.
 */
#include <string.h>
#include "base/text.h"
#include "cli/cni.h"
#include "spec/json.h"

static const char *const versions[] = {
	[CNI_0_4_0] = "0.4.0",
	[CNI_1_0_0] = "1.0.0",
	[CNI_1_1_0] = "1.1.0",
};

enum { OURS = 1 }; /* index of the container's interface in a result */

/* "" when the node has none of that family. */
static void
whole_address(const json_t *made, const char *key, char out[CNI_ADDRESS_BYTES])
{
	const char *text = json_read_text(made, key);

	out[0] = 0;
	if (text[0])
		text_format(out, CNI_ADDRESS_BYTES, "%s/%s", text,
			    strchr(text, ':') ? "128" : "32");
}

static void
put_interfaces(struct json *j, const struct cni_request *r, const json_t *made, const char *fabric)
{
	json_array(j, "interfaces");
	json_object(j, NULL);
	json_text(j, "name", json_read_text(made, "link"));
	json_text(j, "mac", json_read_text(made, "host_mac"));
	json_text(j, "sandbox", fabric);
	json_end(j);
	json_object(j, NULL);
	json_text(j, "name", r->attach.key.interface);
	json_text(j, "mac", json_read_text(made, "mac"));
	if (r->version >= CNI_1_1_0)
		json_i64(j, "mtu", json_read_int(made, "mtu"));
	json_text(j, "sandbox", r->attach.netns);
	json_end(j);
	json_end(j);
}

static void
put_ip(struct json *j, const struct cni_request *r, const json_t *made, const char *key,
       const char *gateway)
{
	char address[CNI_ADDRESS_BYTES];

	whole_address(made, key, address);
	if (!address[0])
		return;
	json_object(j, NULL);
	if (r->version < CNI_1_0_0)
		json_text(j, "version", strchr(address, ':') ? "6" : "4");
	json_text(j, "address", address);
	json_text(j, "gateway", json_read_text(made, gateway));
	json_u64(j, "interface", OURS);
	json_end(j);
}

static void
put_route(struct json *j, const json_t *made, const char *key, const char *gateway,
	  const char *everything)
{
	if (!json_read_text(made, key)[0])
		return;
	json_object(j, NULL);
	json_text(j, "dst", everything);
	json_text(j, "gw", json_read_text(made, gateway));
	json_end(j);
}

void
cni_put_result(const struct cni_request *r, const json_t *made, const char *fabric, struct buf *out)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_text(&j, "cniVersion", versions[r->version]);
	put_interfaces(&j, r, made, fabric);
	json_array(&j, "ips");
	put_ip(&j, r, made, "addr4", "gateway4");
	put_ip(&j, r, made, "addr6", "gateway6");
	json_end(&j);
	json_array(&j, "routes");
	put_route(&j, made, "addr4", "gateway4", "0.0.0.0/0");
	put_route(&j, made, "addr6", "gateway6", "::/0");
	json_end(&j);
	json_object(&j, "dns");
	json_array(&j, "nameservers");
	if (json_read_text(made, "nameserver")[0])
		json_text(&j, NULL, json_read_text(made, "nameserver"));
	json_end(&j);
	json_end(&j);
	json_end(&j);
	buf_putc(out, '\n');
}

void
cni_put_versions(const struct cni_request *r, struct buf *out)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_text(&j, "cniVersion", versions[r->version]);
	json_array(&j, "supportedVersions");
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		json_text(&j, NULL, versions[i]);
	json_end(&j);
	json_end(&j);
	buf_putc(out, '\n');
}

void
cni_put_error(enum cni_version version, unsigned code, const struct err *err, struct buf *out)
{
	struct buf details;
	struct json j;

	buf_init(&details, MEM_CLI, 8192);
	for (unsigned i = 0; i < err->wheres; i++)
		buf_printf(&details, "where: %s\n", err->where[i]);
	for (unsigned i = 0; i < err->whys; i++)
		buf_printf(&details, "why: %s\n", err->why[i]);
	if (err->fix[0])
		buf_printf(&details, "fix: %s\n", err->fix);
	json_init(&j, out);
	json_object(&j, NULL);
	json_text(&j, "cniVersion", versions[version]);
	json_u64(&j, "code", code);
	json_text(&j, "msg", err->what);
	if (details.length > 0 && buf_ok(&details))
		json_textn(&j, "details", (const char *)details.data, details.length - 1);
	json_end(&j);
	buf_putc(out, '\n');
	buf_fini(&details);
}

unsigned
cni_code(const struct err *err)
{
	switch (err->kind) {
	case ERR_NOT_FOUND:
		return CNI_NO_CONTAINER;
	case ERR_UNREACHABLE:
	case ERR_TIMEOUT:
	case ERR_INTERRUPTED:
		return CNI_AGAIN;
	case ERR_INVALID:
		return CNI_BAD_CONFIG;
	case ERR_CONFLICT:
		return CNI_CONFLICT;
	case ERR_SYSTEM:
	case ERR_DENIED:
	case ERR_NO_SPACE:
		return CNI_IO;
	default:
		return CNI_REFUSED;
	}
}

/* ---- CHECK ---- */

static const json_t *
previous_interface(const struct cni_request *r)
{
	const json_t *list = json_read_array(r->previous, "interfaces");

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *item = json_read_at(list, i);

		if (strcmp(json_read_text(item, "name"), r->attach.key.interface) == 0 &&
		    json_read_text(item, "sandbox")[0])
			return item;
	}
	return NULL;
}

static int
compare_address(const struct cni_request *r, const json_t *made, const char *key, struct err *err)
{
	const json_t *list = json_read_array(r->previous, "ips");
	char address[CNI_ADDRESS_BYTES];

	whole_address(made, key, address);
	if (!address[0])
		return 0;
	for (size_t i = 0; i < json_read_count(list); i++)
		if (strcmp(json_read_text(json_read_at(list, i), "address"), address) == 0)
			return 0;
	return err_set(err, ERR_CONFLICT, "prevResult does not have the container's address %s",
		       address);
}

int
cni_compare(const struct cni_request *r, const json_t *made, struct err *err)
{
	const json_t *link = previous_interface(r);

	if (!link)
		return err_set(err, ERR_CONFLICT, "prevResult does not have the interface %s",
			       r->attach.key.interface);
	if (json_read_text(link, "mac")[0] &&
	    strcmp(json_read_text(link, "mac"), json_read_text(made, "mac")) != 0)
		return err_set(err, ERR_CONFLICT, "prevResult has another MAC address for %s",
			       r->attach.key.interface);
	if (compare_address(r, made, "addr4", err) < 0)
		return -1;
	return compare_address(r, made, "addr6", err);
}
