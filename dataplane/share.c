/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libxdp swaps dispatchers as a whole: a change of who is on an interface loses no packet. Programs
 * keep their numbers and maps when others come and go, so that what was found once is found again.
 *
 * The balancer takes packets away. It runs after everybody else, and what it passes goes on to
 * those that want to be later still.
 */
#include "dataplane/share.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/libxdp.h"
#include "dataplane/skel.h"

#define PIN "shared1-"

enum { PIN_BYTES = 64, PRIORITY = 90, MAPS_MAX = 64, TRIES = 3 };

static int
load(struct err *err)
{
	if (dl_load_libxdp(err) < 0)
		return -1;
	libxdp.libxdp_set_print(NULL);
	return 0;
}

static void
pin_path(uint32_t map, uint32_t ifindex, char out[PIN_BYTES])
{
	text_format(out, PIN_BYTES, "%d/" PIN "%u-%u", TC_VETH_FOLDER, map, ifindex);
}

static uint32_t
map_id(int fd)
{
	struct bpf_map_info info = {0};
	__u32 bytes = sizeof(info);

	if (fd < 0 || libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) < 0)
		return 0;
	return info.id;
}

/* ---- what stands on an interface ---- */

/* Gives NULL and 0 for nothing, NULL and -errno for a failure. */
static struct xdp_multiprog *
look(uint32_t ifindex, int *rc_out)
{
	struct xdp_multiprog *on = libxdp.xdp_multiprog__get_from_ifindex((int)ifindex);
	long rc = on ? libxdp.libxdp_get_error(on) : 0;

	*rc_out = rc == -ENOENT || rc == -ENODEV ? 0 : (int)rc;
	return rc ? NULL : on;
}

static bool
calls(const struct xdp_program *program, uint32_t map)
{
	__u32 maps[MAPS_MAX] = {0};
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};
	__u32 bytes = sizeof(info);

	if (libbpf.bpf_obj_get_info_by_fd(libxdp.xdp_program__fd(program), &info, &bytes) < 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (maps[i] == map)
			return true;
	return false;
}

static struct xdp_program *
find(const struct xdp_multiprog *on, uint32_t map)
{
	struct xdp_program *p = NULL;

	while ((p = libxdp.xdp_multiprog__next_prog(p, on)) != NULL && !calls(p, map))
		continue;
	return p;
}

/* ---- coming ---- */

static int
attach(struct bpf_object *object, uint32_t ifindex, enum xdp_attach_mode mode)
{
	struct xdp_program *p = libxdp.xdp_program__from_bpf_obj(object, NULL);
	int rc = (int)libxdp.libxdp_get_error(p);

	if (rc)
		return rc;
	if ((rc = libxdp.xdp_program__set_run_prio(p, PRIORITY)) == 0 &&
	    (rc = libxdp.xdp_program__set_chain_call_enabled(p, XDP_PASS, true)) == 0)
		rc = libxdp.xdp_program__attach(p, (int)ifindex, mode, 0);
	libxdp.xdp_program__close(p);
	return rc;
}

static int
add(uint32_t ifindex, int chain, enum xdp_attach_mode mode, struct err *err)
{
	struct share *skel = share__open();
	int rc = skel ? libbpf.bpf_map__reuse_fd(skel->maps.chain, chain) : -errno;

	if (rc == 0)
		rc = attach(skel->obj, ifindex, mode);
	if (skel)
		share__destroy(skel);
	if (rc < 0)
		return err_sys(err, -rc, "cannot share an interface with its XDP programs");
	return 0;
}

static int
mark(uint32_t ifindex, int chain, struct err *err)
{
	char path[PIN_BYTES];

	pin_path(map_id(chain), ifindex, path);
	int rc = libbpf.bpf_obj_pin(chain, path);
	if (rc < 0 && rc != -EEXIST)
		return err_sys(err, -rc, "cannot pin the balancer's map");
	return 0;
}

static int
join(const struct xdp_multiprog *on, uint32_t ifindex, int chain, const bool modes[],
     struct err *err)
{
	enum xdp_attach_mode mode = libxdp.xdp_multiprog__attach_mode(on);

