/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that outlived a predecessor of this process had its time counted there: only what comes
 * from now on is added, so that node's sum over generations counts it once. One that is replaced
 * begins anew.
 */
#include "dataplane/program.h"

#include "dataplane/libbpf.h"
#include "ring/metrics.h"

static struct metric_series *
series_of(struct metric_page *page, const char *name)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "program", name);
	return metrics_get(page, METRICS_DATAPLANE_TIME, &labels);
}

void
program_begin(struct metric_page *page, const char *name)
{
	metric_add(series_of(page, name), 0);
}

void
program_count(struct program_time *p, int fd, struct metric_page *page)
{
	struct bpf_prog_info info = {0};
	__u32 bytes = sizeof(info);

	if (libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) < 0)
		return;
	if (p->has_counted && info.run_time_ns > p->counted_ns)
		metric_add(series_of(page, p->name), info.run_time_ns - p->counted_ns);
	p->counted_ns = info.run_time_ns;
	p->has_counted = true;
}
