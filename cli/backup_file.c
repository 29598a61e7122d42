/* SPDX-License-Identifier: Apache-2.0 */
/* Reads backups for commands; what is wrong with one is said by scheduler/backup_read.c, here the
 * file's name is added. */
#include "cli/backup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "spec/json.h"

enum { SLICE_BYTES = 64 << 10, ANSWER_MAX = 64 << 10 };

static int
keep_input(int from, struct err *err)
{
	defer_free char *slice = mem_alloc(MEM_CLI, SLICE_BYTES);
	defer_close int fd = fd_memfd("backup");
	uint64_t bytes = 0;

	if (!slice || fd < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a backup");
	for (;;) {
		ssize_t n = read(from, slice, SLICE_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read standard input");
		if (n == 0)
			break;
		bytes += (uint64_t)n;
		if (bytes > BACKUP_BYTES_MAX)
			return err_set(err, ERR_LIMIT, "that is too long to be a backup");
		if (fd_write_all(fd, slice, (size_t)n, err) < 0)
			return -1;
	}
	(void)lseek(fd, 0, SEEK_SET);
	return fd_take(&fd);
}

int
backup_file_open(const char *name, struct err *err)
{
	if (!name || strcmp(name, "-") == 0)
		return keep_input(STDIN_FILENO, err);
	defer_close int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", name);
	if (lseek(fd, 0, SEEK_CUR) < 0) /* a pipe */
		return keep_input(fd, err);
	return fd_take(&fd);
}

int
backup_file_check(int fd, const char *name, struct backup_scan *out, struct buf *keys,
		  struct err *err)
{
	static const struct backup_read_calls none;
	struct backup_read *r;
	size_t bytes = 0;

	if (backup_read_new(&none, &r, err) < 0)
		return -1;
	int rc = backup_scan_feed(r, fd, err);
	if (rc == 0) {
		backup_scan_take(r, out);
		const char *pem = backup_read_keys(r, &bytes);
		if (keys && pem)
			buf_put(keys, pem, bytes);
	} else {
		err_where(err, "%s", name && strcmp(name, "-") != 0 ? name : "standard input");
	}
	backup_read_free(r);
	return rc;
}

/* ---- showing ---- */

static void
put_json(struct json *j, const struct backup_scan *f, const char *name)
{
	char sha256[2 * STORE_SHA256_BYTES + 1], created[40];

	text_hex(f->sha256, sizeof(f->sha256), sha256, sizeof(sha256));
	text_time(f->head.created_wall_ns, 0, created, sizeof(created));
	json_object(j, NULL);
	json_text(j, "name", name);
	json_u64(j, "bytes", f->bytes);
	json_text(j, "node", f->head.node);
	json_text(j, "created", created);
	json_text(j, "version", f->head.version);
	json_text(j, "cluster", f->head.cluster);
	json_text(j, "store", f->head.store);
	json_u64(j, "sequence", f->head.entry.sequence);
	json_u64(j, "deployments", f->rows[STORE_DEPLOYMENT]);
	json_u64(j, "services", f->rows[STORE_SERVICE]);
	json_u64(j, "revisions", f->rows[STORE_REVISION]);
	json_bool(j, "keys", f->head.keys);
	json_text(j, "sha256", sha256);
	json_end(j);
}

static const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

void
backup_file_show(const struct cli *cli, const struct backup_scan *f, const char *name, FILE *to)
{
	char size[32], created[40];
	struct buf b;
	struct json j;

	if (cli_machine(cli) && to == stdout) {
		buf_init(&b, MEM_CLI, ANSWER_MAX);
		json_init(&j, &b);
		put_json(&j, f, name);
		cli_out_json(cli, buf_cstr(&b), b.length);
		buf_fini(&b);
		return;
	}
	text_human_bytes(f->bytes, size, sizeof(size));
	text_time(f->head.created_wall_ns, 0, created, sizeof(created));
	fprintf(to,
		"%s: %s, whole: %s at %s, zlayer %s\n%" PRIu64 " deployment%s, %" PRIu64
		" service%s, %" PRIu64 " revision%s%s\n",
		name, size, f->head.node, created, f->head.version, f->rows[STORE_DEPLOYMENT],
		plural(f->rows[STORE_DEPLOYMENT]), f->rows[STORE_SERVICE],
		plural(f->rows[STORE_SERVICE]), f->rows[STORE_REVISION],
		plural(f->rows[STORE_REVISION]),
		f->head.keys ? "; with the authority's key: keep it as you would that" : "");
}
