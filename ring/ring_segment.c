/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment's life: made, mapped and sealed by its producer; checked and mapped by its readers.
 *
 * The seals are what makes one writer a fact: with FUTURE_WRITE no descriptor of the file can be
 * written or mapped writable any more, the producer's own mapping aside; with SHRINK and GROW no
 * reader can be made to fault by truncation; with SEAL nobody can change that. A reader refuses a
 * file that lacks one of them. It copies the header once and believes only the copy.
 *
 * Files in memory: a page that was never written is allocated when it is first read, so readers
 * touch only what the producer says it has used.
 */

#include "ring/ring_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "ring/word.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEGMENT_SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct layout_header) % 8 == 0, "the header is copied in words");

/* MFD_NOEXEC_SEAL came with Linux 6.3. */
static int
open_memory(const struct ring_layout *layout)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	char name[48];
	int fd;

	text_format(name, sizeof(name), "zlayer-ring-%u-%u-%u", layout->role, layout->index,
		    layout->generation);
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	return fd;
}

static int
make_memory(struct ring_writer *w, struct err *err)
{
	void *memory;

	w->fd = open_memory(&w->layout);
	if (w->fd < 0)
		return err_sys(err, errno, "cannot make a ring segment");
	if (ftruncate(w->fd, (off_t)w->places.total) < 0)
		return err_sys(err, errno, "cannot size a ring segment to %zu bytes",
			       w->places.total);
	memory = mmap(NULL, w->places.total, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	if (memory == MAP_FAILED)
		return err_sys(err, errno, "cannot map a ring segment of %zu bytes",
			       w->places.total);
	w->memory = memory;
	if (fcntl(w->fd, F_ADD_SEALS, SEGMENT_SEALS) < 0)
		return err_sys(err, errno, "cannot seal a ring segment");
	return 0;
}

static int
fill_writer(struct ring_writer *w, struct err *err)
{
	struct layout_header header;

	if (make_memory(w, err) < 0)
		return -1;
	layout_to_header(&w->layout, w->places.total, &header);
	word_write((uint64_t *)(void *)w->memory, &header, sizeof(header));
	ring_log_writer_init(w);
	ring_table_writer_init(w);
	if (!ring_ask_writer_init(w))
		return err_set(err, ERR_NO_MEMORY, "no memory for a ring segment's requests");
	if (w->places.metrics != 0)
		w->metrics =
			metric_page_init(w->memory + w->places.metrics, w->places.metrics_bytes);
	return 0;
}

int
ring_writer_new(const struct ring_layout *layout, struct ring_writer **out, struct err *err)
{
	struct layout_places places;
	const char *wrong = layout_place(layout, &places);
	struct ring_writer *w;

	if (wrong != NULL) {
		err_set(err, ERR_LIMIT, "cannot lay out the ring segment of role %u", layout->role);
		return err_why(err, "%s", wrong);
	}
	w = mem_zalloc(MEM_RING, sizeof(*w));
	if (w == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for a ring segment");
	w->layout = *layout;
	w->places = places;
	w->fd = -1;
	if (fill_writer(w, err) < 0) {
		ring_writer_free(w);
		return -1;
	}
	*out = w;
	return 0;
}

void
ring_writer_free(struct ring_writer *w)
{
	if (w == NULL)
		return;
	ring_table_writer_fini(w);
	ring_ask_writer_fini(w);
	if (w->memory != NULL)
		munmap(w->memory, w->places.total);
	fd_close(&w->fd);
	mem_free(w);
}

int
ring_writer_fd(const struct ring_writer *w)
{
	return w->fd;
}

struct metric_page *
ring_writer_metrics(struct ring_writer *w)
{
	return w->metrics;
}

void
ring_writer_heartbeat(struct ring_writer *w, uint64_t mono_ns)
{
	struct layout_header *header = (struct layout_header *)(void *)w->memory;

	word_store(&header->heartbeat, mono_ns);
}

static int
refuse(struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "refused a ring segment");
	return err_why(err, "%s", why);
}

/* The seals first: without them nothing that is checked afterwards would stay true. */
static int
check_file(int fd, size_t *bytes_out, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0)
		return refuse(err, "it is not a sealed memory file");
	if ((seals & SEGMENT_SEALS) != SEGMENT_SEALS)
		return refuse(err, "it is not sealed against other writers and changes of size");
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot see the size of a ring segment");
	if (st.st_size < LAYOUT_PAGE)
		return refuse(err, "it is shorter than a header");
	*bytes_out = (size_t)st.st_size;
	return 0;
}

static int
check_header(struct ring_reader *r, const void *memory, size_t bytes, struct err *err)
{
	struct layout_header header;
	const char *wrong;

	word_read(&header, memory, sizeof(header) / 8);
	wrong = layout_from_header(&header, &r->layout);
	if (wrong == NULL)
		wrong = layout_place(&r->layout, &r->places);
	if (wrong == NULL && (r->places.total != bytes || header.segment_bytes != bytes))
		wrong = "its areas do not add up to the size of the file";
	return wrong == NULL ? 0 : refuse(err, wrong);
}

/* Only the header's page is mapped until the geometry is known to hold. */
static int
map_reader(struct ring_reader *r, int fd, struct err *err)
{
	size_t bytes = 0;
	void *memory;
	int rc;

	if (check_file(fd, &bytes, err) < 0)
		return -1;
	memory = mmap(NULL, LAYOUT_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return err_sys(err, errno, "cannot map the header of a ring segment");
	rc = check_header(r, memory, bytes, err);
	munmap(memory, LAYOUT_PAGE);
	if (rc < 0)
		return -1;
	memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return err_sys(err, errno, "cannot map a ring segment of %zu bytes", bytes);
	r->memory = memory;
	return 0;
}

int
ring_reader_new(int fd, struct ring_reader **out, struct err *err)
{
	defer_close int owned = fd;
	struct ring_reader *r = mem_zalloc(MEM_RING, sizeof(*r));

	if (r == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for a reader of a ring segment");
	if (map_reader(r, owned, err) < 0) {
		ring_reader_free(r);
		return -1;
	}
	ring_log_reader_init(r);
	ring_table_reader_init(r);
	ring_request_reader_init(r);
	*out = r;
	return 0;
}

void
ring_reader_free(struct ring_reader *r)
{
	if (r == NULL)
		return;
	ring_log_reader_fini(r);
	ring_table_reader_fini(r);
	ring_request_reader_fini(r);
	if (r->memory != NULL)
		munmap((void *)(uintptr_t)r->memory, r->places.total);
	mem_free(r);
}

uint16_t
ring_reader_role(const struct ring_reader *r)
{
	return r->layout.role;
}

uint16_t
ring_reader_index(const struct ring_reader *r)
{
	return r->layout.index;
}

uint32_t
ring_reader_generation(const struct ring_reader *r)
{
	return r->layout.generation;
}

uint64_t
ring_reader_heartbeat(const struct ring_reader *r)
{
	const struct layout_header *header = (const struct layout_header *)(const void *)r->memory;

	return word_load(&header->heartbeat);
}

const struct metric_page *
ring_reader_metrics(const struct ring_reader *r)
{
	if (r->places.metrics == 0)
		return NULL;
	return metric_page_check(r->memory + r->places.metrics, r->places.metrics_bytes);
}

uint32_t
ring_reader_metric_series(const struct ring_reader *r)
{
	return r->layout.metric_series;
}
