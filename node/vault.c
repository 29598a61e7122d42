/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping of keys and spool files. Everything is opened below the data folder without following
 * links. */
#include "node/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

static bool name_ok(const char *name);

/* Something was sealed before: with another key it could never be opened again. */
static bool
holds_sealed(int dirfd)
{
	int fd = fd_open_beneath(dirfd, "sealed", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	bool holds = false;

	if (!dir) {
		fd_close(&fd);
		return false;
	}
	for (struct dirent *e; !holds && (e = readdir(dir));)
		holds = name_ok(e->d_name);
	closedir(dir);
	return holds;
}

static int
make_key(int dirfd, struct err *err)
{
	unsigned char key[VAULT_KEY_BYTES];

	if (holds_sealed(dirfd)) {
		(void)err_set(err, ERR_CORRUPT, "the sealing key (secrets/seal.key) is missing");
		(void)err_why(err, "secrets/sealed holds keys that only it opens");
		return err_fix(err, "restore it from a backup, or remove secrets/sealed to begin "
				    "with a new authority");
	}

	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return err_sys(err, errno, "cannot make the sealing key");
	int rc = fd_replace(dirfd, "seal.key", key, sizeof(key), 0600, err);
	mem_wipe(key, sizeof(key));
	return rc;
}

int
vault_key(int data_fd, int *fd_out, struct err *err)
{
	struct stat sb;
	defer_close int dirfd =
		fd_open_beneath(data_fd, "secrets", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (dirfd < 0)
		return err_sys(err, errno, "cannot open the folder of secrets");
	defer_close int fd = fd_open_beneath(dirfd, "seal.key", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0 && errno == ENOENT) {
		if (make_key(dirfd, err) < 0)
			return -1;
		fd = fd_open_beneath(dirfd, "seal.key", O_RDONLY | O_CLOEXEC, 0);
	}
	if (fd < 0 || fstat(fd, &sb) < 0)
		return err_sys(err, errno, "cannot open the sealing key");
	if (sb.st_size != VAULT_KEY_BYTES) {
		(void)err_set(err, ERR_CORRUPT, "the sealing key (secrets/seal.key) is damaged");
		return err_fix(err, "restore it from a backup; without it sealed keys are lost");
	}
	*fd_out = fd_take(&fd);
	return 0;
}

static bool
name_ok(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= VAULT_NAME_MAX && name[0] != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

int
vault_keep(int data_fd, const char *name, int fd, struct err *err)
{
	struct buf bytes;

	if (!name_ok(name))
		return err_set(err, ERR_INVALID, "a name for sealed bytes is not allowed");
	if (!fd_is_sealed(fd))
		return err_set(err, ERR_INVALID, "bytes to keep are not in a sealed file");
	defer_close int dirfd =
		fd_open_beneath(data_fd, "secrets/sealed", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dirfd < 0)
		return err_sys(err, errno, "cannot open the folder of sealed keys");
	buf_init(&bytes, MEM_NODE, VAULT_SEALED_MAX);
	int rc = lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "cannot read sealed bytes")
					    : fd_read_all(fd, &bytes, err);
	if (rc == 0)
		rc = fd_replace(dirfd, name, bytes.data, bytes.length, 0600, err);
	buf_fini(&bytes);
	return rc;
}

void
vault_each(int data_fd, vault_fn visit, void *arg)
{
	int dirfd_ =
		fd_open_beneath(data_fd, "secrets/sealed", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	DIR *dir = dirfd_ >= 0 ? fdopendir(dirfd_) : NULL;

	if (!dir) {
		log_event(LOG_WARN, "cannot read the folder of sealed keys", log_i("errno", errno),
			  LOG_END);
		fd_close(&dirfd_);
		return;
	}
	for (struct dirent *e; (e = readdir(dir));) {
		defer_close int fd = -1;

		if (!name_ok(e->d_name))
			continue;
		fd = fd_open_beneath(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC, 0);
		if (fd >= 0)
			visit(arg, e->d_name, fd);
	}
	closedir(dir);
}

int
vault_spool(int data_fd)
{
	defer_close int dirfd =
		fd_open_beneath(data_fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (dirfd < 0)
		return -1;
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || errno != EOPNOTSUPP)
		return fd;
	/* Left by a crash just here; nobody else makes any. */
	(void)unlinkat(dirfd, "spool.tmp", 0);
	fd = openat(dirfd, "spool.tmp", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)unlinkat(dirfd, "spool.tmp", 0);
	return fd;
}
