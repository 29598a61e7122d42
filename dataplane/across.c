/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every map of clients.bpf.c is one that another object of programs has made, by the same name.
 * Those of the balancer come and go with it, when this process is confined and libbpf cannot take a
 * descriptor over any more (lb.h). So the object is loaded once with maps of one entry in their
 * place, which nobody uses; when the balancer is there its instructions are loaded anew, with the
 * balancer's maps where those stood.
 */
#include "dataplane/across.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/hook.h"
#include "dataplane/skel.h"

#define PIN "across-out"

struct across {
	struct veth *veth;
	struct lb *lb;        /* NULL: nothing is in force */
	struct clients *skel; /* the instructions */
	int programs[ACROSS_PROGRAMS];
	struct hook out;
	uint32_t uplink; /* 0: no hook */
};

/* ---- maps ---- */

struct pair {
	struct bpf_map *map;
	const struct bpf_map *of;
};

enum { OF_VETH = 17, OF_LB = 14 };

#define PAIR(from, name)                          \
	{                                         \
		own->maps.name, (from)->maps.name \
	}

static int
borrow(const struct across *a, struct err *err)
{
	const struct tc_veth *tc = veth_loaded(a->veth);
	const struct clients *own = a->skel;
	const struct pair all[OF_VETH] = {
		PAIR(tc, local4),      PAIR(tc, local6),      PAIR(tc, sources),
		PAIR(tc, counts),      PAIR(tc, chain),       PAIR(tc, stages),
		PAIR(tc, identities4), PAIR(tc, identities6), PAIR(tc, scene),
		PAIR(tc, allowances),  PAIR(tc, seen),        PAIR(tc, overlay_self),
		PAIR(tc, remotes),     PAIR(tc, peer_bytes),  PAIR(tc, peers4),
		PAIR(tc, peers6),      PAIR(tc, events),
	};

	for (size_t i = 0; i < OF_VETH; i++) {
		int rc = libbpf.bpf_map__reuse_fd(all[i].map, libbpf.bpf_map__fd(all[i].of));

		if (rc < 0)
			return err_sys(err, -rc, "cannot use a map of the data path twice");
	}
	return 0;
}

static void
list_balancers(const struct across *a, struct pair out[OF_LB])
{
	const struct edge *lb = a->lb ? lb_loaded(a->lb) : NULL;
	const struct clients *own = a->skel;
#define MAP(name)                                         \
	{                                                 \
		own->maps.name, lb ? lb->maps.name : NULL \
	}
	const struct pair all[OF_LB] = {
		MAP(vips4),     MAP(vips6),     MAP(backends),   MAP(notes),      MAP(fragments),
		MAP(speakers4), MAP(speakers6), MAP(endpoints4), MAP(endpoints6), MAP(config),
		MAP(leaving),   MAP(backs),     MAP(replies),    MAP(asked),
	};
#undef MAP
	memcpy(out, all, sizeof(all));
}

static int
open_object(struct across *a, struct err *err)
{
	struct pair maps[OF_LB];

	a->skel = clients__open();
	if (!a->skel)
		return err_sys(err, errno, "cannot open the programs for clients of other nodes");
	if (borrow(a, err) < 0)
		return -1;
	list_balancers(a, maps);
	for (size_t i = 0; i < OF_LB; i++)
		libbpf.bpf_map__set_max_entries(maps[i].map, 1);
	int rc = clients__load(a->skel);
	return rc < 0 ? err_sys(err, -rc,
				"the kernel refuses the programs for clients of other nodes")
		      : 0;
}

int
across_new(struct veth *veth, struct across **out, struct err *err)
{
	struct across *a = mem_zalloc(MEM_DATAPLANE, sizeof(*a));

	if (!a)
		return err_set(err, ERR_NO_MEMORY, "no memory for clients of other nodes");
	a->veth = veth;
	a->out.link_fd = -1;
	for (size_t i = 0; i < ACROSS_PROGRAMS; i++)
		a->programs[i] = -1;
	if (open_object(a, err) < 0) {
		across_free(a);
		return -1;
	}
	*out = a;
	return 0;
}

void
across_free(struct across *a)
{
	if (!a)
		return;
	fd_close(&a->out.link_fd);
	for (size_t i = 0; i < ACROSS_PROGRAMS; i++)
		fd_close(&a->programs[i]);
	if (a->skel)
		clients__destroy(a->skel);
	mem_free(a);
}

/* ---- programs ---- */

/* A map's descriptor stands in the first half of an instruction of two (the kernel's
 * Documentation/bpf/standardization/instruction-set.rst). */
