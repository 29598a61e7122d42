/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for keys and passwords. The best the machine gives is taken, in this order: memfd_secret
 * (pages that are in no other mapping, not even the kernel's own), locked memory, plain memory.
 * Which one it was is in `kind`. All of it is left out of core dumps; a forked child gets a hole
 * (memfd_secret) or zeros, never the bytes. Pages are touched here, so that a lack of memory is an
 * error of secret_init and not a signal later. Every secret has pages of its own, so one that is
 * freed is unmapped whole.
 */
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"

enum { SECRET_BYTES_MAX = 16 << 20 };

static void *
map_memfd(size_t bytes)
{
#ifdef SYS_memfd_secret
	defer_close int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return NULL;
	/* Charged to RLIMIT_MEMLOCK here: EAGAIN when that is used up. */
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, bytes, MADV_DONTFORK) < 0) {
		munmap(p, bytes);
		return NULL;
	}
	/* MAP_POPULATE does nothing here: the kernel may not look into these pages either. */
	memset(p, 0, bytes);
	return p;
#else
	(void)bytes;
	return NULL;
#endif
}

static void *
map_plain(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, bytes, MADV_DONTDUMP) < 0 || madvise(p, bytes, MADV_WIPEONFORK) < 0) {
		int saved = errno;
		munmap(p, bytes);
		errno = saved;
		return NULL;
	}
	return p;
}

int
secret_init(struct secret *s, size_t bytes, struct err *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	*s = (struct secret){0};
	if (bytes > SECRET_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "a secret of %zu bytes is too large (at most %d)",
			       bytes, SECRET_BYTES_MAX);
	size_t mapped = (bytes + page - 1) / page * page;
	if (mapped == 0)
		mapped = page;

	s->kind = SECRET_MEMFD;
	s->data = map_memfd(mapped);
	if (s->data == NULL) {
		s->data = map_plain(mapped);
		if (s->data == NULL)
			return err_sys(err, errno, "cannot get memory for a secret");
		s->kind = mlock(s->data, mapped) == 0 ? SECRET_LOCKED : SECRET_PLAIN;
	}
	s->length = bytes;
	s->mapped_bytes = mapped;
	return 0;
}

int
secret_from(struct secret *s, const void *data, size_t bytes, struct err *err)
{
	if (secret_init(s, bytes, err) < 0)
		return -1;
	if (bytes > 0)
		memcpy(s->data, data, bytes);
	return 0;
}

void
secret_fini(struct secret *s)
{
	if (s->data != NULL) {
		mem_wipe(s->data, s->mapped_bytes);
		munmap(s->data, s->mapped_bytes);
	}
	*s = (struct secret){0};
}

bool
secret_equal(const struct secret *s, const void *data, size_t bytes)
{
	const volatile unsigned char *a = s->data;
	const volatile unsigned char *b = data;
	unsigned char different = 0;

	if (s->length != bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		different |= (unsigned char)(a[i] ^ b[i]);
	return different == 0;
}

const char *
secret_kind_name(enum secret_kind kind)
{
	switch (kind) {
	case SECRET_MEMFD:
		return "memfd_secret";
	case SECRET_LOCKED:
		return "locked";
	case SECRET_PLAIN:
		return "plain";
	}
	assert(false && "a secret kind");
	return NULL;
}
