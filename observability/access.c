/* SPDX-License-Identifier: Apache-2.0 */
/* The access log. The query of a path is never written: it may hold a secret. */
#include "observability/access.h"

#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/text.h"
#include "wire/http.h"

static const char *
take_text(const char **at, const char *end)
{
	const char *text = *at;
	const char *stop = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;

	if (!stop)
		return NULL;
	*at = stop + 1;
	return text;
}

bool
access_parse(const void *data, size_t bytes, struct access_record *out)
{
	const char *at = (const char *)data + sizeof(out->fixed);
	const char *end = (const char *)data + bytes;

	if (bytes < sizeof(out->fixed))
		return false;
	memcpy(&out->fixed, data, sizeof(out->fixed));
	if (out->fixed.text_bytes > bytes - sizeof(out->fixed))
		return false;
	out->host = take_text(&at, end);
	out->path = out->host ? take_text(&at, end) : NULL;
	out->request_id = out->path ? take_text(&at, end) : NULL;
	out->user_agent = out->request_id ? take_text(&at, end) : NULL;
	return out->user_agent != NULL;
}

bool
access_wanted(const struct config_access *config, const struct access_record *r)
{
	static const uint64_t key[2] = {1, 2};
	size_t path = strcspn(r->path, "?");

	if (!config->enabled)
		return false;
	for (uint32_t i = 0; i < config->exclude_paths_count && i < CONFIG_EXCLUDE_MAX; i++) {
		const char *excluded = config->exclude_paths[i].text;

		if (strlen(excluded) == path && memcmp(excluded, r->path, path) == 0)
			return false;
	}
	if (config->sample_ppm >= 1000000)
		return true;
	return map_siphash(key, r->request_id, strlen(r->request_id)) % 1000000 <
	       config->sample_ppm;
}

void
access_write(const struct access_record *r, const char *service)
{
	const struct msg_access *f = &r->fixed;
	char client[ADDR_TEXT_BYTES], path[MSG_PATH * 4], replica[24];

	addr_put(&f->client, client, sizeof(client));
	text_ncopy(path, sizeof(path), r->path, strcspn(r->path, "?"));
	text_format(replica, sizeof(replica), "%llu", (unsigned long long)f->replica);
	log_event(LOG_INFO, "request",
		  log_s("method", http_method_name((enum http_method)(
					  f->method < HTTP_METHODS_ ? f->method : HTTP_OTHER))),
		  log_s("host", r->host), log_s("path", path), log_u("status", f->status),
		  log_f("duration", (double)f->duration_ns / 1e9),
		  log_f("upstream_duration", (double)f->upstream_ns / 1e9),
		  log_u("bytes_in", f->request_bytes), log_u("bytes", f->response_bytes),
		  log_s("client_addr", client), log_s("service", service),
		  log_s("upstream", f->replica ? replica : ""), log_s("request_id", r->request_id),
		  log_s("user_agent", r->user_agent),
		  log_s("proto", f->protocol == 20   ? "HTTP/2"
				 : f->protocol == 10 ? "HTTP/1.0"
						     : "HTTP/1.1"),
		  log_b("tls", f->tls != 0), log_b("cut", f->cut != 0), LOG_END);
}