static void
exchange(struct bpf_insn *insns, size_t count, const struct pair *maps)
{
	for (size_t i = 0; i < count; i++) {
		if (insns[i].code != (BPF_LD | BPF_DW | BPF_IMM))
			continue;
		for (size_t k = 0; insns[i].src_reg == BPF_PSEUDO_MAP_FD && k < OF_LB; k++) {
			if (insns[i].imm != libbpf.bpf_map__fd(maps[k].map))
				continue;
			insns[i].imm = libbpf.bpf_map__fd(maps[k].of);
			break;
		}
		i++;
	}
}

static int
load_program(struct across *a, enum across_program which, const struct bpf_program *program,
	     const char *name, struct err *err)
{
	size_t count = libbpf.bpf_program__insn_cnt(program);
	struct pair maps[OF_LB];
	struct bpf_insn *insns =
		mem_dup(MEM_DATAPLANE, libbpf.bpf_program__insns(program), count * sizeof(*insns));

	if (!insns)
		return err_set(err, ERR_NO_MEMORY, "no memory for clients of other nodes");
	list_balancers(a, maps);
	exchange(insns, count, maps);
	int fd = libbpf.bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "Dual BSD/GPL", insns, count,
				      NULL);
	mem_free(insns);
	if (fd < 0)
		return err_sys(err, -fd, "the kernel refuses a program for clients of other nodes");
	fd_close(&a->programs[which]);
	a->programs[which] = fd;
	return 0;
}

static int
load_all(struct across *a, struct err *err)
{
	const struct clients *own = a->skel;
	const struct {
		const struct bpf_program *program;
		const char *name;
	} all[ACROSS_PROGRAMS] = {
		[ACROSS_OUT] = {own->progs.tc_across_out, "tc_across_out"},
		[ACROSS_IN] = {own->progs.tc_across_in, "tc_across_in"},
		[ACROSS_BACK] = {own->progs.tc_across_back, "tc_across_back"},
		[ACROSS_WRAP] = {own->progs.tc_across_wrap, "tc_across_wrap"},
	};

	for (unsigned i = 0; i < ACROSS_PROGRAMS; i++)
		if (load_program(a, (enum across_program)i, all[i].program, all[i].name, err) < 0)
			return -1;
	return 0;
}

/* What tc_back goes on with; -1: nothing. */
static int
set_step(const struct across *a, int program)
{
	int steps = libbpf.bpf_map__fd(lb_loaded(a->lb)->maps.steps);
	uint32_t step = EDGE_STEP_ACROSS;

	return program < 0 ? libbpf.bpf_map_delete_elem(steps, &step)
			   : libbpf.bpf_map_update_elem(steps, &step, &program, BPF_ANY);
}

int
across_begin(struct across *a, struct lb *lb, struct err *err)
{
	a->lb = lb;
	if (load_all(a, err) < 0) {
		a->lb = NULL;
		return -1;
	}
	/* What is called stands before what calls it. */
	int rc = veth_stage(a->veth, TC_STAGE_RETURN, a->programs[ACROSS_WRAP]);
	if (rc == 0)
		rc = set_step(a, a->programs[ACROSS_BACK]);
	if (rc == 0)
		rc = veth_stage(a->veth, TC_STAGE_ACROSS, a->programs[ACROSS_IN]);
	if (rc == 0)
		return 0;
	across_end(a);
	return err_sys(err, -rc, "cannot put a program into its place");
}

bool
across_runs(const struct across *a)
{
	return a->lb != NULL;
}

void
across_end(struct across *a)
{
	struct err err = {0};

	if (across_uplink(a, 0, &err) < 0)
		err_clear(&err); /* nothing is attached, so nothing fails */
	(void)veth_stage(a->veth, TC_STAGE_ACROSS, -1);
	if (a->lb)
		(void)set_step(a, -1);
	(void)veth_stage(a->veth, TC_STAGE_RETURN, -1);
	a->lb = NULL;
	for (size_t i = 0; i < ACROSS_PROGRAMS; i++)
		fd_close(&a->programs[i]);
}

int
across_uplink(struct across *a, uint32_t ifindex, struct err *err)
{
	char pin[64];

	if (ifindex == a->uplink && ifindex)
		return 0;
	text_format(pin, sizeof(pin), "%s/" PIN, veth_folder(a->veth));
	if (a->uplink)
		hook_detach(&a->out);
	a->uplink = 0;
	if (!ifindex) {
		unlink(pin); /* a predecessor's */
		return 0;
	}
	if (hook_attach(&a->out, a->programs[ACROSS_OUT], (int)ifindex, pin, err) < 0)
		return -1;
	a->uplink = ifindex;
	return 0;
}

int
across_program(const struct across *a, enum across_program which)
{
	return a->programs[which];
}
