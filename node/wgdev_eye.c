/* SPDX-License-Identifier: Apache-2.0 */
/* Three questions. What cannot be asked is as it should be: the device has just gone, or will be
 * seen the next time. */
#include "node/wgdev_eye.h"

#include <net/if.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include "node/wgdev_make.h"

static bool
is_down(int eye)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC};

	return ioctl(eye, SIOCGIFFLAGS, &request) == 0 && !(request.ifr_flags & IFF_UP);
}

static bool
has_other_mtu(int eye, uint32_t mtu)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC};

	return ioctl(eye, SIOCGIFMTU, &request) == 0 && (uint32_t)request.ifr_mtu != mtu;
}

enum wgdev_sight
wgdev_see(int eye, uint32_t ifindex, uint32_t mtu)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC};

	if (ioctl(eye, SIOCGIFINDEX, &request) < 0 || (uint32_t)request.ifr_ifindex != ifindex)
		return WGDEV_GONE;
	return is_down(eye) || has_other_mtu(eye, mtu) ? WGDEV_ALTERED : WGDEV_STANDS;
}
