/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `backup` and `backup verify`. What comes from the node is checked as it comes, written beside the
 * name that was asked for, read back, and only then given that name: whoever finds a file under it
 * has a whole one. To a pipe it goes as it comes, and the exit status says whether it was whole.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/backup_file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "spec/json.h"

enum { SLICE_BYTES = 64 << 10 };

struct target {
	int fd;
	bool named;          /* a file of its own, which gets its name last */
	bool chosen;         /* the name is made from what the backup says */
	char name[PATH_MAX]; /* as it was asked for; chosen: the folder, "" this one */
	char part[PATH_MAX]; /* where it is until then */
};

/* ---- where to ---- */

static int
open_part(struct target *t, struct err *err)
{
	if (!text_format(t->part, sizeof(t->part), "%s%szlayer.%d.part",
			 t->chosen && t->name[0] ? t->name : "", t->chosen && t->name[0] ? "/" : "",
			 (int)getpid()) ||
	    (!t->chosen &&
	     !text_format(t->part, sizeof(t->part), "%s.%d.part", t->name, (int)getpid())))
		return err_set(err, ERR_USAGE, "the name of the file is too long");
	t->named = true;
	(void)unlink(t->part); /* of one that was killed, or of somebody who waits for us */
	t->fd = open(t->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (t->fd >= 0)
		return 0;
	t->named = false;
	err_sys(err, errno, "cannot write a backup there");
	return err_where(err, "%s", t->part);
}

static int
open_target(const struct cli *cli, struct target *t, struct err *err)
{
	const char *name = cli->args.operands_count ? cli->args.operands[0] : "";
	struct stat sb;

	t->fd = -1;
	if (strcmp(name, "-") == 0) {
		if (cli->terminal_out)
			return err_set(err, ERR_USAGE, "a backup is not for a terminal"),
			       err_fix(err, "zlayer backup FILE, or - in a pipe");
		t->fd = STDOUT_FILENO;
		return 0;
	}
	if (!text_copy(t->name, sizeof(t->name), name))
		return err_set(err, ERR_USAGE, "the name of the file is too long");
	bool there = name[0] && stat(name, &sb) == 0;
	t->chosen = !name[0] || (there && S_ISDIR(sb.st_mode));
	if (!there || t->chosen || S_ISREG(sb.st_mode))
		return open_part(t, err);
	t->fd = open(name, O_WRONLY | O_CLOEXEC); /* a pipe or device of that name */
	return t->fd < 0 ? err_sys(err, errno, "cannot write to %s", name) : 0;
}

/* "edge-1-20261122T140133Z.zlayer" */
static int
choose_name(struct target *t, const struct backup_scan *f, struct err *err)
{
	char folder[PATH_MAX], created[40], when[20] = "";
	size_t n = 0;

	text_copy(folder, sizeof(folder), t->name);
	text_time(f->head.created_wall_ns, 0, created, sizeof(created));
	for (const char *at = created; *at && *at != '.' && *at != 'Z' && n < sizeof(when) - 2;
	     at++)
		if (*at != '-' && *at != ':')
			when[n++] = *at;
	when[n] = 'Z';
	if (text_format(t->name, sizeof(t->name), "%s%s%s-%s.zlayer", folder,
			folder[0] && !text_ends(folder, "/") ? "/" : "", f->head.node, when))
		return 0;
	return err_set(err, ERR_USAGE, "the name of the folder is too long");
}

static int
sync_folder(const char *name, struct err *err)
{
	char folder[PATH_MAX];

	text_copy(folder, sizeof(folder), name);
	char *slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = 0;
	else
		text_copy(folder, sizeof(folder), ".");
	defer_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(err, errno, "cannot write the folder of the backup");
	return 0;
}

/* On the disk, and read from there, before it has its name. */
static int
keep(struct target *t, struct backup_scan *f, struct err *err)
{
	if (!t->named)
		return 0;
	if (fsync(t->fd) < 0)
		return err_sys(err, errno, "cannot write the backup to the disk");
	(void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (backup_file_check(t->fd, t->part, f, NULL, err) < 0)
		return err_why(err, "it was whole when it came from the node");
	if (t->chosen && choose_name(t, f, err) < 0)
		return -1;
	if (rename(t->part, t->name) < 0) {
		err_sys(err, errno, "cannot give the backup its name");
		return err_where(err, "%s", t->name);
	}
	t->part[0] = 0;
	return sync_folder(t->name, err);
}

static void
close_target(struct target *t)
{
	if (t->named && t->part[0])
		(void)unlink(t->part);
	if (t->fd > STDERR_FILENO)
		fd_close(&t->fd);
}

/* ---- from the node ---- */

static int
copy(struct client *c, struct backup_read *r, const struct target *t, struct err *err)
{
	defer_free char *slice = mem_alloc(MEM_CLI, SLICE_BYTES);

	if (!slice)
		return err_set(err, ERR_NO_MEMORY, "no memory for a backup");
	for (;;) {
		long n = client_read(c, slice, SLICE_BYTES, err);

		if (n == 0)
			return backup_read_end(r, err);
		if (n < 0 || backup_read_add(r, slice, (size_t)n, err) < 0)
			return -1;
		if (fd_write_all(t->fd, slice, (size_t)n, err) < 0)
			return err_where(err, "%s", t->named ? t->part : "the output");
	}
}

static int
ask(struct cli *cli, const struct target *t, struct backup_scan *f, struct err *err)
{
	static const struct backup_read_calls none;
	static const char with_keys[] = "{\"keys\": true}", without[] = "{}";
	const char *body = cli->args.given[FLAG_WITH_KEYS] ? with_keys : without;
	const struct client_request request = {.method = "POST",
					       .target = "/v1/backup",
					       .content_type = "application/json",
					       .body = body,
					       .body_bytes = strlen(body)};
	struct backup_read *r;
	struct client c;

	if (backup_read_new(&none, &r, err) < 0)
		return -1;
	int rc = client_open(&c, cli, &request, err);
	if (rc == 0)
		rc = copy(&c, r, t, err);
	client_close(&c);
	if (rc == 0)
		backup_scan_take(r, f);
	backup_read_free(r);
	return rc;
}

int
cmd_backup(struct cli *cli)
{
	struct backup_scan f;
	struct err err = {0};
	struct target t = {.fd = -1};

	int rc = open_target(cli, &t, &err);
	if (rc == 0)
		rc = ask(cli, &t, &f, &err);
	if (rc == 0)
		rc = keep(&t, &f, &err);
	close_target(&t);
	if (rc < 0)
		return cli_fail(cli, &err);
	if (t.named && (!cli->quiet || cli_machine(cli)))
		backup_file_show(cli, &f, t.name, stdout);
	else if (!cli->quiet)
		backup_file_show(cli, &f, "backup", stderr);
	return 0;
}

int
cmd_backup_verify(struct cli *cli)
{
	const char *name = cli->args.operands[0];
	struct backup_scan f;
	struct err err = {0};
	int fd = backup_file_open(name, &err);

	int rc = fd < 0 ? -1 : backup_file_check(fd, name, &f, NULL, &err);
	fd_close(&fd);
	if (rc < 0)
		return cli_fail(cli, &err);
	if (!cli->quiet || cli_machine(cli))
		backup_file_show(cli, &f, name, stdout);
	return 0;
}