	if (libxdp.xdp_multiprog__is_legacy(on)) {
		err_set(err, ERR_CONFLICT, "another XDP program is on it");
		err_why(err, "it was not loaded through libxdp, and shares with nobody");
		return err_fix(err, "load it with xdp-loader, take it off, or leave the interface "
				    "out of dataplane.interfaces");
	}
	if (mode > XDP_MODE_SKB || !modes[mode]) {
		err_set(err, ERR_CONFLICT, "another XDP program is on it, in another mode");
		return err_fix(err, "set dataplane.mode to auto");
	}
	if (mark(ifindex, chain, err) < 0)
		return -1;
	return find(on, map_id(chain)) ? 0 : add(ifindex, chain, mode, err);
}

int
share_attach(uint32_t ifindex, int chain, bool native, bool generic, enum msg_xdp *mode_out,
	     struct err *err)
{
	const bool modes[] = {[XDP_MODE_NATIVE] = native, [XDP_MODE_SKB] = generic};
	int rc;

	if (load(err) < 0)
		return -1;
	struct xdp_multiprog *on = look(ifindex, &rc);
	if (!on && rc == 0)
		return err_set(err, ERR_CONFLICT, "what was on it left this moment");
	if (!on)
		return err_sys(err, -rc, "cannot find out which XDP programs are on it");
	*mode_out = libxdp.xdp_multiprog__attach_mode(on) == XDP_MODE_NATIVE ? MSG_XDP_NATIVE
									     : MSG_XDP_GENERIC;
	rc = join(on, ifindex, chain, modes, err);
	libxdp.xdp_multiprog__close(on);
	return rc;
}

/* ---- going ---- */

/* An interface that is gone leaves libxdp's pins behind. */
static int
take_out(uint32_t ifindex, uint32_t map)
{
	int rc;
	struct xdp_multiprog *on = look(ifindex, &rc);
	struct xdp_program *p = on ? find(on, map) : NULL;

	if (p)
		rc = libxdp.xdp_program__detach(p, (int)ifindex,
						libxdp.xdp_multiprog__attach_mode(on), 0);
	else if (rc == 0)
		(void)libxdp.libxdp_clean_references((int)ifindex);
	if (on)
		libxdp.xdp_multiprog__close(on);
	return rc;
}

static int
leave(uint32_t ifindex, uint32_t map, struct err *err)
{
	char path[PIN_BYTES];
	int rc = -EAGAIN;

	if (load(err) < 0)
		return -1;
	for (int i = 0; i < TRIES && rc < 0; i++)
		rc = take_out(ifindex, map);
	if (rc < 0)
		return err_sys(err, -rc, "cannot take the balancer off interface %u", ifindex);
	pin_path(map, ifindex, path);
	unlink(path);
	return 0;
}

/* "shared1-MAP-IFINDEX" */
static bool
parse(const char *name, uint32_t *map, uint32_t *ifindex)
{
	uint64_t first, second;
	char number[16];

	if (!text_starts(name, PIN))
		return false;
	name += strlen(PIN);
	const char *dash = strchr(name, '-');
	if (!dash || (size_t)(dash - name) >= sizeof(number))
		return false;
	memcpy(number, name, (size_t)(dash - name));
	number[dash - name] = 0;
	if (!text_u64(number, UINT32_MAX, &first) || !text_u64(dash + 1, UINT32_MAX, &second))
		return false;
	*map = (uint32_t)first;
	*ifindex = (uint32_t)second;
	return true;
}

static DIR *
open_pins(void)
{
	char folder[16];

	text_format(folder, sizeof(folder), "%d", TC_VETH_FOLDER);
	return opendir(folder);
}

bool
share_any(void)
{
	DIR *dir = open_pins();
	struct dirent *entry;
	uint32_t map, ifindex;
	bool any = false;

	while (dir && !any && (entry = readdir(dir)) != NULL)
		any = parse(entry->d_name, &map, &ifindex);
	if (dir)
		closedir(dir);
	return any;
}

static bool
is_kept(const struct msg_edge *kept, uint32_t ifindex)
{
	for (uint32_t i = 0; i < kept->links_count; i++)
		if (kept->links[i].shared && kept->links[i].ifindex == ifindex)
			return true;
	return false;
}

int
share_forget(const struct msg_edge *kept, int chain, struct err *err)
{
	uint32_t ours = map_id(chain), map, ifindex;
	DIR *dir = open_pins();
	struct dirent *entry;
	int rc = 0;

	while (dir && (entry = readdir(dir)) != NULL)
		if (parse(entry->d_name, &map, &ifindex) &&
		    !(map == ours && is_kept(kept, ifindex)) && leave(ifindex, map, err) < 0)
			rc = -1;
	if (dir)
		closedir(dir);
	return rc;
}
