/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on their way between processes. */
#include "ring/words.h"

#include <string.h>
#include <unistd.h>
#include "base/fd.h"

void
words_init(struct words *w, enum mem_tag tag)
{
	memset(w, 0, sizeof(*w));
	buf_init(&w->text, tag, WORDS_BYTES_MAX);
}

void
words_fini(struct words *w)
{
	buf_fini(&w->text);
}

int
words_add(struct words *w, const char *text, struct err *err)
{
	buf_put(&w->text, text, strlen(text) + 1);
	if (++w->count > WORDS_MAX || !buf_ok(&w->text)) {
		err_set(err, ERR_LIMIT, "the command is too long");
		return err_why(err, "at most %d words and %d bytes", WORDS_MAX, WORDS_BYTES_MAX);
	}
	return 0;
}

int
words_fd(const struct words *w)
{
	return fd_memfd_sealed("words", w->text.data, w->text.length);
}

int
words_read(struct words *w, int fd, struct err *err)
{
	if (!fd_is_sealed(fd))
		return err_set(err, ERR_INVALID, "the words of a command may still change");
	if (lseek(fd, 0, SEEK_SET) < 0 || fd_read_all(fd, &w->text, err) < 0)
		return err_where(err, "reading the words of a command");
	char *at = (char *)w->text.data, *end = at + w->text.length;
	while (at < end) {
		char *stop = memchr(at, '\0', (size_t)(end - at));

		if (!stop || w->count == WORDS_MAX)
			return err_set(err, ERR_INVALID, "the words of a command are damaged");
		w->items[w->count++] = at;
		at = stop + 1;
	}
	return 0;
}
