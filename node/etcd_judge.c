/* SPDX-License-Identifier: Apache-2.0 */
#include "node/etcd_judge.h"

#include <string.h>
#include "base/log.h"
#include "node/etcd_log.h"

/* ---- how it ended ---- */

static void
say_fix(const char *complaint, struct err *err)
{
	if (strstr(complaint, "address already in use"))
		err_fix(err, "end what has that port, or set another `listen.store` in node.yaml");
	else if (strstr(complaint, "no space left"))
		err_fix(err, "make room on the disk of the data folder");
	else if (strstr(complaint, ETCD_LOG_NO_FLAG))
		err_fix(err, "install another version of etcd: the one that other nodes run");
}

/* False: there were too many of late. */
static bool
give_up(struct etcd_judge *j, uint64_t life, uint64_t now_s)
{
	if (j->lives == 0 || now_s - j->day_s >= ETCD_JUDGE_DAY_S) {
		j->lives = 0;
		j->day_s = now_s;
	}
	if (j->lives >= ETCD_JUDGE_LIVES)
		return false;
	j->lives++;
	j->ruined = life;
	return true;
}

static void
say_damaged(struct etcd_judge *j, uint64_t life, uint64_t now_s, struct err *err)
{
	if (j->ruined == life || give_up(j, life, now_s)) {
		err_set(err, ERR_CORRUPT, "the data of etcd is damaged");
		err_fix(err, "it begins anew by itself when the others are a majority without it");
		return;
	}
	err_set(err, ERR_CORRUPT, "the data of etcd is damaged again");
	err_why(err, "it was begun anew %u times within a day, and its data was damaged each time",
		j->lives);
	err_fix(err, "look after the disk of the data folder; a day after the first time, or when "
		     "zlayer is started again, it is begun anew");
}

void
etcd_judge_ended(struct etcd_judge *j, const struct etcd_judge_end *end, uint64_t now_s,
		 struct err *err)
{
	bool by_data = !end->served && etcd_log_is_ruin(end->complaint, end->how);

	if (!by_data || j->ended != end->life)
		j->ends = 0;
	j->ended = end->life;
	j->ends += by_data;
	if (j->ends >= ETCD_JUDGE_ENDS || (by_data && j->ruined == end->life))
		say_damaged(j, end->life, now_s, err);
	else
		err_set(err, ERR_SYSTEM, "etcd %s", end->how);
	if (!end->complaint[0])
		return;
	err_why(err, "it says: %s", end->complaint);
	if (!by_data)
		say_fix(end->complaint, err);
}

void
etcd_judge_served(struct etcd_judge *j)
{
	j->ends = 0;
	j->ruined = 0;
}

bool
etcd_judge_is_ruined(const struct etcd_judge *j, uint64_t life)
{
	return life && j->ruined == life;
}

/* ---- its log ---- */

void
etcd_judge_note(struct etcd_judge *j, uint64_t life)
{
	struct err err = {0};

	if (j->noted == life || !etcd_folder_has_log(j->folder, life))
		return;
	if (etcd_folder_note(j->folder, life, &err) == 0)
		j->noted = life;
	else
		log_err(LOG_WARN, "it is not noted that etcd has data", &err);
}

int
etcd_judge_may_begin(struct etcd_judge *j, uint64_t life, struct err *err)
{
	etcd_judge_note(j, life);
	if (j->noted != life || etcd_folder_has_log(j->folder, life))
		return 0;
	j->ruined = life;
	err_set(err, ERR_CORRUPT, "the data of etcd is gone");
	err_why(err, "%s does not hold the log that it has had", j->folder->path);
	return err_fix(err, "nothing: it begins anew by itself when the others are a majority "
			    "without it; or put the folder back");
}

void
etcd_judge_forget(struct etcd_judge *j)
{
	j->noted = 0;
}
